#!/bin/sh
# Build a Kubernetes control plane once: kube-apiserver, kube-controller-manager, kube-scheduler, kubectl, etcd, and
# KWOK, whose nodes and pods exist in the API only. Prints the folder. Does nothing when all is there.
#
# The first build takes about ten minutes on two cores, nearly all of it compiling.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
. "$here/../go-programs.sh"

kubernetes=$(pinned "$here/kubernetes" k8s.io/kubernetes)
etcd=$(pinned "$here/etcd" go.etcd.io/etcd/server/v3)
kwok=$(pinned "$here/kwok" sigs.k8s.io/kwok)
folder=$tools/control-plane-$kubernetes-$etcd-$kwok

for program in kube-apiserver kube-controller-manager kube-scheduler kubectl; do
    build "$here/kubernetes" "k8s.io/kubernetes/cmd/$program" "$folder/$program" "$(stamp "$kubernetes")"
done
build "$here/etcd" go.etcd.io/etcd/server/v3 "$folder/etcd"
build "$here/kwok" sigs.k8s.io/kwok/cmd/kwok "$folder/kwok"
# What KWOK's nodes and pods do by themselves (become ready, end, go away) is its own definition, of the same version.
if [ ! -f "$folder/kwok-stages.yaml" ]; then
    source=$(cd "$here/kwok" && "$go" list -m -f '{{.Dir}}' sigs.k8s.io/kwok)/kustomize/stage
    for stage in "$source"/node/fast/node-*.yaml "$source"/pod/fast/pod-*.yaml; do
        echo "---"
        cat "$stage"
    done > "$folder/.kwok-stages.$$"
    mv "$folder/.kwok-stages.$$" "$folder/kwok-stages.yaml"
fi
echo "$folder"
