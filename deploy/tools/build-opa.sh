#!/bin/sh
# Build OPA once, from the Go modules that opa/go.mod pins, into a folder outside the checkout.
# Prints the path of the program. Does nothing when it is already there.
#
# PyPI carries no OPA, and a downloaded binary would be one more thing to trust: Go checks every module
# against go.sum. The first build takes a few minutes, mostly compiling.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
version=$(sed -n 's|^[[:space:]]*github.com/open-policy-agent/opa v\([0-9.]*\).*|\1|p' "$here/opa/go.mod")
[ -n "$version" ] || { echo "build-opa: no OPA version in $here/opa/go.mod" >&2; exit 1; }

tools=${TWIN_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/twin/tools}
program=$tools/$version/opa

if [ -x "$program" ]; then
    echo "$program"
    exit 0
fi

# A distribution's Go may be off the PATH; the place where go.dev's archive unpacks is worth one look.
go=$(command -v go || true)
[ -n "$go" ] || [ ! -x /usr/local/go/bin/go ] || go=/usr/local/go/bin/go
if [ -z "$go" ]; then
    echo "build-opa: needs Go 1.21 or newer on the PATH (it fetches the version that go.mod names itself)" >&2
    exit 11
fi

mkdir -p "$tools/$version"
# Renamed into place: an interrupted build must not leave a program that looks finished.
partial=$program.partial.$$
trap 'rm -f "$partial"' EXIT INT TERM
echo "build-opa: building OPA $version into $tools/$version" >&2
(cd "$here/opa" && CGO_ENABLED=0 "$go" build -mod=readonly -trimpath -buildvcs=false -ldflags='-s -w' \
    -o "$partial" github.com/open-policy-agent/opa)
mv "$partial" "$program"
echo "$program"
