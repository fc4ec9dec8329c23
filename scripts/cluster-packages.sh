#!/usr/bin/env bash
# Unpacks Debian packages into a folder of their own: cluster-packages.sh FOLDER PACKAGE...
#
# Installs nothing, needs no root, starts no service: a test bed must not leave an etcd running on the
# machine that it visited. apt checks the packages against its signed lists as always.
set -euo pipefail

if (($# < 2)); then
    echo "usage: $0 FOLDER PACKAGE..." >&2
    exit 2
fi
folder=$1
shift
if ! command -v apt-get >/dev/null; then
    echo "$0: this is not Debian; install $* by other means" >&2
    exit 1
fi

mkdir -p "$folder"
work=$(mktemp -d "$folder/.fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work"

fetch() { apt-get -qq -o APT::Sandbox::User="$(id -un)" download "$@"; }

if ! fetch "$@"; then
    echo "$0: refreshing apt's lists" >&2
    apt-get -qq update
    fetch "$@"
fi
for package in *.deb; do
    dpkg-deb --extract "$package" "$folder"
done
