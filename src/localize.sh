#!/bin/sh
# One static library from several, with hidden symbols made local: localize.sh OUT.a IN.a...
set -eu
out=$1
shift
object=${out%.a}.o
ld -r -o "$object" --whole-archive "$@" --no-whole-archive
objcopy --localize-hidden "$object"
rm -f "$out"
ar rcs "$out" "$object"
rm -f "$object"
