"""What the lints share: which files the project has, and C text without comments."""
import os
import re
import subprocess

CODE_DIRS = ('src', 'loader', 'experts', 'tools', 'bench', 'doc', 'tests')
SKIP_DIRS = {'__pycache__', 'corpus', 'golden', '.git', 'node_modules'}


def files(root, *suffixes):
    """Paths relative to root, sorted, of the tracked or new files that end so."""
    found = []
    for top in CODE_DIRS:
        for folder, dirs, names in os.walk(os.path.join(root, top)):
            dirs[:] = sorted(d for d in dirs if d not in SKIP_DIRS)
            for name in names:
                if name.endswith(suffixes):
                    found.append(os.path.relpath(os.path.join(folder, name), root))
    return sorted(found)


def read(root, path):
    with open(os.path.join(root, path), encoding='utf-8') as file:
        return file.read()


TOKEN = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)


def bare(text):
    """C text with comments and literals blanked, line for line."""
    return TOKEN.sub(lambda m: re.sub(r'[^\n]', ' ', m.group()), text)


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def finish(name, faults, n_checked, unit):
    """Print faults; the exit code."""
    for fault in faults:
        print(fault)
    print(f'{name}: {len(faults)} faults in {n_checked} {unit}')
    return 1 if faults or not n_checked else 0
