#!/bin/sh
# Vector registers stay in the files of their CPU level: isa.sh BUILD_ROOT
#
# zmm and mask registers only in *_avx512 objects; ymm, and VEX-coded instructions on xmm,
# only in those and in *_avx2 objects. Anything else would crash on a machine without them.
set -eu
build=$1
faults=0
checked=0
list=$(find "$build" -name '*.c.o' | sort)
for object in $list; do
    case $object in
        *_avx512.c.o) checked=$((checked + 1)); continue ;;
        *_avx2.c.o) forbidden='%zmm|%k[0-7]|%[xy]mm(1[6-9]|2[0-9]|3[01])' ;;
        *) forbidden='%zmm|%ymm|%k[0-7]|[[:space:]]v[a-z0-9]+ .*%xmm' ;;
    esac
    checked=$((checked + 1))
    found=$(objdump -d --no-show-raw-insn "$object" |
            awk -v bad="$forbidden" '/^[0-9a-f]+ </ { f = $2 } $0 ~ bad { print f " " $0; exit }')
    if [ -n "$found" ]; then
        echo "${object#"$build"/}: $found"
        faults=$((faults + 1))
    fi
done
echo "isa: $faults faults in $checked objects"
[ "$faults" -eq 0 ] && [ "$checked" -gt 0 ]
