#!/usr/bin/env python3
"""The include direction of doc/architecture.md, folders: layers.py ROOT.

A file may include headers of its own layer and of those that LAYERS names for it. A header
of another project may be included only where DEPENDENCIES says; library layers do not
print, exit or read the environment; threads start in few files.
"""
import os
import re
import sys

import source

BELOW = {
    'base': [],
    'tensor': ['base'],
    'kernels': ['base', 'tensor'],
    'loader': ['base', 'tensor'],
    'experts': ['base', 'tensor', 'loader'],
    'store': ['base', 'tensor', 'loader'],
    'fetch': ['base', 'store'],
    'doctor': ['base', 'tensor', 'kernels', 'loader', 'experts'],
    'text': ['base'],
    'model': ['base', 'tensor', 'kernels', 'loader', 'experts', 'text', 'api'],
    'api': [],
    'server': ['base', 'text', 'api'],
    'bench': ['base', 'tensor', 'kernels', 'loader', 'experts', 'text', 'api'],
    'cli': ['base', 'tensor', 'kernels', 'loader', 'experts', 'text', 'model', 'server', 'store',
            'fetch', 'doctor', 'api'],
    'doc': ['api'],
    'tools': None,  # anything
    'tests': None,
}
LIBRARY = ('base', 'tensor', 'kernels', 'loader', 'experts', 'store', 'fetch', 'doctor', 'text',
           'model', 'api')

# Header -> (files that may include it, as an expression; how many of them there may be)
DEPENDENCIES = [
    (r'liburing(\.h|/.*)', r'loader/uring\.c', 1),
    (r'zstd\.h|zdict\.h', r'loader/z(block|stream)\.c', 2),
    (r'xxhash\.h', r'loader/check\.c', 1),
    (r'hwloc(\.h|/.*)', r'experts/topology\.c', 1),
    (r'pcre2\.h', r'src/text/\w+\.c', 1),
    (r'jansson\.h', r'src/base/json\.c', 1),
    (r'event2/.*', r'src/server/http\w*\.[ch]', None),
    (r'histedit\.h|editline/.*', r'src/cli/.*', 1),
    (r'ini\.h', r'src/cli/conffile\.c', 1),
    (r'curl/.*', r'src/fetch/transfer\.c', 1),
    (r'openssl/.*', r'src/fetch/sha256\.c', 1),
    (r'argp\.h', r'(src/cli|tools|bench)/.*', None),
    (r'cmocka\.h', r'tests/.*', None),
    (r'cpuid\.h', r'src/kernels/\w+\.c', 1),
    (r'\w+mmintrin\.h|immintrin\.h', r'src/kernels/x86/.*|bench/bn_ceiling_\w+\.c', None),
]

# Words (as calls) -> files that may use them
CALLS = [
    (r'exit|_exit|abort|quick_exit', r'src/cli/main\.c'),
    (r'getenv|secure_getenv', r'src/cli/.*'),
    (r'printf|fprintf|vfprintf|puts|fputs|putchar|perror|dprintf', r'src/(cli|server)/.*'),
    (r'pthread_create|thrd_create',
     r'src/base/pool\.c|loader/(uring|preadio|warm)\.c|src/server/.*'),
    (r'alloca|sprintf|vsprintf|gets|strtok|sleep|usleep|nanosleep', r'nothing'),
]

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(["<])([^">]+)[">]', re.M)


def layer(path):
    parts = path.split('/')
    if path == 'src/sluice.h':
        return 'api'
    return parts[1] if parts[0] == 'src' and len(parts) > 2 else parts[0]


def resolve(root, path, target):
    """The project's file that a quoted include means, or None."""
    for base in ('', 'src/'):
        if os.path.isfile(os.path.join(root, base + target)):
            return base + target
    if layer(path) == 'tests':  # test folders may be on the include path; the compiler checks
        return 'tests/' + target
    return None


def check_includes(root, path, text, users):
    mine = layer(path)
    faults = []
    if mine not in BELOW:
        return [f'{path}: no layer is called {mine}']
    for mark, target in INCLUDE.findall(text):
        if mark == '<':
            for header, allowed, _ in DEPENDENCIES:
                if re.fullmatch(header, target):
                    users.setdefault(header, []).append(path)
                    if not re.fullmatch(allowed, path) and mine not in ('tools', 'tests'):
                        faults.append(f'{path}: <{target}> belongs in {allowed}')
            continue
        found = resolve(root, path, target)
        if not found:
            faults.append(f'{path}: "{target}" is no path from the root or from src')
        elif found.endswith('.c'):
            faults.append(f'{path}: includes a .c file, {target}')
        elif BELOW[mine] is not None and layer(found) not in [mine] + BELOW[mine]:
            faults.append(f'{path}: layer {mine} may not include {target} ({layer(found)})')
    return faults


def check_calls(path, text):
    faults = []
    if layer(path) not in LIBRARY + ('cli', 'server'):
        return faults
    plain = source.bare(text)
    for words, allowed in CALLS:
        if re.fullmatch(allowed, path):
            continue
        for match in re.finditer(rf'(?<![\w.>])({words})[ \t]*\(', plain):
            line = plain.count('\n', 0, match.start()) + 1
            faults.append(f'{path}:{line}: {match.group(1)}() is not for this layer')
    return faults


def main(root):
    faults = []
    users = {}
    paths = source.files(root, '.c', '.h')
    for path in paths:
        text = source.read(root, path)
        faults += check_includes(root, path, text, users)
        faults += check_calls(path, text)
    for header, _, most in DEPENDENCIES:
        mine = [p for p in users.get(header, []) if layer(p) not in ('tools', 'tests')]
        if most is not None and len(set(mine)) > most:
            faults.append(f'{header}: one file per dependency, but: {", ".join(mine)}')
    return source.finish('layers', faults, len(paths), 'files')


if __name__ == '__main__':
    sys.exit(main(sys.argv[1]))
