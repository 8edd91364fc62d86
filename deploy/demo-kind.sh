#!/bin/bash
# The shop in examples/ on real Kubernetes: a fault, a fix that the shadow rejects for its mechanics, and one that it
# lets through, promoted. Needs kind and Docker; without them, what `make real-tools` built is used (as root).
#
#   demo-kind.sh FOLDER      everything that it writes lies there
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$here")
out=${1:?a folder for its files}
mkdir -p "$out"
export TWIN_HOME=$out/home PATH=$PATH:/usr/sbin
PATH=$root/.venv/bin:$PATH
say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
run() { printf '$ twin %s\n' "$*"; twin "$@"; }

engine= folder=
tidy() {
    twin shadow down --name demo >/dev/null 2>&1 || true
    [ -z "$engine" ] || { kill "$engine" 2>/dev/null && wait "$engine" 2>/dev/null; } || true
    [ -z "$folder" ] || rm -rf "$folder"
}
trap tidy EXIT
trap 'exit 130' INT TERM

if ! docker version >/dev/null 2>&1; then
    say "no Docker answers: one of our own"
    folder=$(mktemp -d /tmp/twin-engine-XXXXXX)
    sh "$here/test-clusters/kind/engine.sh" "$folder" >"$out/engine.log" 2>&1 &
    engine=$!
    export DOCKER_HOST=unix://$folder/docker.sock
    for _ in $(seq 100); do docker version >/dev/null 2>&1 && break; sleep 0.2; done
    docker version >/dev/null 2>&1 || { tail -n 5 "$out/engine.log" >&2; exit 11; }
fi
if [ -z "${TWIN_NODE_IMAGE:-}" ] && archive=$(bash "$here/test-clusters/kind/build.sh" --find); then
    TWIN_NODE_IMAGE=twin.local/kind-node:$(basename "$archive" .tar | sed 's/^node-//')
    docker image inspect "$TWIN_NODE_IMAGE" >/dev/null 2>&1 || docker import \
        --change 'ENTRYPOINT ["/usr/local/bin/node-init"]' \
        --change 'ENV container=docker PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
        "$archive" "$TWIN_NODE_IMAGE" >/dev/null
    export TWIN_NODE_IMAGE TWIN_FEATURE_GATES=InPlacePodVerticalScaling=false
fi

say "A shadow: a kind cluster, closed towards everything outside"
run shadow up --name demo
say "A production, its twin, and a bad build"
run import "$root/examples/shop" --hints "$root/examples/shop.hints.yaml" -o "$out/fleet.yaml" >/dev/null
run world new "$out/fleet.yaml" -o "$out/prod.world" --force
run world run "$out/prod.world" --for 10m >/dev/null
run observe --prod "$out/prod.world" -o "$out/twin.fleet"
run world run "$out/prod.world" --for 90s --inject 'bad_rollout(shop/cart)' >/dev/null
say "A fix that cannot work: the twin cannot know, Kubernetes does"
run verify "$root/examples/change-that-cannot.yaml" --prod "$out/prod.world" --fleet "$out/twin.fleet" \
    --shadow kind:demo -o "$out/no.json" && { echo "it was let through" >&2; exit 1; }
say "The right one"
run verify "$root/examples/change.yaml" --prod "$out/prod.world" --fleet "$out/twin.fleet" \
    --shadow kind:demo -o "$out/receipt.json"
run promote "$out/receipt.json" --prod "$out/prod.world"
say "Done; everything lies in $out"
