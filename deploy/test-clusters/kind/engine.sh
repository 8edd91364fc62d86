#!/bin/sh
# Run a Docker engine in the foreground, where none runs and systemd starts none: everything of it in one folder, its
# images in the cache. Needs root. End it by its pid; it ends its containers.
#
#   engine.sh FOLDER          then DOCKER_HOST=unix://FOLDER/docker.sock
#
# On a machine with version 1 of cgroups it runs in a mount namespace without the memory hierarchy, which is not ours to
# write; containers get runc-lean, since they could not be given memory limits.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
. "$here/../go-programs.sh"
folder=${1:?a folder for its files}
mkdir -p "$folder" "$tools/docker"
lean=$tools/runc-lean-$(cksum <"$here/programs/runc-lean/main.go" | cut -d ' ' -f 1)
build "$here/programs" ./runc-lean "$lean"
cat >"$folder/daemon.json" <<J
{"runtimes": {"lean": {"path": "$lean"}}, "default-runtime": "lean", "storage-driver": "overlay2",
 "log-driver": "json-file", "log-opts": {"max-size": "20m"}}
J
# Whoever started it may be killed: it ends with them.
exec setpriv --pdeathsig TERM unshare --mount --propagation private sh -c '
    umount /sys/fs/cgroup/memory 2>/dev/null || true
    exec dockerd --host "unix://$1/docker.sock" --config-file "$1/daemon.json" --data-root "$2" \
        --exec-root "$1/exec" --pidfile "$1/docker.pid" --bridge none
' engine "$folder" "$tools/docker"
