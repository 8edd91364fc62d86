#!/bin/sh
# Build a Kubernetes control plane once, from the Go modules that the go.mod files beside this script pin, into a folder
# outside the checkout: kube-apiserver, kube-controller-manager, kube-scheduler, kubectl, etcd, and KWOK, whose nodes
# and pods exist in the API only. Prints the folder. Does nothing when all is there.
#
# PyPI and Debian carry none of these in one matching version; Go checks every module against go.sum. The first build
# takes about ten minutes on two cores, nearly all of it compiling.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
pinned() { sed -n "s|^[[:space:]]*\(require[[:space:]]*\)\{0,1\}$2 v\([^ ]*\).*|\2|p" "$here/$1/go.mod" | head -n 1; }
kubernetes=$(pinned kubernetes k8s.io/kubernetes)
etcd=$(pinned etcd go.etcd.io/etcd/server/v3)
kwok=$(pinned kwok sigs.k8s.io/kwok)
for version in "$kubernetes" "$etcd" "$kwok"; do
    [ -n "$version" ] || { echo "build control-plane: a go.mod names no version" >&2; exit 1; }
done

tools=${TWIN_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/twin/tools}
folder=$tools/control-plane-$kubernetes-$etcd-$kwok

# A distribution's Go may be off the PATH; the place where go.dev's archive unpacks is worth one look.
go=$(command -v go || true)
[ -n "$go" ] || [ ! -x /usr/local/go/bin/go ] || go=/usr/local/go/bin/go

# kubectl and the servers tell their version from what the linker is told; without it they say v0.0.0.
stamp() {
    for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
        printf ' -X %s.gitVersion=v%s -X %s.gitMajor=%s -X %s.gitMinor=%s' \
            "$package" "$kubernetes" "$package" "${kubernetes%%.*}" "$package" "$(echo "$kubernetes" | cut -d. -f2)"
    done
}

build() { # module folder, package, program
    [ ! -x "$folder/$3" ] || return 0
    if [ -z "$go" ]; then
        echo "build control-plane: needs Go 1.21 or newer on the PATH (it fetches the version that go.mod names itself)" >&2
        exit 11
    fi
    mkdir -p "$folder"
    echo "build control-plane: $3 into $folder" >&2
    # Renamed into place: an interrupted build must not leave a program that looks finished.
    partial=$folder/.$3.$$
    trap 'rm -f "$partial"' EXIT INT TERM
    (cd "$here/$1" && CGO_ENABLED=0 "$go" build -mod=readonly -trimpath -buildvcs=false -ldflags="-s -w$(stamp)" \
        -o "$partial" "$2")
    mv "$partial" "$folder/$3"
}

for program in kube-apiserver kube-controller-manager kube-scheduler kubectl; do
    build kubernetes "k8s.io/kubernetes/cmd/$program" "$program"
done
build etcd go.etcd.io/etcd/server/v3 etcd
build kwok sigs.k8s.io/kwok/cmd/kwok kwok
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
