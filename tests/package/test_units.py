"""systemd's units: systemd takes them, they are closed enough, and they let Sluice work."""
import os
import pathlib
import re
import shutil
import subprocess

import pytest

BUILD = pathlib.Path(os.environ['SL_BUILD']) / 'etc'
SOURCE = pathlib.Path(__file__).resolve().parents[2] / 'etc'
THRESHOLD = 30  # tenths, of systemd-analyze security: 3.0
UNITS = {'system': BUILD / 'sluice.service', 'user': BUILD / 'sluice-user.service'}
both = pytest.mark.parametrize('kind', UNITS)


def settings(path):
    """Name -> values in order, of all sections."""
    found = {}
    for line in path.read_text().splitlines():
        if re.match(r'\w+=', line):
            name, value = line.split('=', 1)
            found.setdefault(name, []).append(value)
    return found


def run(folder, *command):
    if not shutil.which(command[0]):
        pytest.skip(f'there is no {command[0]} here')
    env = dict(os.environ, XDG_RUNTIME_DIR=str(folder), LC_ALL='C', SYSTEMD_COLORS='0')
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False,
                          env=env)
    return done.returncode, done.stdout + done.stderr


def offline(folder):
    code, text = run(folder, 'systemd-analyze', '--help')
    if '--offline' not in text:
        pytest.skip('systemd is older than 250')


@both
def test_exposure(tmp_path, kind):
    offline(tmp_path)
    unit = tmp_path / 'sluice.service'
    shutil.copy(UNITS[kind], unit)
    command = ['systemd-analyze', 'security', '--offline=true', f'--{kind}', '--no-pager']
    code, text = run(tmp_path, *command, f'--threshold={THRESHOLD}', unit)
    level = float(re.search(r'exposure level for sluice.service: ([\d.]+)', text).group(1))
    assert code == 0 and level <= THRESHOLD / 10, text
    assert run(tmp_path, *command, '--threshold=5', unit)[0] != 0  # thresholds do count


@both
def test_systemd_takes_them(tmp_path, kind):
    """Nothing unknown in them. Their programs need not be installed here."""
    offline(tmp_path)
    unit = tmp_path / 'sluice.service'
    text = UNITS[kind].read_text()
    unit.write_text(re.sub(r'^ExecStart=\S+', 'ExecStart=/bin/true', text, flags=re.M))
    shutil.copy(SOURCE / 'systemd/sluice.socket', tmp_path)
    command = ['systemd-analyze', 'verify', f'--{kind}', '--man=no', '--recursive-errors=no']
    for name in 'sluice.service', 'sluice.socket':
        code, text = run(tmp_path, *command, tmp_path / name)
        assert code == 0 and str(tmp_path) not in text, text
    unit.write_text(unit.read_text().replace('UMask=', 'Umasc='))
    assert 'Umasc' in run(tmp_path, *command, unit)[1]


@both
def test_what_sluice_needs_is_allowed(tmp_path, kind):
    unit = settings(UNITS[kind])
    assert unit['LimitMEMLOCK'] == ['infinity'] and unit['Type'] == ['notify']
    assert unit['ProcSubset'] == ['all']  # /proc/meminfo, /proc/pressure
    assert unit['TimeoutStartSec'] == ['infinity']
    allowed = set()
    offline(tmp_path)
    for value in unit['SystemCallFilter']:
        calls = group(tmp_path, *value.lstrip('~').split())
        allowed = allowed - calls if value.startswith('~') else allowed | calls
    assert allowed >= {'io_uring_setup', 'io_uring_enter', 'io_uring_register', 'mlock', 'mlock2',
                       'madvise', 'mbind', 'sched_setaffinity', 'statx', 'prctl', 'accept4'}
    assert not allowed & {'ptrace', 'mount', 'bpf', 'reboot', 'setuid', 'init_module'}


def group(folder, *names):
    """The system calls of groups, all the way down."""
    calls = set()
    for name in names:
        if not name.startswith('@'):
            calls.add(name)
            continue
        text = run(folder, 'systemd-analyze', 'syscall-filter', '--no-pager', name)[1]
        words = [line.strip() for line in text.splitlines() if line.startswith('    ')]
        calls |= group(folder, *(word for word in words if not word.startswith('#')))
    return calls


@both
def test_a_model_is_named(kind):
    unit = settings(UNITS[kind])
    program, command, *rest = unit['ExecStart'][0].split()
    assert program.endswith('/bin/sluice') and command == 'serve'
    assert rest == ['$OPTIONS', '--', '${MODEL}']
    names = settings(BUILD / 'sluice.default') if kind == 'system' else \
        dict(value.split('=', 1) for value in unit['Environment'])
    model = names['MODEL'][0] if kind == 'system' else names['MODEL']
    assert model.endswith('/sluice/models/demo.gguf') and '@' not in model


def test_no_placeholder_is_left():
    for path in *UNITS.values(), BUILD / 'sluice.default':
        assert not re.search(r'@[a-z]+@', path.read_text()), path


def test_socket_and_server_listen_at_the_same_address():
    sockets = settings(SOURCE / 'systemd/sluice.socket')
    assert sockets['ListenStream'] == ['127.0.0.1:8080']
