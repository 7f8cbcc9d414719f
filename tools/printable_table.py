#!/usr/bin/env python3
"""Print src/text/printable_table.h: the characters that Python escapes in repr().

    python3 tools/printable_table.py > src/text/printable_table.h

Run it with the Python whose Unicode version is wanted; the test of chat templates
compares with the Python at hand (Debian 12: 3.11, Unicode 14).
"""
import sys
import unicodedata


def main():
    bounds = []
    inside = False
    for code in range(0x110000):
        hidden = not chr(code).isprintable()
        if hidden != inside:
            bounds.append(code)
            inside = hidden
    assert inside  # the last range runs to the end
    bounds.append(0x110000)

    print('/*')
    print(f' * Made by tools/printable_table.py from Unicode {unicodedata.unidata_version}: where '
          'ranges of')
    print(' * characters begin that Python does not print, and where they end, in turn.')
    print(' */')
    print('#pragma once\n\n#include <stdint.h>\n')
    print('static const uint32_t printable_bounds[] = {')
    for i in range(0, len(bounds), 10):
        print('    ' + ' '.join(f'0x{b:05X},' for b in bounds[i:i + 10]))
    print('};')


if __name__ == '__main__':
    sys.exit(main())
