#!/bin/bash
# Build a node image for kind where there is no registry to pull one from, once, into a cache folder: from the programs
# of ../control-plane, those of the go.mod files here, and Debian packages. Prints the image's archive. Needs root.
#
# With --find it builds nothing: it prints the archive if all is there, and else ends with 11.
#
# Where the internet is, none of this is needed: kind pulls an image of its own.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
. "$here/../go-programs.sh"

kubernetes=$(pinned "$here/../control-plane/kubernetes" k8s.io/kubernetes)
kind=$(pinned "$here/kind" sigs.k8s.io/kind)
coredns=$(pinned "$here/coredns" github.com/coredns/coredns)
# What the image is made of here is part of its name: another node-init is another image.
recipe=$(cd "$here" && cat build.sh $(find node programs -type f | LC_ALL=C sort) | sha256sum | cut -c 1-12)
folder=$tools/kind-$kubernetes-$kind-$coredns
node=$folder/node-$recipe.tar
registry=registry.k8s.io # The names by which kubeadm knows the images; nothing is fetched.

if [ "${1:-}" = --find ]; then
    [ -e "$node" ] && [ -x "$folder/kind" ] || exit 11
    echo "$node"
    exit 0
fi

control_plane=$(sh "$here/../control-plane/build.sh" | tail -n 1)
for program in kubelet kubeadm kube-proxy; do
    build "$here/../control-plane/kubernetes" "k8s.io/kubernetes/cmd/$program" "$folder/$program" "$(stamp "$kubernetes")"
done
build "$here/kind" sigs.k8s.io/kind "$folder/kind"
build "$here/coredns" . "$folder/coredns"

if [ -e "$node" ]; then
    echo "$node"
    exit 0
fi
[ "$(id -u)" -eq 0 ] || { echo "build kind: making the node's file system needs root" >&2; exit 11; }
for program in debootstrap containerd ctr; do
    command -v "$program" >/dev/null || { echo "build kind: $program is missing; sh deploy/tools/install-debian.sh" >&2; exit 11; }
done

work=$(mktemp -d "$folder/work.XXXXXX")
containerd_pid=
tidy() {
    [ -z "$containerd_pid" ] || kill "$containerd_pid" 2>/dev/null || true
    rm -rf "$work"
}
trap tidy EXIT
trap 'exit 1' INT TERM
say() { echo "build kind: $* (${SECONDS}s)" >&2; }

# 1. Debian, as small as it gets. Kept: it is the slow half, and does not change with what we put into it.
base=$folder/debian-bookworm.tar
if [ ! -e "$base" ]; then
    say "a small Debian"
    # The mirror that this machine installs from; either file may be missing.
    mirror=$({ cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null || true; } |
        sed -n 's/^deb \(\[[^]]*\] \)\{0,1\}\([^ ]*\).*/\2/p; s/^URIs: \([^ ]*\).*/\1/p' | sed -n 1p)
    debootstrap --variant=minbase --include=containerd,runc,iptables,iproute2,ethtool,socat,conntrack,kmod,mount,procps,\
hostname,ca-certificates,jq,containernetworking-plugins,util-linux,curl,ebtables,libseccomp2,busybox-static \
        bookworm "$work/debian" "$mirror" >"$folder/debootstrap.log" 2>&1 || { tail -n 5 "$folder/debootstrap.log" >&2; exit 1; }
    rm -rf "$work"/debian/var/cache/apt/* "$work"/debian/var/lib/apt/lists/* \
        "$work"/debian/usr/share/{doc,man,locale,info}/* "$work"/debian/var/log/apt "$work"/debian/var/log/*.log
    tar -C "$work/debian" --one-file-system -cf "$work/debian.tar" .
    mv "$work/debian.tar" "$base"
    rm -rf "$work/debian"
fi
mkdir "$work/node"
tar -C "$work/node" -xf "$base"

# 2. What runs in the node.
say "the node's programs and files"
cp -a "$here/node/." "$work/node/"
for program in runc-lean memory-watch pause; do
    build "$here/programs" "./$program" "$work/bin/$program"
done
install -D -t "$work/node/usr/local/sbin" "$work/bin/runc-lean" "$work/bin/memory-watch"
install -t "$work/node/usr/bin" "$folder/kubelet" "$folder/kubeadm" "$control_plane/kubectl"
mkdir -p "$work/node"/{etc/default,etc/kubernetes/manifests,etc/cni/net.d,var/lib/kubelet}
: >"$work/node/etc/default/kubelet"
: >"$work/node/etc/machine-id"
printf 'v%s' "$kubernetes" >"$work/node/kind/version"

# 3. The images that kubeadm starts a cluster with.
say "images"
image() { # name:tag, what archive.py takes…
    python3 "$root/twin/kube/archive.py" "$work/$(basename "${1%%:*}").image" "$@"
}
for program in kube-apiserver kube-controller-manager kube-scheduler; do
    image "$registry/$program:v$kubernetes" "$control_plane/$program=/usr/local/bin/$program" --entrypoint "/usr/local/bin/$program"
done
asked=$("$folder/kubeadm" config images list --kubernetes-version "v$kubernetes" 2>/dev/null)
image "$(grep /etcd: <<<"$asked")" "$control_plane/etcd=/usr/local/bin/etcd" --entrypoint /usr/local/bin/etcd
image "$(grep /coredns: <<<"$asked")" "$folder/coredns=/coredns" --entrypoint /coredns --folder /etc/coredns
image "$(grep /pause: <<<"$asked")" "$work/bin/pause=/pause" --entrypoint /pause --user 65535:65535
image twin.local/join-network:1 "$work/node/bin/busybox=/bin/busybox" --entrypoint /bin/busybox --folder /host

# kube-proxy calls iptables, which loads its extensions at run time: they and their libraries go into its image too.
# (Without libm for the extension "statistic", every Service with two endpoints fails and says nothing.)
inside() { chroot "$work/node" "$@"; }
parts=() links=()
declare -A had=()
take() { # path in the node's file system
    local path=$1
    case $path in /bin/* | /sbin/* | /lib/* | /lib64/*) path=/usr$path ;; esac
    [ -z "${had[$path]:-}" ] || return 0
    had[$path]=1
    parts+=("$work/node$(inside readlink -f "$path")=$path")
}
extensions=/usr/lib/x86_64-linux-gnu/xtables
[ -d "$work/node$extensions" ] || extensions=/usr/lib/aarch64-linux-gnu/xtables
take "$extensions"
for program in /usr/sbin/xtables-nft-multi /usr/sbin/conntrack /usr/bin/dash /usr/bin/kmod; do
    take "$program"
    for library in $(inside ldd "$program" "$extensions/libxt_statistic.so" | grep -o '/[^ :]*\.so[^ :]*' | sort -u); do
        case $library in "$extensions"/*) ;; *) take "$library" ;; esac
    done
done
for name in iptables iptables-save iptables-restore ip6tables ip6tables-save ip6tables-restore; do
    links+=(--link "/usr/sbin/$name=xtables-nft-multi")
done
image "$registry/kube-proxy:v$kubernetes" "$folder/kube-proxy=/usr/local/bin/kube-proxy" "${parts[@]}" "${links[@]}" \
    --link /usr/bin/sh=dash --link /usr/sbin/modprobe=../bin/kmod --link /bin=usr/bin --link /sbin=usr/sbin \
    --link /lib=usr/lib --link /lib64=usr/lib64 --entrypoint /usr/local/bin/kube-proxy

# 4. The images go into the node's containerd as it will find them, unpacked, by a containerd that works here for a moment.
say "unpacking them"
rm -rf "$work/node/var/lib/containerd"
mkdir -p "$work/node/var/lib/containerd"
cat >"$work/containerd.toml" <<T
version = 2
root = "$work/node/var/lib/containerd"
state = "$work/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "$work/socket"
T
containerd --config "$work/containerd.toml" >"$work/containerd.log" 2>&1 &
containerd_pid=$!
for _ in $(seq 100); do
    ctr --address "$work/socket" version >/dev/null 2>&1 && break
    sleep 0.1
done
for archive in "$work"/*.image; do
    ctr --address "$work/socket" --namespace k8s.io images import --all-platforms --snapshotter overlayfs "$archive" >/dev/null
done
kill "$containerd_pid"
wait "$containerd_pid" || true
containerd_pid=

# 5. One archive. It is named when it is whole.
say "the archive"
tar -C "$work/node" --one-file-system -cf "$work/node.tar" .
mv "$work/node.tar" "$node"
say "done"
echo "$node"
