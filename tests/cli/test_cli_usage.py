"""Help, version, exit codes, and one clear line for each thing that can be wrong."""
import os
import struct
import subprocess

import pytest

from clitool import DEMO, SLUICE, good, refused, sluice

COMMANDS = ['run', 'chat', 'ls', 'info', 'bench', 'tune', 'pack', 'plan', 'tokenize', 'eval',
            'perplexity', 'doctor', 'config']


def plain(*args):
    return subprocess.run([SLUICE, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          stdin=subprocess.DEVNULL, timeout=20)


def test_version():
    done = plain('--version')
    assert done.returncode == 0 and done.stdout.startswith(b'sluice 0.')
    assert plain('-V').stdout == done.stdout
    assert plain('run', '--version').stdout == done.stdout


def test_help():
    done = plain('--help')
    assert done.returncode == 0 and not done.stderr
    for name in COMMANDS:
        assert f'  {name} ' in done.stdout.decode()
    assert plain().stdout == plain('help').stdout == plain('-h').stdout == done.stdout


@pytest.mark.parametrize('name', COMMANDS)
def test_help_of_a_command(name):
    done = plain(name, '--help')
    assert done.returncode == 0 and not done.stderr
    assert done.stdout.startswith(f'Usage: sluice {name} [OPTION...]'.encode())
    assert plain('help', name).stdout == plain(name, '-h').stdout == done.stdout


def test_no_such_command():
    done = plain('nonsense')
    assert done.returncode == 2 and b'nonsense' in done.stderr and not done.stdout


@pytest.mark.parametrize('args, word', [
    (['run'], 'no model'),
    (['chat'], 'no model'),
    (['info'], 'no model'),
    (['pack'], 'no model'),
    (['pack', DEMO], 'no name'),
    (['plan'], 'no model'),
    (['tokenize'], 'no model'),
    (['ls', 'x'], 'too many'),
    (['eval', DEMO], '--tokens'),
    (['perplexity', DEMO], '-f FILE'),
    (['perplexity', DEMO, '-f', 'a', '--tokens', 'b'], '-f FILE'),
    (['run', DEMO, 'a', 'b'], 'quotes'),
    (['run', DEMO, 'a', '-f', 'b'], 'exclude'),
    (['run', DEMO, '--bogus'], '--bogus'),
    (['run', DEMO, 'a', '--temp', 'hot'], '"hot"'),
    (['run', DEMO, 'a', '--temp=-1'], '--temp'),
    (['run', DEMO, 'a', '--top-p', '1.5'], '--top-p'),
    (['run', DEMO, 'a', '--top-k', '-1'], '--top-k'),
    (['run', DEMO, 'a', '--repeat-penalty', 'nan'], '--repeat-penalty'),
    (['run', DEMO, 'a', '-n', '1x'], '-n'),
    (['run', DEMO, 'a', '-t', '0'], '--threads'),
    (['run', DEMO, 'a', '--cpu', 'sse9'], '"sse9"'),
    (['run', DEMO, 'a', '--kv', 'q2'], '"q2"'),
    (['run', DEMO, 'a', '--chunk', '2049'], '--chunk'),
    (['run', DEMO, 'a', '--seed', '18446744073709551616'], '--seed'),
    (['run', DEMO, 'a', '--logit-bias', '5'], '--logit-bias'),
    (['run', DEMO, 'a', '--logit-bias', '5=inf'], '--logit-bias'),
    (['run', DEMO, 'a', '--raw', '--system', 's'], '--raw'),
    (['perplexity', DEMO, '-f', 'a', '--ctx', '4'], '--ctx'),
    (['tokenize', DEMO, '--detokenize', '--pieces'], '--pieces'),
])
def test_usage_errors(args, word):
    refused(2, word, *args)


@pytest.mark.parametrize('name, args', [
    ('run', ['x']), ('chat', []), ('info', []), ('plan', []), ('tokenize', []),
    ('eval', ['--tokens', '-']), ('perplexity', ['-f', '-'])])
def test_models_that_cannot_be_opened(name, args, tmp_path):
    empty, wrong, cut = tmp_path / 'empty.gguf', tmp_path / 'wrong.gguf', tmp_path / 'cut.gguf'
    empty.write_bytes(b'')
    wrong.write_bytes(b'PK\x03\x04' * 100)
    with open(DEMO, 'rb') as file:
        cut.write_bytes(file.read(5000))
    for path, word in [(tmp_path / 'none.gguf', 'No such file'), (tmp_path, 'directory'),
                       (empty, 'empty'), (wrong, 'wrong.gguf'), (cut, 'cut.gguf')]:
        line = refused(1, word, name, path, *args)
        assert str(path) in line
    if os.geteuid() != 0:
        wrong.chmod(0)
        refused(1, 'ermission', name, wrong, *args)


def test_a_line_end_in_a_path_stays_one_line():
    refused(1, 'no such', 'info', '/no such\nplace')


def test_a_missing_cpu_level_is_refused_by_name():
    with open('/proc/cpuinfo', encoding='ascii') as file:
        if 'avx512_vnni' in file.read():
            pytest.skip('this machine has every level')
    done = sluice('info', DEMO, '--cpu', 'avx512')
    assert done.returncode == 1 and b'avx512' in done.stderr


def test_closed_standard_streams_do_no_harm(tmp_path):
    out = tmp_path / 'ids'
    script = f'echo 1 2 | "{SLUICE}" eval "{DEMO}" --tokens - --logits "{out}" >&- 2>&-'
    done = subprocess.run(['sh', '-c', script], timeout=60)
    assert done.returncode in (0, 1)
    assert not out.exists() or out.stat().st_size == 2 * 4096 * 4


@pytest.mark.parametrize('option', ['--help', '--version'])
def test_help_that_cannot_be_written_says_so(option):
    if not os.path.exists('/dev/full'):
        pytest.skip('no /dev/full')
    with open('/dev/full', 'wb') as full:
        done = subprocess.run([SLUICE, option], stdout=full, stderr=subprocess.PIPE, timeout=20)
    assert done.returncode == 1
    assert done.stderr == b'sluice: cannot write to standard output: No space left on device\n'


def test_text_of_a_file_cannot_reach_the_terminal_raw(tmp_path):
    path = tmp_path / 'hostile.gguf'
    hostile = b'\x1b]0;x\x07\xc2\x9b2J\xff'
    path.write_bytes(struct.pack('<IIQQ', 0x46554747, 3, 0, 1)
                     + struct.pack('<Q', 20) + b'general.architecture'
                     + struct.pack('<IQ', 8, len(hostile)) + hostile)
    for name, args in (('run', ['hi']), ('info', [])):
        line = refused(1, 'architecture " ]0;x   2J?" is not supported', name, path, *args)
        assert line.isprintable()


def test_each_command_takes_a_thread_count():
    assert good('tokenize', DEMO, '-t', '3', stdin=b'a b') == good('tokenize', DEMO, stdin=b'a b')
