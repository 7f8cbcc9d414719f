"""The commands of the documents that the tests do not run: why, and what is looked at instead.

Each row is an expression that the command must match, the reason, and a check that gets the
command and the sandbox and asserts. Whatever matches no row runs. A row that no command needs
any more is an error. SLOW has commands that run in ./dev test --all alone; in other runs
their options are looked at.
"""
import json
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
CLIENTS = json.loads((ROOT / 'tests/server/clients/package.json').read_text())['dependencies']
helps = {}


def words(command):
    return re.sub(r'\s#.*', '', command.text).split()


def help_of(*program):
    """What a program says of itself, asked once."""
    if program not in helps:
        done = subprocess.run([*program, '--help'], capture_output=True, text=True, cwd=ROOT,
                              check=False, timeout=100)
        helps[program] = done.stdout + done.stderr
        assert len(helps[program]) > 100, program
    return helps[program]


def options_are_known(command, text):
    """Each option of the command is one that the help text names."""
    for word in words(command):
        name = re.match(r'--?[a-z][a-z-]*', word)
        assert not name or re.search(rf'(^|[\s,;/]){name[0]}\b', text), (command.place, name[0])


def debian_has_them(command, _):
    """Every package is installed, as ./dev did; files are those that debian/control makes."""
    names = [word for word in words(command)[words(command).index('install') + 1:]
             if not word.startswith('-')]
    assert names, command.place
    control = (ROOT / 'debian/control').read_text()
    for path in [name for name in names if '/' in name]:
        name = re.fullmatch(r'\./build/deb/([\w-]+)_\S*\.deb', path)[1]
        assert f'\nPackage: {name}\n' in control, (command.place, path)
        names.remove(path)
    for name in names:
        done = subprocess.run(['dpkg-query', '-W', name], capture_output=True, check=False)
        assert done.returncode == 0, f'{command.place}: there is no package {name} here'


def dev_has_it(command, _):
    """The script's usage has the command, and it or what it starts has the options."""
    usage = help_of('./dev')
    name = re.search(r'\./dev (\S+)', command.text)[1]
    assert re.search(rf'^  {name}\b', usage, re.M), command.place
    text = {'run': help_of_run, 'bench': lambda: help_of(sys.executable, 'bench/suite.py'),
            'test': lambda: usage + '--suite'}.get(name, lambda: usage)()
    options_are_known(command, usage + text)


def help_of_run():
    from sandbox import SLUICE  # pylint: disable=import-outside-toplevel
    return help_of(SLUICE, 'run')


def build_has_options(command, _):
    """Options of meson setup are in meson_options.txt or its own."""
    ours = (ROOT / 'meson_options.txt').read_text()
    for name in re.findall(r'-D(\w+)=', command.text):
        assert f"'{name}'" in ours or name in ('buildtype', 'prefix', 'b_sanitize'), command.place
    assert (ROOT / 'meson.build').exists()


def npm_packages_are_tested(command, _):
    """The packages are those of tests/server/clients, or the one that bench/peers names."""
    for word in words(command):
        name = re.fullmatch(r'((?:@[\w-]+/)?[\w-]+)(?:@([\d.]+))?', word)
        if word in ('npm', 'install', '&&', 'export') or word.startswith(('SL_', '-', '#')):
            continue
        assert name, (command.place, word)
        peer = name[1] == 'node-llama-cpp' and word in (ROOT / 'doc/testing.md').read_text()
        assert peer or name[1] in CLIENTS or name[1] == '@langchain/core', (command.place, word)


def clients_are_there(command, _):
    """The test that it names is in tests/server/clients."""
    for name in re.findall(r'[\w-]+\.test\.mjs', command.text):
        assert (ROOT / 'tests/server/clients' / name).exists(), (command.place, name)


def stands_in(command, _):
    """The tests have stand-ins of the Python packages (tests/docs/standins)."""
    for name in words(command)[words(command).index('install') + 1:]:
        module = name.replace('-', '_')
        assert (ROOT / f'tests/docs/standins/{module}.py').exists(), (command.place, name)


def options_of_script(command, _):
    """The script is there, and knows the options."""
    script = next(word for word in words(command) if word.startswith('bench/'))
    options_are_known(command, help_of(sys.executable, script))


def options_of_bench(command, sandbox):
    """The program is there, and knows the options."""
    program = next(word for word in words(command) if word.startswith('build/release/'))
    assert (sandbox.cwd / program).exists(), (command.place, program)
    options_are_known(command, help_of(str(sandbox.cwd / program)))


def bench_reads_it(command, _):
    """The variable that it leads to is one that bench/streaming.py reads."""
    assert 'SL_LLAMA_BENCH' in (ROOT / 'bench/streaming.py').read_text(), command.place


def container_reaches_server(command, sandbox):
    """The address in it, asked as the container would, is the running server's."""
    name, port = re.search(r'http://([\w.]+):(\d+)/v1', command.text).groups()
    key = re.search(r'OPENAI_API_KEY=(\S+)', command.text)[1]
    done = subprocess.run(
        ['curl', '-sS', '--fail', '--resolve', f'{name}:{sandbox.ports[port]}:127.0.0.1', '-H',
         f'Authorization: Bearer {key}', f'http://{name}:{sandbox.ports[port]}/v1/models'],
        capture_output=True, text=True, check=False)
    assert done.returncode == 0 and json.loads(done.stdout)['data'], (command.place, done.stderr)


def program_is_known(command, _):
    """prlimit is part of util-linux, which every Debian has."""
    assert shutil.which('prlimit'), command.place


def page_is_there(command, _):
    """The page has a source."""
    assert (ROOT / f'doc/man/{words(command)[-1].replace("sluice-", "")}.mdoc').exists()


def unit_is_there(command, _):
    """The unit or the file of settings that it names is one of etc/."""
    name = words(command)[-1]
    if name.startswith('/etc/default/'):
        assert (ROOT / f'etc/{pathlib.Path(name).name}.default.in').exists(), command.place
    else:
        unit = 'sluice-user.service.in' if '--user' in command.text else 'sluice.service.in'
        there = (ROOT / 'etc/systemd' / unit, ROOT / 'etc/systemd' / name)
        assert name in ('sluice', 'sluice.socket') and any(path.exists() for path in there)


def options_of_sluice(command, _):
    from sandbox import SLUICE  # pylint: disable=import-outside-toplevel
    at = words(command)
    name = at[at.index('sluice') + 1]
    options_are_known(command, help_of(SLUICE, name))


TABLE = [
    (r'(sudo )?apt(-get)? (update|install)', 'installs packages', debian_has_them),
    (r'(\w+=\S+ )*\./dev ', 'builds all; every run of the tests is one of ./dev test', dev_has_it),
    (r'meson setup|meson install|ninja ', 'builds all: what runs here was built so',
     build_has_options),
    (r'cd build/clients', 'needs npm: part of ./dev test --clients', clients_are_there),
    (r'npm install', 'needs the network: ./dev test --clients does it', npm_packages_are_tested),
    (r'pip install', 'needs the network and no Debian package has them', stands_in),
    (r'bench/\S+\.py', 'measures for minutes or hours', options_of_script),
    (r'build/release/bench/', 'measures for minutes', options_of_bench),
    (r'git clone gitRelease|cmake |export SL_LLAMA_BENCH', 'builds llama.cpp, from npm',
     bench_reads_it),
    (r'docker run', 'needs Docker and an image of gigabytes', container_reaches_server),
    (r'sudo prlimit', 'needs root', program_is_known),
    (r'man ', 'needs man; tests/cli looks at the pages', page_is_there),
    (r'(sudo |)(systemctl|journalctl|editor) ', 'needs systemd; tests/package looks at the units',
     unit_is_there),
]

SLOW = [
    (r'sluice bench -m .* -r 5 -o csv', options_of_sluice),
    (r'sluice bench .*--ram', options_of_sluice),
    (r'sluice bench .*--extended', options_of_sluice),
    (r'sluice bench lfm2:24b', options_of_sluice),
    (r'sluice tune ', options_of_sluice),
]

# What may end with another code than 0, and why.
CODES = [
    (r'sluice doctor', (0, 1), '1 says that something of this machine is bad'),
]
