"""sluice doctor: the machine as it is, and made worse in the ways that a process can be: a
filter of system calls, limits, a cgroup, a file system in memory."""
import ctypes
import json
import os
import resource
import shutil
import struct
import subprocess
import sys
import tempfile

import pytest

from clitool import DEMO, ENV, ROOT, SLUICE
from storeworld import World

sys.path.insert(0, os.path.join(ROOT, 'bench'))
from limited import Cgroup, Denied  # noqa: E402

KEYS = ['cpu_level', 'cores', 'l3_domains', 'smt', 'governor', 'boost', 'memory',
        'memory_bandwidth', 'huge_pages', 'reserved_pages', 'memlock', 'address_space', 'swap',
        'cgroup_memory', 'cgroup_cpu', 'cgroup_disk', 'io_uring', 'container', 'file_system',
        'disk_bandwidth']
STATES = ['ok', 'unknown', 'warn', 'bad']
PR_SET_SECCOMP, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 22, 24, 38
CAP_IPC_LOCK, CAP_SYS_ADMIN = 14, 21
NR_IO_URING_SETUP = 425
LIBC = ctypes.CDLL(None, use_errno=True)


def has_sanitizer():
    with open(SLUICE, 'rb') as file:
        return b'__asan_init' in file.read()


def run(*args, code=(0, 1), **more):
    more.setdefault('env', ENV)
    done = subprocess.run([SLUICE, 'doctor', *args], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=60, **more)
    assert done.returncode in code, (done.returncode, done.stderr)
    return done


def checks(*args, **more):
    """Checks by key; of those there are several of, the last."""
    report = json.loads(run('--json', *args, **more).stdout)
    return {check['key']: check for check in report['checks']}


def test_a_report_in_full():
    done = run('--json', DEMO)
    report = json.loads(done.stdout)
    assert not done.stderr
    assert [check['key'] for check in report['checks']] == KEYS
    for check in report['checks']:
        assert list(check) == ['key', 'state', 'found', 'file', 'costs', 'command', 'advice',
                               'value', 'unit']
        assert check['state'] in STATES and check['found']
        if check['state'] in ('warn', 'bad'):
            assert check['costs'] and (check['command'] or check['advice']), check
        else:
            assert check['costs'] is None, check
    for state in STATES:
        assert report[state] == sum(check['state'] == state for check in report['checks'])
    assert done.returncode == (1 if report['bad'] else 0)
    by_key = {check['key']: check for check in report['checks']}
    assert by_key['file_system']['file'] == DEMO
    assert 'fits' in by_key['memory']['found']
    assert by_key['memory_bandwidth']['unit'] == 'bytes_per_s'
    assert 1e8 < by_key['memory_bandwidth']['value'] < 1e13


def test_lines_for_people():
    done = run('--quick', DEMO)
    text = done.stdout.decode()
    lines = text.splitlines()
    heads = [line for line in lines if line and line[0] != ' ']
    assert not done.stderr
    assert [line.split()[0] in STATES for line in heads[:-1]] == [True] * len(KEYS)
    assert heads[-1].endswith(f'of {len(KEYS)} checks.')
    assert text.count('not measured (--quick)') == 2
    for title in ('CPU level', 'L3 domains', 'huge pages', 'io_uring', 'file system'):
        assert title in text


def test_disks_are_measured(tmp_path):
    big = tmp_path / 'big.gguf'
    big.write_bytes(os.urandom(1 << 20) * 9)
    found = checks(str(big))
    disk = found['disk_bandwidth']
    if 'takes direct reads' in found['file_system']['found']:
        assert disk['unit'] == 'bytes_per_s' and disk['value'] > 1e6
    else:
        assert disk['state'] == 'unknown' and disk['found'].startswith('not measured: ')


def test_a_small_file_tells_nothing_of_a_disk(tmp_path):
    small = tmp_path / 'small.gguf'
    small.write_bytes(b'GGUF' * 1000)
    disk = checks(str(small))['disk_bandwidth']
    assert disk['state'] == 'unknown' and 'less than 8 MiB' in disk['found']


def test_what_is_no_model_has_its_disk_looked_at(tmp_path):
    text = tmp_path / 'notes.txt'
    text.write_text('no model at all')
    done = run('--quick', '--json', str(text))
    assert b'note: only its disk is looked at: ' in done.stderr and b'notes.txt' in done.stderr
    assert json.loads(done.stdout)['checks'][-1]['file'] == str(text)


@pytest.mark.parametrize('code, word, args', [
    (1, 'No such file', ['/tmp/none/none.gguf']),
    (1, 'it is no file', ['/tmp/']),
    (1, 'sluice ls', ['no-such-model']),
    (2, 'too many', [DEMO, DEMO]),
    (2, '--bogus', ['--bogus']),
])
def test_errors(code, word, args):
    done = run(*args, code=(code,))
    assert not done.stdout and word in done.stderr.decode().splitlines()[0]


def test_without_a_model(tmp_path):
    world = World(tmp_path)
    found = checks('--quick', env=world.env)
    for key in ('file_system', 'disk_bandwidth'):
        assert found[key]['state'] == 'unknown' and 'no model' in found[key]['found']


def test_models_of_this_machine_are_found(tmp_path):
    world = World(tmp_path)
    models = tmp_path / 'some models'
    models.mkdir()
    name = models / 'it\'s \x1b[31mred.gguf'
    shutil.copy(DEMO, name)
    env = {**world.env, 'SLUICE_MODELS': str(models)}
    assert checks('--quick', env=env)['file_system']['file'] == str(name)
    done = run('--quick', env=env)
    assert b'it\'s \\x1b[31mred.gguf' in done.stdout and b'\x1b' not in done.stdout


def forbid(errno):
    """For preexec_fn: io_uring_setup fails, as under a container's filter."""
    def install():
        program = struct.pack('=HBBIHBBIHBBIHBBI',
                              0x20, 0, 0, 0,                    # load the call's number
                              0x15, 0, 1, NR_IO_URING_SETUP,    # if it is this one
                              0x06, 0, 0, 0x00050000 | errno,   # fail
                              0x06, 0, 0, 0x7fff0000)           # else allow
        buffer = ctypes.create_string_buffer(program)
        filters = ctypes.create_string_buffer(struct.pack('HxxxxxxQ', 4,
                                                          ctypes.addressof(buffer)))
        LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        if LIBC.prctl(PR_SET_SECCOMP, 2, filters, 0, 0) != 0:
            os._exit(99)
    return install


def test_a_filter_forbids_io_uring():
    before = checks('--quick')['io_uring']
    if before['state'] != 'ok':
        pytest.skip(f'io_uring: {before["found"]}')
    check = checks('--quick', preexec_fn=forbid(1))['io_uring']
    assert check['state'] == 'warn'
    assert check['found'] == 'forbidden by a seccomp filter (Operation not permitted)'
    assert 'processor time' in check['costs'] and (check['command'] or check['advice'])
    check = checks('--quick', preexec_fn=forbid(38))['io_uring']
    assert (check['state'], check['found']) == ('warn', 'hidden by a seccomp filter')


def test_the_limit_on_locked_memory():
    def limit():
        LIBC.prctl(PR_CAPBSET_DROP, CAP_IPC_LOCK, 0, 0, 0)  # root's would make it void
        hard = 8 << 20
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (hard, hard))

    hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)[1]
    if hard != resource.RLIM_INFINITY and hard < 8 << 20:
        pytest.skip('less may be locked already')
    check = checks('--quick', preexec_fn=limit)['memlock']
    assert (check['state'], check['found'], check['value']) == ('warn', '8192 KiB', 8 << 20)
    assert 'swap it out' in check['costs'] and 'memlock' in (check['command'] or check['advice'])


@pytest.mark.skipif(has_sanitizer(), reason='sanitizers need all of the address space')
def test_what_is_bad_is_told_by_the_exit_code():
    done = run('--quick', '--json', code=(1,),
               preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30)))
    report = json.loads(done.stdout)
    check = next(c for c in report['checks'] if c['key'] == 'address_space')
    assert check['state'] == 'bad' and report['bad'] >= 1 and not done.stderr
    assert check['command'].startswith('ulimit -v unlimited')


def test_a_file_in_memory():
    try:
        with open('/proc/mounts', encoding='utf-8') as file:
            is_tmpfs = any(line.split()[1:3] == ['/dev/shm', 'tmpfs'] for line in file)
        folder = tempfile.mkdtemp(dir='/dev/shm') if is_tmpfs else None
    except OSError:
        folder = None
    if not folder:
        pytest.skip('no tmpfs that can be written')
    try:
        path = os.path.join(folder, 'a model.gguf')
        shutil.copy(DEMO, path)
        check = checks('--quick', path)['file_system']
    finally:
        shutil.rmtree(folder)
    assert check['state'] == 'warn' and check['found'].startswith('tmpfs')
    assert 'takes memory' in check['costs']
    assert check['command'] == (f"mkdir -p ~/.local/share/sluice/models && cp '{path}' "
                                "~/.local/share/sluice/models/'a model.gguf'")


def test_the_limit_of_a_cgroup():
    try:
        group = Cgroup(700 << 20)
    except Denied as error:
        pytest.skip(str(error))
    with group:
        procs = group.path / 'cgroup.procs'
        check = checks('--quick', preexec_fn=lambda: procs.write_text('0'))['cgroup_memory']
    assert check['state'] == 'bad' and check['value'] == 700 << 20
    assert check['found'].startswith('limit of 0.68 GiB, 0.6')
    assert check['file'] == str(group.path / ('memory.limit_in_bytes' if group.is_v1
                                              else 'memory.max'))
    assert str(group.path) in check['command'] or check['advice']
