"""sluice plan: where memory goes, from whole files and from the head of one."""
import json
import os
import re
import struct
import sys

import pytest

from clitool import DEMO, ENV, good, refused, shared, sluice

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
import header_24b  # noqa: E402

MIB, GIB = 2**20, 2**30
RATES = ['--disk', '1.5', '--memory', '15']


def plan(path, *args, **more):
    return json.loads(good('plan', path, '--json', *args, **more))


@pytest.fixture(scope='module')
def head(tmp_path_factory):
    path = tmp_path_factory.mktemp('plan') / 'head.gguf'
    header_24b.write(path)
    return path


def check_budget(row):
    assert row['ram_bytes'] == row['budget'] or row['budget'] == 0
    parts = [row[key] for key in ('resident_weight_bytes', 'kv_bytes', 'scratch_bytes',
                                  'overhead_bytes', 'cache_bytes')]
    assert sum(parts) <= row['ram_bytes'], row


def test_a_file_not_yet_here(head):
    assert head.stat().st_size < MIB
    found = plan(head, *RATES)
    assert found['head_only']
    assert 13.8e9 < found['expert_bytes'] < 13.95e9
    assert 0.53e9 < found['shared_bytes'] < 0.6e9
    blocks = 4 * (20480 * 256 + 30 * 2 * 2048 * 4)  # keys and values, convolution inputs
    assert blocks < found['kv_bytes_per_1024_tokens'] < blocks + 8192
    rows = found['budgets']
    assert rows[0]['budget'] == found['min_bytes'] and rows[-1]['budget'] == found['resident_bytes']
    assert {2 * GIB, 3 * GIB, 4 * GIB, 6 * GIB, 8 * GIB, 12 * GIB} <= {r['budget'] for r in rows}
    for row in rows:
        check_budget(row)
        assert row['ctx'] == 8192
    speeds = [row['tokens_per_s'] for row in rows]
    assert speeds == sorted(speeds) and speeds[0] < speeds[-1] / 5
    assert [row['experts'] for row in rows] == ['streaming'] * (len(rows) - 1) + ['resident']
    assert abs(speeds[-1] - 15e9 / found['token_bytes']) < 1e-6
    assert rows[-2]['budget'] < found['free_bytes'] < found['resident_bytes']


def test_the_formula(head):
    found = plan(head, '--ram', '8G', '--ctx', '4096', *RATES)
    row, = found['budgets']
    experts = found['expert_bytes'] * 4 / 64
    shared = found['token_bytes'] - experts
    assert abs(row['read_bytes_per_token'] - (1 - row['hit_share']) * experts) < 1
    seconds = shared / 15e9 + max(experts / 15e9, row['read_bytes_per_token'] / 1.5e9)
    assert abs(row['tokens_per_s'] * seconds - 1) < 1e-6
    assert row['streamed_bytes'] == int((1 - row['hit_share']) * found['expert_bytes'])


def test_waiting_costs_nothing_from_the_budget_it_says(head):
    free = plan(head, *RATES)['free_bytes']
    row, below = plan(head, '--ram', f'{free // MIB}M,{free // MIB - 16}M', *RATES)['budgets']
    full = plan(head, '--ram', '30G', *RATES)['budgets'][0]
    assert abs(row['tokens_per_s'] - full['tokens_per_s']) < 1e-6
    assert below['tokens_per_s'] < row['tokens_per_s']


def test_lists_of_budgets(head):
    rows = plan(head, '--ram', '100M,min,7.5G,auto,64G', *RATES)['budgets']
    assert [r['budget'] for r in rows[2:]] == [int(7.5 * GIB), 0, 64 * GIB]
    assert 'smallest that works: --ram' in rows[0]['error']
    assert rows[1]['experts'] == rows[2]['experts'] == 'streaming'
    assert rows[4]['experts'] == 'resident' and rows[4]['ctx'] == 32768


def test_more_context_costs_cache(head):
    short, = plan(head, '--ram', '4G', '--ctx', '1024', *RATES)['budgets']
    wide, = plan(head, '--ram', '4G', '--ctx', '65536', *RATES)['budgets']
    assert wide['kv_bytes'] > 40 * short['kv_bytes'] and wide['cache_bytes'] < short['cache_bytes']


def test_what_is_not_known_is_not_guessed(head):
    found = plan(head, '--no-measure', '--memory', '15', '--ram', '4G,30G')
    assert found['machine']['disk_bytes_per_s'] is None and found['free_bytes'] is None
    assert found['budgets'][0]['tokens_per_s'] is None  # reads from a disk
    assert found['budgets'][1]['tokens_per_s'] > 1
    text = good('plan', head, '--no-measure')
    assert 'speed not measured' in text and '--disk GB/S' in text


def test_text(head):
    text = good('plan', head, *RATES)
    assert 'its head alone is here' in text
    assert re.search(r'64 in each of 38 layers, 4 used', text)
    assert re.search(r'^ +8G +streaming +\d+ MiB +183 MiB +\d+ MiB +[67]\.\d+ GiB +5\d\.\d % ',
                     text, re.M), text
    assert re.search(r'^From --ram \d+M on it works, from \d+M on waiting for the disk costs '
                     r'nothing, from \d+M on everything is resident\.$', text, re.M)
    assert max(len(line) for line in text.splitlines()) <= 120


def test_plan_and_run_name_the_same_smallest_budget():
    least = plan(DEMO, *RATES)['min_bytes'] // MIB
    good('run', DEMO, 'x', '-n', '2', '--no-profile', '--residency', 'stream', '--ram', f'{least}M')
    done = sluice('run', DEMO, 'x', '--ram', f'{least - 1}M')
    assert done.stderr.endswith(f'smallest that works: --ram {least}M\n'.encode())


def test_the_head_of_a_file_says_what_the_file_says(tmp_path):
    with open(DEMO, 'rb') as file:
        head = file.read(140000)
    cut = tmp_path / 'cut.gguf'
    cut.write_bytes(head)
    part, whole = plan(cut, *RATES), plan(DEMO, *RATES)
    assert part.pop('head_only') and not whole.pop('head_only')
    for found in (part, whole):
        found.pop('path')
        found.pop('here')
        found['machine'].pop('disk_note')
    assert part == whole
    cut.write_bytes(head[:100000])  # ends inside the vocabulary
    refused(1, 'cut.gguf', 'plan', cut)


def kept_name(path):
    device = os.stat(path).st_dev
    return f'machine-{os.major(device)}-{os.minor(device)}.json'


def test_what_was_measured_is_kept_and_used(tmp_path, head):
    env = {**ENV, 'XDG_STATE_HOME': str(tmp_path)}
    found = plan(head, '-t', '1', env=env)['machine']
    assert found['measured_now'] and found['memory_bytes_per_s'] > 1e8
    assert 'too small' in found['disk_note']
    kept = tmp_path / 'sluice' / kept_name(head)
    assert json.loads(kept.read_text())['memory_bytes_per_s'] == found['memory_bytes_per_s']
    again = plan(head, '-t', '1', env=env)['machine']
    assert not again['measured_now'] and again['date'] == found['date']
    assert again['memory_bytes_per_s'] == found['memory_bytes_per_s']
    assert plan(head, '-t', '1', '--measure', env=env)['machine']['measured_now']
    kept.write_text(json.dumps({'date': '2020-01-01T00:00:00Z', 'memory_bytes_per_s': 5e9,
                                'memory_threads': 1, 'disk_bytes_per_s': 2e9}))
    old = plan(head, '-t', '1', '--no-measure', env=env)['machine']
    assert (old['memory_bytes_per_s'], old['disk_bytes_per_s']) == (5e9, 2e9)
    assert plan(head, '-t', '1', env=env)['machine']['measured_now']


@pytest.mark.parametrize('text', ['', '{', '[]', '{"disk_bytes_per_s": -1, "date": 3}',
                                  '{"disk_bytes_per_s": 1e300, "memory_threads": 1e99}'])
def test_a_bad_kept_file_is_as_none(tmp_path, head, text):
    env = {**ENV, 'XDG_STATE_HOME': str(tmp_path)}
    (tmp_path / 'sluice').mkdir()
    (tmp_path / 'sluice' / kept_name(head)).write_text(text)
    found = plan(head, '--no-measure', env=env)['machine']
    assert found['disk_bytes_per_s'] is None and found['memory_bytes_per_s'] is None


def test_the_disk_is_measured_directly(tmp_path):
    env = {**ENV, 'XDG_STATE_HOME': str(tmp_path)}
    found = plan(DEMO, env=env)['machine']
    if found['disk_bytes_per_s'] is None:
        assert found['disk_note']
        pytest.skip(found['disk_note'])
    assert found['disk_bytes_per_s'] > 1e6 and found['disk_read_bytes'] == MIB
    kept = json.loads((tmp_path / 'sluice' / kept_name(DEMO)).read_text())
    assert kept['disk_bytes_per_s'] == 0  # a file that small says little


@pytest.mark.parametrize('args, word', [
    (['--ram', '4G,,8G'], '--ram'),
    (['--ram', '4G,'], '--ram'),
    (['--ram', '4G;8G'], '--ram'),
    (['--ram', '4'], '--ram'),
    (['--ram', 'minn'], '--ram'),
    (['--ram', ','.join(['4G'] * 25)], 'at most'),
    (['--disk', 'fast'], '--disk'),
    (['--disk', '0'], '--disk'),
    (['--memory', 'nan'], '--memory'),
])
def test_usage_errors(args, word):
    refused(2, word, 'plan', DEMO, *args)


def test_a_context_beyond_the_model_is_refused(head):
    refused(1, '128000', 'plan', head, '--no-measure', '--ctx', '128001')
    assert plan(head, '--no-measure', '--ctx', '128000')['kv_bytes_per_1024_tokens'] > 0


def test_hostile_heads_are_refused(tmp_path):
    path = tmp_path / 'h.gguf'
    for n_tensors, n_kv in ((2**63, 1), (1, 2**63), (0, 0)):
        path.write_bytes(struct.pack('<IIQQ', 0x46554747, 3, n_tensors, n_kv) + bytes(100))
        refused(1, 'h.gguf', 'plan', path, '--no-measure')


def test_what_earlier_runs_used_counts(tmp_path):
    env = {**ENV, 'XDG_STATE_HOME': str(tmp_path)}
    args = ['--ram', 'min', *RATES]
    before = plan(DEMO, *args, env=env)
    assert (before['assumption'], before['profile_tokens']) == ('uniform', 0)
    good('run', DEMO, 'In the beginning', '-n', '60', '--ignore-eos', '--temp', '0', '--residency',
         'stream', '--ram', 'min', env=env)
    after = plan(DEMO, *args, env=env)
    assert after['assumption'] == 'profile' and after['profile_tokens'] >= 60
    assert before['budgets'][0]['hit_share'] < after['budgets'][0]['hit_share'] < 1
    assert 'earlier runs' in good('plan', DEMO, *args, env=env)
    path, = (tmp_path / 'sluice').glob('*.profile')
    path.write_text('sluice-profile 1 999999 999999 7\n')
    assert plan(DEMO, *args, env=env)['assumption'] == 'uniform'


def test_packs_are_planned_too(tmp_path):
    pack, cut = tmp_path / 'm.slpack', tmp_path / 'cut.slpack'
    good('pack', shared('models', 'tiny-bf16.gguf'), pack, '--zstd', '1')
    whole = plan(pack, '--ram', '48M', *RATES)
    plain = plan(shared('models', 'tiny-bf16.gguf'), '--ram', '48M', *RATES)
    assert whole['expert_bytes'] == plain['expert_bytes'] and not whole['head_only']
    row, other = whole['budgets'][0], plain['budgets'][0]
    assert row['cache_bytes'] == other['cache_bytes']
    assert 0.6 < row['read_bytes_per_token'] / other['read_bytes_per_token'] < 0.8  # compressed
    with open(pack, 'rb') as file:
        cut.write_bytes(file.read(400000))
    part = plan(cut, '--ram', '48M', *RATES)
    assert part['head_only'] and part['budgets'] == whole['budgets']
