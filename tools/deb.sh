#!/bin/bash
# Build the Debian packages in a copy of the tree, and have lintian look at them:
# deb.sh ROOT FOLDER. The packages lie in FOLDER then, their names on stdout; the copy and
# the logs too. Exit 1 if the build fails or lintian finds an error.
set -euo pipefail

root=$1 out=$2
copy=$out/sluice

say() { printf '%s\n' "deb: $*" >&2; }

# What is under version control or may come under it; of a released archive, all.
list_files() {
    cd "$root"
    if git rev-parse --is-inside-work-tree > /dev/null 2>&1; then
        git ls-files -z --cached --others --exclude-standard
    else
        find . -path ./build -prune -o -type f -print0
    fi | while IFS= read -r -d '' path; do # deleted, but not committed
        [[ ! -f $path && ! -L $path ]] || printf '%s\0' "$path"
    done
}

rm -rf "$copy"
mkdir -p "$copy"
rm -f "$out"/*.deb "$out"/sluice_*
list_files | tar -C "$root" --null --no-recursion -T - -cf - | tar -C "$copy" -xf -

say "building"
if ! (cd "$copy" && dpkg-buildpackage -us -uc) > "$out/build.log" 2>&1 < /dev/null; then
    tail -n 40 "$out/build.log" >&2
    say "the build failed; the whole output is in $out/build.log"
    exit 1
fi
if ! lintian --allow-root --fail-on error --tag-display-limit 0 "$out"/sluice_*.changes \
        > "$out/lintian.log" 2>&1; then
    cat "$out/lintian.log" >&2
    say "lintian finds errors"
    exit 1
fi
say "lintian: no errors, $(grep -c '^W:' "$out/lintian.log" || true) warnings"
grep '^W:' "$out/lintian.log" | sed 's/^/deb:   /' >&2 || true
printf '%s\n' "$out"/*.deb | grep -v -- -dbgsym_
