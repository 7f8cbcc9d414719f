"""sluice tune, what it leaves behind, and the options on worker threads."""
import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import time

import pytest

from clitool import DEMO, ENV, command, good, refused, shared, sluice

ALLOWED = sorted(os.sched_getaffinity(0))
CPU = ALLOWED[0]
IDS = ' '.join(str(300 + 7 * i % 1500) for i in range(40))


@pytest.fixture(name='env')
def state_of_its_own(tmp_path):
    return {**ENV, 'XDG_STATE_HOME': str(tmp_path / 'state')}


@pytest.fixture(name='once', scope='module')
def tuned_once(tmp_path_factory):
    """What tune printed for the demo model, and the state folder it left."""
    env = {**ENV, 'XDG_STATE_HOME': str(tmp_path_factory.mktemp('state'))}
    return tune(env), env['XDG_STATE_HOME']


@pytest.fixture(name='found')
def tuned_before(env, once):
    """The same, as if it had been done in the test's own state folder."""
    found, folder = once
    shutil.copytree(folder, env['XDG_STATE_HOME'])
    return {**found, 'kept_in': found['kept_in'].replace(folder, env['XDG_STATE_HOME'])}


def kept(env):
    folder = os.path.join(env['XDG_STATE_HOME'], 'sluice')
    names = os.listdir(folder) if os.path.isdir(folder) else []
    return [os.path.join(folder, name) for name in names if name.startswith('tune-')]


def info(env, *args):
    return json.loads(good('info', DEMO, '--json', *args, env=env))


def run_tune(env, *args):
    """With more time where others take the CPUs."""
    for seconds in (5, 20, 60):
        done = sluice('tune', '--seconds', seconds, *args, env=env, timeout=250)
        if b'are too short' not in done.stderr:
            break
    return done


def tune(env, *args, model=DEMO):
    done = run_tune(env, model, '--json', *args)
    assert done.returncode == 0, (done.args, done.stderr)
    return json.loads(done.stdout)


def change(path, **members):
    with open(path, encoding='utf-8') as file:
        value = json.load(file)
    value.update(members)
    with open(path, 'w', encoding='utf-8') as file:
        json.dump(value, file)


# ---- --cpus and --numa ----

def test_workers_go_where_they_are_told(env):
    got = info(env, '--cpus', CPU)
    assert (got['threads'], got['thread_cpus']) == (1, [CPU])
    assert 'asked for' in got['threads_why']
    both = f'{ALLOWED[-1]},{CPU}' if len(ALLOWED) > 1 else str(CPU)
    assert info(env, '--cpus', both)['thread_cpus'] == list(dict.fromkeys([ALLOWED[-1], CPU]))
    assert info(env, '--cpus', both, '-t', '1')['thread_cpus'] == [ALLOWED[-1]]
    line, = re.findall(r'^threads .*$', good('info', DEMO, '--cpus', CPU, env=env), re.M)
    assert re.match(rf'threads +1 on logical CPUs? {CPU}: these, as asked for$', line), line


def test_the_default_says_why(env):
    got = info(env)
    assert got['threads'] == len(got['thread_cpus']) and got['threads_why']
    line, = re.findall(r'^threads .*$', good('info', DEMO, env=env), re.M)
    assert line.endswith(f': {got["threads_why"]}')
    machine = got['topology']
    assert 1 <= machine['cores'] <= machine['cpus'] == len(ALLOWED)
    assert len(machine['l3_bytes']) >= 1 and machine['nodes'] >= 1
    assert machine['source'] in ('hwloc', 'flat')


def test_stats_name_the_workers(env):
    done = sluice('run', DEMO, 'x', '-n', '3', '--cpus', CPU, env=env)
    assert f'| 1 thread on CPU {CPU} (these, as asked for) | seed' in done.stderr.decode()
    done = sluice('run', DEMO, 'x', '-n', '3', '--json', '--cpus', CPU, env=env)
    got = json.loads(done.stdout)
    assert (got['threads'], got['thread_cpus']) == (1, [CPU])
    assert got['threads_why'] == 'these, as asked for'


@pytest.mark.parametrize('args, word', [
    (['--cpus', '0-'], '"0-"'),
    (['--cpus', 'all'], '"all"'),
    (['--cpus', ''], '--cpus'),
    (['--cpus', '0,0'], 'twice'),
    (['--cpus', '5000'], 'below 4096'),
    (['--cpus', '0-300'], 'at most 256'),
    (['--numa', 'on'], '"on"'),
    (['--numa', 'distribute'], 'split or off'),
])
def test_bad_values_are_usage_errors(args, word):
    refused(2, word, 'info', DEMO, *args)


def test_a_cpu_that_cannot_be_had_is_named():
    for name, args in (('info', []), ('run', ['x']), ('eval', ['--tokens', '-']), ('plan', [])):
        refused(1, 'CPU 4095 is not there or switched off; this machine has ', name, DEMO, *args,
                '--cpus', f'{CPU},4095')
    refused(1, 'more threads than the 1 CPUs', 'info', DEMO, '--cpus', CPU, '-t', '2')


def test_a_cpu_outside_the_affinity_is_named():
    if len(ALLOWED) < 2:
        pytest.skip('one CPU')
    done = subprocess.run(command('info', DEMO, '--cpus', f'{ALLOWED[-1]}'), env=ENV, timeout=60,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          preexec_fn=lambda: os.sched_setaffinity(0, {CPU}))
    assert done.returncode == 1 and done.stdout == b''
    assert (f'CPU {ALLOWED[-1]} is not allowed to this process, by its affinity or its cgroup\'s '
            f'cpuset; allowed: {CPU}\n') in done.stderr.decode()


def test_no_choice_changes_a_bit(env, tmp_path):
    want = None
    for args in ([], ['--cpus', CPU], ['--numa', 'off'], ['--numa', 'split'], ['-t', '3'],
                 ['--cpus', ','.join(map(str, reversed(ALLOWED[:8])))]):
        out = tmp_path / 'logits'
        good('eval', DEMO, '--tokens', '-', '--logits', out, *args, stdin=IDS.encode(), env=env)
        got = out.read_bytes()
        assert want is None or got == want, args
        want = got


def test_numa_is_shown(env):
    off = info(env, '--numa', 'off')
    assert (off['spread_nodes'], off['node_copies'], off['memory']['copy_bytes']) == (0, 0, 0)
    got = info(env)
    nodes = got['topology']['nodes']
    assert got['spread_nodes'] in ((0, nodes) if nodes > 1 else (0,))
    assert got['node_copies'] in ((0, nodes) if nodes > 1 else (0,))
    # no silence about it, and nothing to say with one node
    assert (got['node_copies_why'] == '') == (nodes == 1 or got['node_copies'] > 0)
    text = good('info', DEMO, env=env)
    assert ('shared weights on each of' in text) == (got['node_copies'] > 0)
    assert ('shared weights once for all NUMA nodes: ' in text) == (got['node_copies_why'] != '')


def test_bench_goes_through_the_list(env):
    args = ['-m', DEMO, '-p', '8', '-n', '2', '-r', '1', '-o', 'jsonl', '--cpus', CPU]
    rows = [json.loads(line) for line in good('bench', *args, '-t', '1', env=env).splitlines()]
    assert {row['n_threads'] for row in rows} == {1}
    assert {json.loads(line)['n_threads']
            for line in good('bench', *args, env=env).splitlines()} == {1}
    done = sluice('bench', *args, '-t', '2', env=env)
    assert done.returncode == 1 and b'more threads than the 1 CPUs' in done.stderr


def test_bench_knows_both_meanings_of_numa(env):
    args = ['-p', '8', '-n', '2', '-r', '1', '-o', 'jsonl']
    done = sluice('bench', '-m', DEMO, *args, '--numa', 'off', env=env)
    assert done.returncode == 0 and done.stderr == b''
    done = sluice('bench', '-m', DEMO, *args, '--numa', 'isolate', env=env)
    assert done.returncode == 0 and b'change nothing on a CPU: numa' in done.stderr
    args = ['--json', '-n', '8', '-r', '1', '--numa', 'split']
    assert json.loads(good('bench', DEMO, *args, env=env))['path'] == DEMO


# ---- tune ----

def test_what_was_found_is_used(env, found):
    best = found['settings'][found['best']]
    assert kept(env) == [found['kept_in']]
    got = info(env)
    assert (got['threads'], got['thread_cpus']) == (best['threads'], best['cpus'])
    assert got['threads_why'] == f'tuned for decode {found["date"][:10]}'
    change(found['kept_in'], cpus=[-1, CPU, -1])
    got = info(env)
    assert (got['threads'], got['thread_cpus']) == (3, [-1, CPU, -1])
    assert f'on logical CPUs any,{CPU},any: tuned for decode 20' in good('info', DEMO, env=env)
    done = sluice('run', DEMO, 'x', '-n', '3', env=env)
    assert f'| 3 threads on CPUs any,{CPU},any (tuned for decode 20' in done.stderr.decode()
    # what is asked for comes first
    assert info(env, '--no-tuned')['threads_why'] == info(ENV)['threads_why']
    assert info(env, '-t', '2')['threads'] == 2
    assert info(env, '--cpus', CPU)['thread_cpus'] == [CPU]
    # and the answer is the same
    text = good('run', DEMO, 'x', '-n', '30', '--seed', '3', env=env)
    assert good('run', DEMO, 'x', '-n', '30', '--seed', '3', '--no-tuned', env=env) == text


def test_the_numbers_fit_together(env):
    found = tune(env, '--for', 'prefill', model=shared('models', 'tiny-q4_k_m.gguf'))
    assert found['for'] == 'prefill' and found['prompt_tokens'] >= 32
    first = found['settings'][0]
    assert first['name'].startswith('one on each') or 'quota' in first['name']
    assert not first['given_up']
    for setting in found['settings']:
        assert setting['threads'] == len(setting['cpus'])
        assert setting['rounds'] >= (2 if setting['given_up'] else 3)
        for key in ('decode_tokens_per_s', 'prefill_tokens_per_s'):
            assert 0 < setting[key]['low'] <= setting[key]['median'] <= setting[key]['high']
    fastest = max(s['prefill_tokens_per_s']['median'] for s in found['settings']
                  if not s['given_up'])
    best = found['settings'][found['best']]
    assert best['prefill_tokens_per_s']['median'] >= 0.97 * fastest
    with open(found['kept_in'], encoding='utf-8') as file:
        saved = json.load(file)
    assert saved['for'] == 'prefill' and saved['cpus'] == best['cpus']
    assert saved['prefill_tokens_per_s'] == best['prefill_tokens_per_s']['median']
    assert saved['machine'] == found['machine'] and saved['model'] == found['model']


@pytest.mark.usefixtures('found')
def test_another_model_has_its_own(env):
    other = shared('models', 'tiny-q8_0.gguf')
    why = json.loads(good('info', other, '--json', env=env))['threads_why']
    assert 'tuned' not in why
    pack = os.path.join(env['XDG_STATE_HOME'], 'demo.slpack')
    good('pack', DEMO, pack)
    assert 'tuned' in json.loads(good('info', pack, '--json', env=env))['threads_why']


@pytest.mark.usefixtures('found')
def test_another_set_of_cpus_has_its_own(env):
    if len(ALLOWED) < 2:
        pytest.skip('one CPU')
    done = subprocess.run(command('info', DEMO, '--json'), env=env, timeout=60, check=True,
                          stdout=subprocess.PIPE,
                          preexec_fn=lambda: os.sched_setaffinity(0, {CPU}))
    assert 'tuned' not in json.loads(done.stdout)['threads_why']


def test_text(env):
    text = run_tune(env, DEMO).stdout.decode()
    assert re.search(r'^\* \S', text, re.M) and 'Best for decode: ' in text
    assert text.splitlines()[-1] == f'Kept in {kept(env)[0]}'
    assert re.search(r'^[ *] \S.* +\d+ +\d+\.\d \[\d+\.\d \.\. \d+\.\d\]', text, re.M), text
    assert max(len(line) for line in text.splitlines()[1:-1]) <= 120


def test_streaming_can_be_tuned(env):
    found = tune(env, '--residency', 'stream', '--ram', 'min')
    assert found['experts'] == 'streaming'
    assert info(env, '--residency', 'stream')['threads_why'].startswith('tuned')


@pytest.mark.parametrize('args, word', [
    ([DEMO, '-t', '2'], 'looked for'),
    ([DEMO, '--cpus', '0'], 'looked for'),
    ([DEMO, '--for', 'fun'], 'decode or prefill'),
    ([DEMO, '--seconds', '0'], '--seconds'),
    ([DEMO, '--seconds', 'x'], '--seconds'),
    ([], 'no model'),
    ([DEMO, DEMO], 'too many'),
])
def test_usage_errors(args, word):
    refused(2, word, 'tune', *args)


def test_a_model_that_is_not_there(env):
    refused(1, 'No such file', 'tune', '/none/such.gguf', env=env)
    assert not kept(env)


# ---- what is kept may be anything ----

@pytest.mark.parametrize('members, word', [
    ({'cpus': [4095]}, 'CPUs'),
    ({'cpus': []}, 'CPUs'),
    ({'cpus': [-1] * 300}, 'CPUs'),
    ({'tune': 99}, 'version 99'),
    ({'machine': 'PDP-11'}, 'another machine'),
    ({'model': 'another'}, 'another model'),
    ({'date': '\x1b]0;x\x07'}, 'date'),
])
def test_a_foreign_file_is_ignored_with_one_line(env, found, members, word):
    path = found['kept_in']
    change(path, **members)
    done = sluice('run', DEMO, 'x', '-n', '2', '--no-stats', env=env)
    line, = done.stderr.decode().splitlines()
    assert done.returncode == 0 and line.startswith(f'note: {path} is not used: '), line
    assert word in line and line.isprintable()
    assert sluice('run', DEMO, 'x', '-n', '2', '--no-stats', '--no-tuned', env=env).stderr == b''
    assert 'tuned' not in info(env)['threads_why']


def test_damage_is_ignored_and_mended(env, found):
    path = found['kept_in']
    with open(path, 'rb') as file:
        whole = file.read()
    for bad in (b'', b'{', whole[:-20], b'\0' * 100, b'[' * 5000, b' ' * 100000):
        with open(path, 'wb') as file:
            file.write(bad)
        done = sluice('info', DEMO, env=env)
        line, = done.stderr.decode().splitlines()
        assert done.returncode == 0 and line.startswith(f'note: {path} is not used: ')
    os.unlink(path)
    os.mkfifo(path)
    assert b'no regular file' in sluice('info', DEMO, env=env, timeout=20).stderr
    os.unlink(path)
    os.mkdir(path)
    assert b'no regular file' in sluice('info', DEMO, env=env).stderr
    os.rmdir(path)
    assert tune(env)['kept_in'] == path
    assert info(env)['threads_why'].startswith('tuned')


def test_without_a_place_it_is_measured_but_not_kept(tmp_path):
    blocked = tmp_path / 'file'
    blocked.write_text('')
    done = run_tune({**ENV, 'XDG_STATE_HOME': str(blocked)}, DEMO, '--json')
    assert done.returncode == 1 and b'cannot write' in done.stderr
    assert json.loads(done.stdout)['kept_in'] is None
    env = {key: value for key, value in ENV.items() if key not in ('XDG_STATE_HOME', 'HOME')}
    done = run_tune(env, DEMO, '--json')
    assert done.returncode == 1 and b'XDG_STATE_HOME' in done.stderr
    assert sluice('info', DEMO, env=env).stderr == b''


# ---- at a terminal ----

def read_until(fd, word, seconds):
    text, end = b'', time.monotonic() + seconds
    while word not in text and time.monotonic() < end:
        if select.select([fd], [], [], 0.1)[0]:
            try:
                text += os.read(fd, 4096)
            except OSError:
                break
    return text


def test_too_little_time_is_said_and_nothing_kept(env):
    main, other = pty.openpty()
    with subprocess.Popen(command('tune', DEMO, '--seconds', '1'), stdout=subprocess.PIPE,
                          stderr=other, stdin=subprocess.DEVNULL, env=env) as process:
        os.close(other)
        text = read_until(main, b'tuning [', 30)
        process.send_signal(signal.SIGSTOP)
        text += read_until(main, b'nothing more comes', 1.5)
        process.send_signal(signal.SIGCONT)
        text += read_until(main, b'--seconds', 20)
        assert process.wait(timeout=20) == 1 and process.stdout.read() == b''
    os.close(main)
    text = text.replace(b'\x1b[K', b'')
    assert re.search(rb'\rsluice: 1 s are too short to compare \d+ settings: \d+ of at least \d+ '
                     rb'runs were made; give more with --seconds', text), text
    assert not kept(env)


def test_ctrl_c_ends_it_and_keeps_nothing(env):
    main, other = pty.openpty()
    with subprocess.Popen(command('tune', DEMO, '--seconds', '60'), stdout=subprocess.PIPE,
                          stderr=other, stdin=subprocess.DEVNULL, env=env) as process:
        os.close(other)
        text = b''.join(read_until(main, b' of 60 s, ', 30) for _ in range(3))
        assert text.count(b'tuning [') >= 3 and text.count(b' of 60 s, ') >= 3, text
        process.send_signal(signal.SIGINT)
        text = read_until(main, b'nothing', 2)
        assert process.wait(timeout=20) == 130
        assert process.stdout.read() == b''
    os.close(main)
    assert text.endswith(b'\r\x1b[K') and not kept(env)
