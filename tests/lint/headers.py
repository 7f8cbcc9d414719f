#!/usr/bin/env python3
"""Each header compiles alone, and twice: headers.py ROOT CC...

Headers of the x86 kernels get the flags of their level. Headers whose name ends in
_tmpl.h are parametrised by macros and are left out.
"""
import os
import re
import subprocess
import sys
import tempfile

import source

FLAGS = ['-std=gnu11', '-D_GNU_SOURCE', '-fsyntax-only', '-Wall', '-Wextra', '-Werror',
         '-Wno-unused-parameter', '-Wno-unused-function', '-Wstrict-prototypes']
AVX2 = ['-mavx2', '-mfma', '-mf16c', '-mbmi2']
AVX512 = AVX2 + ['-mavx512f', '-mavx512bw', '-mavx512vl', '-mavx512dq', '-mavx512vnni']


def level_flags(path):
    if not path.startswith('src/kernels/x86/'):
        return []
    return AVX512 if 'avx512' in path else AVX2


def main(root, compiler):
    faults = []
    headers = [p for p in source.files(root, '.h') if not p.endswith('_tmpl.h')]
    with tempfile.TemporaryDirectory() as folder:
        for path in headers:
            name = re.sub(r'^src/', '', path)
            unit = os.path.join(folder, 'unit.c')
            with open(unit, 'w', encoding='utf-8') as file:
                file.write(f'#include "{name}"\n#include "{name}"\n')
            done = subprocess.run(
                compiler + FLAGS + level_flags(path) +
                ['-I', root, '-I', os.path.join(root, 'src'), unit],
                capture_output=True, text=True, check=False)
            if done.returncode:
                faults.append(f'{path}: does not compile alone\n{done.stderr[:1500]}')
    return source.finish('headers', faults, len(headers), 'headers')


if __name__ == '__main__':
    sys.exit(main(sys.argv[1], sys.argv[2:]))
