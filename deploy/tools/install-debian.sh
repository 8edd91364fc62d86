#!/bin/sh
# Install what PyPI does not carry and Debian does: Chromium and its driver, for the tests that open a report.
# Only what is missing; as root, or by sudo.
set -eu

missing=
command -v chromium >/dev/null 2>&1 || missing="$missing chromium"
command -v chromedriver >/dev/null 2>&1 || missing="$missing chromium-driver"
if [ -z "$missing" ]; then
    echo "install-debian: chromium and chromium-driver are here"
    exit 0
fi

if ! command -v apt-get >/dev/null 2>&1; then
    echo "install-debian: no apt-get here; install by your own package manager:$missing" >&2
    exit 11
fi
as_root=
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null 2>&1 || { echo "install-debian: needs root or sudo for:$missing" >&2; exit 11; }
    as_root=sudo
fi

$as_root apt-get update -qq
# shellcheck disable=SC2086 # A list of words.
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing
