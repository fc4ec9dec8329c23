#!/usr/bin/env bash
# Fetch Luigi's own examples, unchanged, into build/luigi-examples/examples/ (ignored by git).
#
# They come out of the source distribution of the pinned version, from whichever package index pip
# is configured with, and are not kept in this repository. pip checks the hash below before it looks
# into the archive. Does nothing where they are there already. PYTHON chooses the interpreter.
set -euo pipefail

VERSION=3.8.1
SHA256=2fa5eb5d3474e495de09bd964f502936c08f8b1eb6e0f3ca3c8a69116c38d0c3

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
target="$root/build/luigi-examples"
if [[ -f "$target/.sha256" && $(<"$target/.sha256") == "$SHA256" ]]; then
    exit 0
fi

python=${PYTHON:-$root/.venv/bin/python}
[[ -x $python ]] || python=python3
mkdir -p "$root/build"
work=$(mktemp -d "$root/build/luigi-examples.XXXXXX")
trap 'rm -rf "$work"' EXIT

printf 'luigi==%s --hash=sha256:%s\n' "$VERSION" "$SHA256" >"$work/requirements.txt"
"$python" -m pip download --quiet --disable-pip-version-check --retries 1 --timeout 30 \
    --no-deps --no-binary luigi --require-hashes --requirement "$work/requirements.txt" \
    --dest "$work" >&2

mkdir "$work/unpacked"
tar -xzf "$work/luigi-$VERSION.tar.gz" -C "$work/unpacked" --strip-components=1 \
    --no-same-owner "luigi-$VERSION/examples" "luigi-$VERSION/LICENSE"
echo "$SHA256" >"$work/unpacked/.sha256"
rm -rf "$target"
mv -T "$work/unpacked" "$target"
echo "Luigi $VERSION's examples are in build/luigi-examples/examples/" >&2
