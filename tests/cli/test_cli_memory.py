"""Options on memory: budgets, streaming, the ways to read, and what is told about it."""
import glob
import json
import os
import re
import resource

import pytest

from clitool import DEMO, ENV, SLUICE, good, refused, shared, sluice

IDS = ' '.join(str(300 + 7 * i % 1500) for i in range(40))
STREAM = ['--residency', 'stream', '--ram', 'min']


def smallest(name, *args, **more):
    """The budget, in MiB, that a refusal names in its last line."""
    done = sluice(name, *args, **more)
    lines = done.stderr.decode().splitlines()
    assert (done.returncode, done.stdout) == (1, b''), (done.args, done.stderr)
    assert lines[0].startswith('sluice: ') and 'not enough memory' in lines[0]
    found = re.fullmatch(r'smallest that works: --ram (\d+)M', lines[-1])
    assert found, lines
    return int(found.group(1))


def logits(path, *args):
    good('eval', DEMO, '--tokens', '-', '--logits', path, *args, stdin=IDS.encode())
    return path.read_bytes()


@pytest.mark.parametrize('args, word', [
    (['--ram', '8'], '8 bytes'),
    (['--ram', '0'], '0 bytes'),
    (['--ram', '8X'], '"8X"'),
    (['--ram', '8GB'], '"8GB"'),
    (['--ram', '-1G'], '"-1G"'),
    (['--ram', '1e3G'], '"1e3G"'),
    (['--ram', '1.G'], '"1.G"'),
    (['--ram', ''], '""'),
    (['--ram', '99999999999T'], '99999999999T'),
    (['--residency', 'disk'], 'auto, resident or stream'),
    (['--io', 'mmap'], 'uring'),
    (['--predict', 'maybe'], 'replay:FILE'),
    (['--predict', 'replay:'], 'replay:FILE'),
    (['--predict', 'replay:FILE2', '--policy', 'fifo'], 'default, lru or lfu'),
])
def test_usage_errors(args, word):
    for command in (['run', DEMO, 'x'], ['info', DEMO], ['perplexity', DEMO, '-f', '-']):
        refused(2, word, *command, *args)


@pytest.mark.parametrize('command, stdin', [
    (['run', DEMO, 'x', '-n', '2'], b''),
    (['chat', DEMO, '-n', '2'], b'hello\n'),
    (['eval', DEMO, '--tokens', '-'], b'1 2 3'),
    (['perplexity', DEMO, '--tokens', '-', '--ctx', '16'], b'5 ' * 40),
    (['info', DEMO], b''),
])
@pytest.mark.parametrize('residency', ['auto', 'stream', 'resident'])
def test_the_smallest_budget_works_and_less_does_not(command, stdin, residency):
    args = [*command, '--residency', residency, '--no-profile']
    least = smallest(*args, '--ram', '2M', stdin=stdin)
    good(*args, '--ram', f'{least}M', stdin=stdin)
    assert smallest(*args, '--ram', f'{least - 1}M', stdin=stdin) == least
    good(*args, '--ram', 'min', stdin=stdin)


def test_longer_contexts_need_more():
    least = [smallest('run', DEMO, 'x', '--ram', '2M', '--ctx', n, '--kv', 'f32')
             for n in ('64', '2048')]
    assert least[0] < least[1]


def test_sizes_have_units_and_decimals():
    for size in ('0.5G', '512m', '524288K', '536870912', '0.0005T'):
        found = json.loads(good('info', DEMO, '--json', '--residency', 'stream', '--ram', size))
        assert abs(found['memory']['ram_bytes'] - 2**29) < 2**25
    assert json.loads(good('info', DEMO, '--json', '--ram', 'auto'))['memory']['ram_bytes'] == 0


def test_streaming_gives_the_same_logits(tmp_path):
    want = logits(tmp_path / 'resident', '--residency', 'resident')
    for args in (['--ram', 'min'], ['--ram', '42M'], ['--io', 'pread'], ['--io', 'buffered'],
                 ['--predict', 'off'], ['--policy', 'lru'], ['--policy', 'lfu'], ['-t', '1']):
        got = logits(tmp_path / 'streamed', '--no-profile', '--residency', 'stream', *args)
        assert got == want, args


def test_a_way_to_read_that_was_asked_for_is_used_or_refused():
    for io, word in (('uring', 'io_uring'), ('pread', 'pread'), ('buffered', 'buffered')):
        done = sluice('info', DEMO, '--json', '--no-profile', *STREAM, '--io', io)
        if io == 'uring' and done.returncode == 1 and b'io_uring' in done.stderr:
            continue  # a system without it
        assert word in json.loads(done.stdout)['memory']['io'], done.stderr


def test_run_streams_visibly():
    args = [DEMO, 'In the beginning', '-n', '24', '--temp', '0', '--ignore-eos', '--seed', '1']
    want = json.loads(good('run', *args, '--json', '--residency', 'resident'))
    done = sluice('run', *args, '--json', '--stats', '--no-profile', *STREAM)
    got = json.loads(done.stdout)
    assert (got['text'], got['ids']) == (want['text'], want['ids'])
    assert 'experts' not in want
    answer, cache = got['experts']['answer'], got['experts']['cache']
    assert answer['requests'] == 23 * 4 * 4  # tokens, layers, experts of each
    assert answer['requests'] == sum(answer[key] for key in
                                     ('hits', 'covered', 'covered_late', 'misses'))
    assert answer['misses'] > 0 and answer['demand_bytes'] > 0
    assert 0 < answer['hit_share'] < 1 and 0 <= answer['covered_share'] <= 1
    assert answer['guesses_used'] <= answer['requests']
    assert got['experts']['prompt']['requests'] > 0
    assert got['experts']['read_bytes_per_token'] > 0
    assert got['experts']['disk_bytes_per_s'] is None
    assert 0 < cache['ready'] <= cache['slots'] and cache['bytes'] > 0
    for key in ('answer_stall_seconds', 'answer_compute_seconds'):
        assert 0 <= got[key]['median'] <= got[key]['p99'] < 100
    assert want['answer_stall_seconds'] == {'median': 0, 'p99': 0}
    assert want['answer_compute_seconds']['median'] > 0
    lines = done.stderr.decode().splitlines()
    assert re.match(r'\[experts \d+\.\d % in memory, guesses covered \d+ % of the others '
                    r'\| read \d+\.\d MB per token at \d+\.\d\d GB/s '
                    r'\| per token \d+\.\d ms stalled, \d+\.\d ms computing '
                    r'\(1 in 100: \d+\.\d, \d+\.\d\)\]', lines[-2]), lines
    assert re.match(r'\[guesses \d+ begun, \d+ used, \d+ given up '
                    r'\| cache \d+\.\d MB, \d+ of \d+ slots filled', lines[-1]), lines


def test_without_guesses_none_are_begun():
    got = json.loads(good('run', DEMO, 'x', '-n', '8', '--json', '--ignore-eos', '--no-profile',
                          '--predict', 'off', *STREAM))
    for part in ('prompt', 'answer'):
        assert got['experts'][part]['guesses'] == got['experts'][part]['guess_bytes'] == 0


def test_the_profile_has_a_place_only_when_streaming(tmp_path):
    env = {**ENV, 'XDG_STATE_HOME': str(tmp_path)}
    args = ['run', DEMO, 'x', '-n', '2']
    good(*args, env=env)
    good(*args, '--no-profile', *STREAM, env=env)
    assert os.listdir(tmp_path) == []
    good(*args, *STREAM, env=env)
    assert os.listdir(tmp_path) == ['sluice']
    for path in glob.glob(str(tmp_path / 'sluice' / '*')):
        assert re.fullmatch(r'demo-[0-9a-f]+-[0-9a-f]{16}\.profile', os.path.basename(path))


def test_no_place_for_a_profile_is_no_error(tmp_path):
    wall = tmp_path / 'file'
    wall.write_text('')
    for state in (str(wall), 'relative', '', '/' + 'x' * 5000):
        env = {**ENV, 'XDG_STATE_HOME': state, 'HOME': state}
        good('run', DEMO, 'x', '-n', '2', *STREAM, env=env)


def test_info_tells_where_memory_goes():
    text = good('info', DEMO)
    assert 'memory        resident: ' in text and 'from --ram ' in text
    text = good('info', DEMO, '--no-profile', *STREAM)
    assert 'memory        streaming within ' in text and 'pinned' in text
    assert re.search(r'^reading       (io_uring|pread), ', text, re.M)
    memory = json.loads(good('info', DEMO, '--json', '--no-profile', *STREAM))['memory']
    assert memory['experts'] == 'streaming' and memory['ram_bytes'] == memory['min_bytes']
    known = sum(memory[key] for key in ('pinned_bytes', 'cache_bytes', 'kv_bytes',
                                        'scratch_bytes', 'overhead_bytes'))
    assert known <= memory['ram_bytes'] + 2**20
    assert memory['locked_bytes'] in (0, memory['pinned_bytes'])


def test_memory_that_cannot_be_locked_is_said_once():
    if os.geteuid() != 0:
        pytest.skip('root may lock memory, and others may be allowed to: needs root to give it up')
    with open(SLUICE, 'rb') as file:
        program = file.read()
    if b'__asan_init' in program or b'__tsan_init' in program:
        pytest.skip('sanitizers only pretend to lock memory')

    def give_up():
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0))
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)

    try:
        done = sluice('run', DEMO, 'x', '-n', '2', '--no-profile', '--no-stats', *STREAM,
                      preexec_fn=give_up)
    except PermissionError:
        pytest.skip('the program cannot be run by others')
    if b'denied' in done.stderr:
        pytest.skip('the files cannot be read by others')
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stderr.decode().splitlines() if 'not locked' in line]
    assert len(lines) == 1 and lines[0].startswith('note: ') and 'ulimit -l' in lines[0]


def test_a_model_without_experts_has_nothing_to_stream():
    path = shared('models', 'random-dense-f32.gguf')
    refused(1, 'no experts', 'run', path, 'x', '--residency', 'stream')
    done = sluice('info', path, '--ram', '2M')
    assert done.returncode == 1
    least = re.search(rb'smallest that works: --ram (\d+)M\n$', done.stderr).group(1).decode()
    good('info', path, '--ram', least + 'M')


def test_a_trace_without_streaming_is_said_to_be_missing(tmp_path):
    path = tmp_path / 'a.trace'
    done = sluice('run', DEMO, 'x', '-n', '1', '--residency', 'resident', '--trace', path)
    assert done.returncode == 0 and b'nothing to trace' in done.stderr and not path.exists()


def test_tokenizing_asks_for_no_memory():
    refused(2, '--ram', 'tokenize', DEMO, '--ram', '8G')
