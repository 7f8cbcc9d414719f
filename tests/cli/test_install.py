"""What meson install puts down is enough to build a program: header, libraries, pkg-config."""
import os
import pathlib
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ['SL_BUILD'])
MODEL = ROOT / 'models/demo.gguf'
CC = os.environ.get('CC', 'cc')


def run(*command, **env):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True,
                          check=False, env=dict(os.environ, **env))
    assert done.returncode == 0, f'{command}: {done.stdout}{done.stderr}'
    return done.stdout


@pytest.fixture(name='installed', scope='module')
def install(tmp_path_factory):
    folder = tmp_path_factory.mktemp('prefix')
    run('meson', 'install', '-C', BUILD, '--no-rebuild', '--quiet', '--destdir', folder)
    return folder


def find(folder, name):
    found = sorted(folder.rglob(name))
    assert found, f'{name} was not installed'
    return found[0]


def flags(installed, *options):
    pc_file = find(installed, 'sluice.pc')
    return run('pkg-config', *options, 'sluice', PKG_CONFIG_SYSROOT_DIR=str(installed),
               PKG_CONFIG_PATH=str(pc_file.parent)).split()


def continues(program, **env):
    words = run(program, MODEL, 'In the beginning', **env).split()
    assert len(words) > 10 and all(word.isprintable() for word in words)
    return words


def test_the_command_is_installed(installed):
    command = find(installed, 'bin/sluice')
    assert run(command, '--version', LD_LIBRARY_PATH='').strip()


def test_the_example_builds_against_the_shared_library(installed, tmp_path):
    program = tmp_path / 'example'
    run(CC, '-Wall', '-Wextra', '-Werror', ROOT / 'doc/example.c', '-o', program,
        *flags(installed, '--cflags', '--libs'))
    library = find(installed, 'libsluice.so')
    assert 'libsluice.so.0' in run('readelf', '-d', program)
    continues(program, LD_LIBRARY_PATH=str(library.parent))


def test_the_example_builds_against_the_static_library(installed, tmp_path):
    program = tmp_path / 'example'
    archive = find(installed, 'libsluice.a')
    # Sluice alone is linked statically; the libraries it needs are the system's shared ones
    needed = flags(installed, '--print-requires-private')
    rest = run('pkg-config', '--libs', *needed).split() + ['-lm', '-pthread']
    run(CC, ROOT / 'doc/example.c', *flags(installed, '--cflags'), archive, '-o', program, *rest)
    assert 'libsluice' not in run('readelf', '-d', program)
    assert continues(program, LD_LIBRARY_PATH='') == continues(BUILD / 'doc/example')


def test_the_header_is_good_for_other_dialects(installed, tmp_path):
    unit = tmp_path / 'unit.c'
    unit.write_text('#include <sluice.h>\n' * 2 + 'int main(void)\n{\n    return 0;\n}\n')
    for dialect in ('c99', 'c11'):
        run(CC, f'-std={dialect}', '-Wall', '-Wextra', '-pedantic', '-Werror', '-fsyntax-only',
            unit, *flags(installed, '--cflags'))
