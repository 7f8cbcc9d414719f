#!/usr/bin/env python3
"""Symbols of what was built: symbols.py BUILD_ROOT [--shared FILE.so] [--static FILE.a]
[--header FILE.h]

The libraries export the functions of the header and nothing else. No object of the library
has mutable data of its own (data, bss or thread-local sections), but for what ALLOWED names
with a reason.
"""
import argparse
import os
import re
import sys

import source

# (object's source, symbol) -> reason
ALLOWED = {
    ('mapping.c', name): 'what the SIGBUS handler needs: it can reach only globals'
    for name in ('install_lock', 'installed', 'prev', 'prev_used_up', 'slots')
}
LIBRARY = re.compile(
    r'/lib(base|tensor|kernels\w*|loader|experts|text|model|sluice)\.(a|so\S*)\.p/')
# The l or g of the flags, a section, a size, a name
SYMBOL = re.compile(r'^[0-9a-f]+ (.{7}) (\.\S+|\*COM\*)\t([0-9a-f]+) (?:\.\w+ )?(\S+)$', re.M)
MUTABLE = re.compile(r'^(\.data(?!\.rel\.ro)|\.bss|\.tdata|\.tbss|\*COM\*)')


def objects(build):
    found = []
    for folder, _, names in os.walk(build):
        for name in names:
            path = os.path.join(folder, name)
            if name.endswith('.o') and LIBRARY.search(path):
                found.append(path)
    return sorted(found)


def mutable_symbols(path):
    """Names of objects in writable sections."""
    names = []
    for flags, section, size, name in SYMBOL.findall(source.run('objdump', '-t', path)):
        if MUTABLE.match(section) and int(size, 16) and 'd' not in flags[-2:]:
            names.append(name)
    return names


def allowed(path, name):
    return (os.path.basename(path)[:-len('.o')], name) in ALLOWED


def exported(path, shared):
    output = source.run('nm', '--defined-only', '-g', *(['-D'] if shared else []), path)
    return [row.split()[-1] for row in output.splitlines() if len(row.split()) == 3]


def declared(header):
    with open(header, encoding='utf-8') as file:
        return set(re.findall(r'SLUICE_API[^;(]*?\b(sluice_\w+)\(', source.bare(file.read())))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('build')
    parser.add_argument('--shared')
    parser.add_argument('--static')
    parser.add_argument('--header')
    args = parser.parse_args()
    faults = []
    found = objects(args.build)
    for path in found:
        for name in mutable_symbols(path):
            if not allowed(path, name):
                faults.append(f'{os.path.relpath(path, args.build)}: {name} is mutable')
    for library, shared in ((args.shared, True), (args.static, False)):
        if not library:
            continue
        names = exported(library, shared)
        wanted = declared(args.header) if args.header else {'sluice_version'}
        faults += [f'{library}: {name} is missing' for name in sorted(wanted - set(names))]
        faults += [f'{library}: exports {name}' for name in names
                   if not name.startswith('sluice_') or args.header and name not in wanted]
    return source.finish('symbols', faults, len(found), 'objects')


if __name__ == '__main__':
    sys.exit(main())
