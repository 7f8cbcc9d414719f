"""A streamed run leaves a trace, and tracesim repeats it and tells of other runs."""
import json
import os
import random
import subprocess

import pytest

from clitool import DEMO, good

TRACESIM = os.environ['TRACESIM']


def tracesim(*args):
    return subprocess.run([TRACESIM, *map(str, args)], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=100)


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """The traces of runs that differ in policy, prediction and memory, by their name."""
    folder = tmp_path_factory.mktemp('traces')
    draw = random.Random(int(os.environ.get('SL_SEED', '5')))
    ids = folder / 'some.ids'
    ids.write_text(' '.join(str(draw.randrange(8, 4096)) for _ in range(200)))
    traces = {}
    for name, policy, predict, ram in (('ours', 'default', 'on', 'min'),
                                       ('lru', 'lru', 'off', 'min'),
                                       ('more', 'default', 'off', '41M')):
        traces[name] = folder / name
        good('eval', DEMO, '--tokens', ids, '--chunk', 1, '--residency', 'stream', '--ram', ram,
             '--policy', policy, '--predict', predict, '--no-profile', '--trace', traces[name])
    return traces


def test_repeats_every_run(run):
    for name, trace in run.items():
        done = tracesim(trace, '--json', '--cache', '4M', '--policy', 'ours')
        assert done.returncode == 0, (name, done.stderr)
        recorded = json.loads(done.stdout)['recorded']
        assert recorded['repeated'] and recorded['complete'], name
        assert recorded['requests'] == 200 * 4 * 4
        assert recorded['hits'] > 0


def test_foretells_another_run(run):
    """Hits and bytes of a live run, from the trace of one with less memory and guesses."""
    live = json.loads(tracesim(run['more'], '--json', '--policy', 'ours').stdout)
    budget = live['runs'][-1]['cache_bytes']
    simulated = json.loads(tracesim(run['ours'], '--json', '--policy', 'ours', '--predict', 'off',
                                    '--cache', budget).stdout)['runs'][0]
    assert simulated['requests'] == live['recorded']['requests']
    assert simulated['hits'] == pytest.approx(live['recorded']['hits'], rel=0.02)
    assert simulated['bytes_per_token'] * 200 == pytest.approx(
        live['recorded']['demand_bytes'] + live['recorded']['fill_bytes'], rel=0.02)


def test_policies_keep_their_order(run):
    runs = json.loads(tracesim(run['ours'], '--json', '--predict', 'off').stdout)['runs']
    by_budget = {}
    for one in runs:
        by_budget.setdefault(one['cache_bytes'], {})[one['policy']] = one['hits']
    assert len(by_budget) > 5
    for hits in by_budget.values():
        # belady reads on demand alone: what fills free slots comes on top, once per expert
        assert hits['belady'] + 4 * 16 >= max(hits.values())


def test_draws(run, tmp_path):
    done = tracesim(run['ours'], '--svg', tmp_path / 'a.svg')
    assert done.returncode == 0
    assert b'repeated  to the digit' in done.stdout
    text = (tmp_path / 'a.svg').read_text()
    assert text.startswith('<svg') and text.endswith('</svg>\n') and text.count('<path') > 8


def test_refuses(run, tmp_path):
    damaged = tmp_path / 'damaged'
    data = bytearray(run['ours'].read_bytes())
    data[len(data) // 2] ^= 16
    damaged.write_bytes(data)
    for path, code, word in ((DEMO, 1, b'not a trace'), (tmp_path / 'none', 1, b'No such file'),
                             (damaged, 1, b'damaged')):
        done = tracesim(path)
        assert done.returncode == code and word in done.stderr, (path, done.stderr)
    for args in (['--policy', 'best'], ['--cache', '1x'], ['--cache', ''], ['--bandwidth', '-1'],
                 ['--predict', 'x'], []):
        done = tracesim(*([run['ours']] if args else []), *args)
        assert done.returncode == 2 and done.stderr, args
