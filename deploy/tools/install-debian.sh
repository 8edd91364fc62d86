#!/bin/sh
# Install what PyPI does not carry and Debian does: Chromium and its driver, for the tests that open a report; Docker,
# containerd and debootstrap, for kind; Prometheus; PostgreSQL. Only what is missing; as root, or by sudo.
set -eu

PATH=$PATH:/usr/sbin:/sbin
for folder in /usr/lib/postgresql/*/bin; do PATH=$PATH:$folder; done
missing=
while read -r program package; do
    command -v "$program" >/dev/null 2>&1 || missing="$missing $package"
done <<P
chromium chromium
chromedriver chromium-driver
dockerd docker.io
containerd containerd
runc runc
debootstrap debootstrap
iptables iptables
prometheus prometheus
postgres postgresql
P
if [ -z "$missing" ]; then
    echo "install-debian: nothing is missing"
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
