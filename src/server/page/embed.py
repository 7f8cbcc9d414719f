#!/usr/bin/env python3
"""Make files part of the program: embed.py OUTPUT.c INDEX.html FILE...

OUTPUT.c defines sl_pagefiles (server/page.h). The first file is served at /, the others
under /page/ by their names.
"""
import hashlib
import os
import sys

TYPES = {
    '.css': 'text/css; charset=utf-8',
    '.html': 'text/html; charset=utf-8',
    '.js': 'text/javascript; charset=utf-8',
    '.svg': 'image/svg+xml',
}
ESCAPES = {ord('"'): '\\"', ord('\\'): '\\\\', ord('\n'): '\\n', ord('?'): '\\?'}


def literal(line):
    """A line's bytes as a C string; octal escapes have a fixed length."""
    return '"' + ''.join(ESCAPES.get(b, chr(b) if 32 <= b < 127 else f'\\{b:03o}')
                         for b in line) + '"'


def main():
    output, *paths = sys.argv[1:]
    texts, rows = [], []
    for i, path in enumerate(paths):
        with open(path, 'rb') as file:
            data = file.read()
        name = os.path.basename(path)
        lines = [literal(line) for line in data.splitlines(keepends=True)] or ['""']
        texts.append(f'static const char file_{i}[] =\n    ' + '\n    '.join(lines) + ';\n')
        rows.append(f'    {{"{"/" if i == 0 else "/page/" + name}", '
                    f'"{TYPES[os.path.splitext(name)[1]]}", '
                    f'"\\"{hashlib.sha256(data).hexdigest()[:32]}\\"", '
                    f'file_{i}, sizeof(file_{i}) - 1}},\n')
    with open(output, 'w', encoding='ascii') as file:
        file.write('/* Made by page/embed.py. */\n#include "server/page.h"\n\n')
        file.write('\n'.join(texts))
        file.write('\nstatic const struct sl_pagefile files[] = {\n' + ''.join(rows) + '};\n\n')
        file.write('const struct sl_pagefile *sl_pagefiles(size_t *ret_n)\n{\n'
                   '    *ret_n = sizeof(files) / sizeof(files[0]);\n    return files;\n}\n')


if __name__ == '__main__':
    main()
