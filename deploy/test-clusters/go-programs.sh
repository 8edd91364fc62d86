# Sourced by the build scripts beside it: programs from pinned Go modules, into a cache folder outside the checkout.
# shellcheck shell=sh
#
# PyPI and Debian carry none of these in one matching version; Go checks every module against go.sum.

# The version that a go.mod pins.
pinned() { # folder of the go.mod, module
    found=$(sed -n "s|^[[:space:]]*\(require[[:space:]]*\)\{0,1\}$2 v\([^ ]*\).*|\2|p" "$1/go.mod" | head -n 1)
    [ -n "$found" ] || { echo "build: $1/go.mod names no version of $2" >&2; exit 1; }
    echo "$found"
}

tools=${TWIN_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/twin/tools}

# A distribution's Go may be off the PATH; the place where go.dev's archive unpacks is worth one look.
go=$(command -v go || true)
[ -n "$go" ] || [ ! -x /usr/local/go/bin/go ] || go=/usr/local/go/bin/go

# Kubernetes' programs tell their version from what the linker is told; without it they say v0.0.0, and kubeadm and
# kubectl then take the cluster for one that they do not know.
stamp() { # version of Kubernetes
    for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
        printf ' -X %s.gitVersion=v%s -X %s.gitMajor=%s -X %s.gitMinor=%s' \
            "$package" "$1" "$package" "${1%%.*}" "$package" "$(echo "$1" | cut -d. -f2)"
    done
}

# In a subshell: its trap is its own.
build() ( # folder of the go.mod, package, program with its folder, further linker flags
    [ ! -x "$3" ] || exit 0
    if [ -z "$go" ]; then
        echo "build: needs Go 1.21 or newer on the PATH (it fetches the version that go.mod names itself)" >&2
        exit 11
    fi
    mkdir -p "$(dirname "$3")"
    echo "build: $3" >&2
    # Renamed into place: an interrupted build must not leave a program that looks finished.
    partial=$(dirname "$3")/.$(basename "$3").$$
    trap 'rm -f "$partial"' EXIT INT TERM
    (cd "$1" && CGO_ENABLED=0 "$go" build -mod=readonly -trimpath -buildvcs=false -ldflags="-s -w${4:-}" \
        -o "$partial" "$2")
    mv "$partial" "$3"
)
