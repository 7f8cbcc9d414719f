#!/usr/bin/env python3
"""Limits on text, doc/style.md 3.3, 3.5 and 3.10: limits.py ROOT.

File and function length, line length, tabs, trailing blanks, unique file names, notes to
self without an issue number, sources listed by name, number of build options.
"""
import os
import re
import sys

import source

LINE_LEN = 100
FILE_LINES = 800
FUNCTION_LINES = 80
KERNEL_LINES = 150   # functions in src/kernels
ROOT_MESON_LINES = 200
N_OPTIONS = 12
LONG_FILES = {}      # path -> lines, for tables and generated files, with the reason beside it
SHARED_NAMES = {'meson.build', 'README.md', '__init__.py', 'conftest.py'}
NOTE = re.compile(r'\b(TO' r'DO|FIX' r'ME|X' r'XX)\b(?!\(#\d+\))')
FUNCTION_NAME = re.compile(r'(\w+)\s*\(')


def check_lines(path, text):
    faults = []
    if text and not text.endswith('\n'):
        faults.append(f'{path}: no newline at the end')
    if text.endswith('\n\n'):
        faults.append(f'{path}: blank lines at the end')
    for number, line in enumerate(text.splitlines(), 1):
        place = f'{path}:{number}'
        if len(line) > LINE_LEN and not path.endswith('.md'):
            faults.append(f'{place}: {len(line)} columns, {LINE_LEN} allowed')
        if '\t' in line:
            faults.append(f'{place}: a tab')
        if line != line.rstrip():
            faults.append(f'{place}: blanks at the end of the line')
        if NOTE.search(line) and not path.endswith('.md'):
            faults.append(f'{place}: a note to self needs an issue number, as in (#12)')
    return faults


def check_functions(path, text):
    """Functions are what lies between { and } in column 0 after a line with a ( ."""
    faults = []
    most = KERNEL_LINES if path.startswith('src/kernels/') else FUNCTION_LINES
    start = 0
    head = ''
    name = ''
    for number, line in enumerate(source.bare(text).splitlines(), 1):
        if line.startswith('{'):
            start = number
            found = FUNCTION_NAME.search(head)
            name = found.group(1) if found else '?'
        elif line.startswith('}') and start:
            if number - start + 1 > most:
                faults.append(f'{path}:{start}: {name} has {number - start + 1} lines, '
                              f'{most} allowed')
            start = 0
        if not line.startswith((' ', '{', '}')) and line.strip():
            head = line
    return faults


def check_names(paths):
    seen = {}
    faults = []
    for path in paths:
        name = os.path.basename(path)
        if name in SHARED_NAMES:
            continue
        if name in seen:
            faults.append(f'{path}: {seen[name]} has the same file name')
        seen[name] = path
        if name.endswith(('.c', '.h', '.py')) and name != name.lower():
            faults.append(f'{path}: file names are in lower case')
    return faults


def check_meson(root, paths):
    """Every source is listed in the build file of its folder or of a folder above."""
    faults = []
    for path in paths:
        folder, name = os.path.split(path)
        lists = ''
        while True:
            build = os.path.join(root, folder, 'meson.build')
            if os.path.isfile(build):
                with open(build, encoding='utf-8') as file:
                    lists += file.read()
            if not folder:
                break
            folder = os.path.dirname(folder)
        if not re.search(r"['/]" + re.escape(name) + "'", lists) and \
                f"'{name[:-2]}'" not in lists:
            faults.append(f'{path}: no meson.build lists it')
    top = os.path.join(root, 'meson.build')
    if os.path.isfile(top):
        n_lines = source.read(root, 'meson.build').count('\n')
        if n_lines > ROOT_MESON_LINES:
            faults.append(f'meson.build: {n_lines} lines, {ROOT_MESON_LINES} allowed')
    options = os.path.join(root, 'meson_options.txt')
    if os.path.isfile(options):
        count = len(re.findall(r'^option\(', source.read(root, 'meson_options.txt'), re.M))
        if count > N_OPTIONS:
            faults.append(f'meson_options.txt: {count} options, {N_OPTIONS} allowed')
    return faults


def main(root):
    faults = []
    sources = source.files(root, '.c', '.h')
    texts = sources + source.files(root, '.py', '.sh', '.md', '.js', '.css', '.html', 'meson.build')
    for path in texts:
        text = source.read(root, path)
        n_lines = text.count('\n')
        faults += check_lines(path, text)
        if not path.endswith('.md') and n_lines > LONG_FILES.get(path, FILE_LINES):
            faults.append(f'{path}: {n_lines} lines, {LONG_FILES.get(path, FILE_LINES)} allowed')
        if path in sources:
            faults += check_functions(path, text)
    faults += check_names(texts)
    faults += check_meson(root, [p for p in sources if p.endswith('.c')])
    return source.finish('limits', faults, len(texts), 'files')


if __name__ == '__main__':
    sys.exit(main(sys.argv[1]))
