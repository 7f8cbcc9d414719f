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


# The ends of paths below the prefix. Each must be there, and nothing else may be.
PLACES = '''
    bin/sluice include/sluice.h libsluice.a libsluice.so libsluice.so.0 libsluice.so.0.*.*
    pkgconfig/sluice.pc
    lib/systemd/system/sluice.service lib/systemd/system/sluice.socket
    lib/systemd/user/sluice.service lib/systemd/user/sluice.socket
    share/doc/sluice/LICENSE share/doc/sluice/NEWS.md share/doc/sluice/README.md
    share/doc/sluice/examples/example.c share/sluice/grafana/sluice.json
    share/sluice/models/README.md share/sluice/models/demo.gguf
    share/man/man1/sluice.1 share/man/man1/sluice-*.1
    share/bash-completion/completions/sluice share/fish/vendor_completions.d/sluice.fish
    share/zsh/site-functions/_sluice
'''.split()


def test_everything_is_in_its_place(installed):
    prefix = find(installed, 'bin/sluice').parent.parent
    there = {path for path in prefix.rglob('*') if not path.is_dir()}
    there -= set(prefix.glob('etc/**/*'))
    placed = set()
    for place in PLACES:
        found = {path for path in there if path.relative_to(prefix).match(place)}
        assert found, f'{place} was not installed'
        placed |= found
    assert not there - placed
    settings = find(installed, 'etc/default/sluice').read_text()
    model = next(line[6:] for line in settings.splitlines() if line.startswith('MODEL='))
    assert (installed / model.lstrip('/')).is_file()


def test_pages_and_completions_lie_where_they_are_looked_for(installed):
    command = find(installed, 'bin/sluice')
    share = command.parents[1] / 'share'
    pages = {page.name for page in (share / 'man/man1').iterdir()}
    assert {'sluice.1', 'sluice-run.1', 'sluice-serve.1', 'sluice-config.1'} <= pages
    for name in ('bash-completion/completions/sluice', 'zsh/site-functions/_sluice',
                 'fish/vendor_completions.d/sluice.fish'):
        assert 'residency' in (share / name).read_text(), name


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
