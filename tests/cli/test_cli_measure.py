"""sluice eval and sluice perplexity, the instruments: files, forms and figures."""
import array
import json
import math
import os
import re
import resource
import signal
import subprocess
import time

import pytest

from clitool import DEMO, ENV, command, good, refused, shared, sluice

N_VOCAB = 4096
IDS = '1 6 429 281 26 96 130 134 48 1424 74 66 73 7 26 6 625 588 549 26 81 3252'


@pytest.fixture
def ids(tmp_path):
    path = tmp_path / 'ids'
    path.write_text(IDS.replace(' ', ', ') + '\n')
    return path


def logits_of(path):
    values = array.array('f')
    values.frombytes(path.read_bytes())
    return values


def test_logits(ids, tmp_path):
    out = tmp_path / 'out.f32'
    printed = good('eval', DEMO, '--tokens', ids, '--logits', out)
    values = logits_of(out)
    assert len(values) == len(IDS.split()) * N_VOCAB and all(map(math.isfinite, values))
    last = values[-N_VOCAB:]
    order = sorted(range(N_VOCAB), key=lambda i: (-last[i], i))[:5]
    lines = [line.split(None, 2) for line in printed.splitlines()]
    assert [int(line[0]) for line in lines] == order
    assert [line[1] for line in lines] == [f'{last[i]:.5f}' for i in order]
    assert json.loads(lines[0][2]) is not None
    assert os.listdir(tmp_path) and set(os.listdir(tmp_path)) == {'ids', 'out.f32'}


@pytest.mark.parametrize('option', ['--logits', '--routes'])
def test_full_disk(option, ids):
    if not os.path.exists('/dev/full'):
        pytest.skip('no /dev/full')
    ids.write_text(f'{IDS} ' * 10)  # more than a stream's buffer: writes fail early
    line = refused(1, 'cannot write', 'eval', DEMO, '--tokens', ids, option, '/dev/full')
    assert line == 'sluice: cannot write /dev/full: No space left on device'


def test_the_same_bits_however_it_is_cut(ids, tmp_path):
    out = tmp_path / 'out.f32'
    good('eval', DEMO, '--tokens', ids, '--logits', out)
    want = out.read_bytes()
    for more in (['--chunk', '1'], ['--chunk', '7'], ['-t', '1'], ['-t', '3'], ['--ctx', '500']):
        good('eval', DEMO, '--tokens', ids, '--logits', out, *more)
        assert out.read_bytes() == want, more
    good('eval', DEMO, '--tokens', ids, '--logits', out, '--kv', 'q8_0')
    assert out.read_bytes() != want


def test_f32_is_the_default_for_kv(ids, tmp_path):
    out = tmp_path / 'out.f32'
    good('eval', DEMO, '--tokens', ids, '--logits', out)
    want = out.read_bytes()
    good('eval', DEMO, '--tokens', ids, '--logits', out, '--kv', 'f32')
    assert out.read_bytes() == want
    good('eval', DEMO, '--tokens', ids, '--logits', out, '--kv', 'f16')
    assert out.read_bytes() != want


def test_routes(ids, tmp_path):
    out = tmp_path / 'routes.json'
    good('eval', DEMO, '--tokens', '-', '--routes', out, stdin=IDS.encode())
    routes = json.loads(out.read_text())
    assert list(routes) == ['2', '3', '4', '5']
    for layer in routes.values():
        assert set(layer) == {'ids', 'weights', 'margin'}
        assert {len(layer[key]) for key in layer} == {len(IDS.split())}
        for chosen, weights in zip(layer['ids'], layer['weights']):
            assert len(set(chosen)) == 4 and all(0 <= e < 16 for e in chosen)
            assert abs(sum(weights) - 1) < 1e-4


def test_vectors(tmp_path):
    name = 'random-moe-f32'
    with open(shared('vectors', f'{name}.tokens.json'), encoding='ascii') as file:
        tokens = json.load(file)['tokens']
    good('eval', shared('models', f'{name}.gguf'), '--tokens', '-', '--logits', tmp_path / 'l',
         '--routes', tmp_path / 'r', stdin=','.join(map(str, tokens)).encode())
    got = logits_of(tmp_path / 'l')
    want = array.array('f')
    with open(shared('vectors', f'{name}.logits.f32'), 'rb') as file:
        want.frombytes(file.read())
    assert len(got) == len(want)
    error = sum((g - w) ** 2 for g, w in zip(got, want)) / sum(w * w for w in want)
    assert error < 1e-9
    with open(shared('vectors', f'{name}.routes.json'), encoding='ascii') as file:
        routes = json.load(file)
    mine = json.loads((tmp_path / 'r').read_text())
    assert list(mine) == list(routes)
    for layer, want_layer in routes.items():
        for a, b, u, v in zip(mine[layer]['ids'], want_layer['ids'], mine[layer]['weights'],
                              want_layer['weights']):
            assert set(a) == set(b)
            assert all(abs(dict(zip(a, u))[e] - w) < 1e-5 for e, w in zip(b, v))


def test_nothing_half_done(ids, tmp_path):
    out, bad = tmp_path / 'out.f32', tmp_path / 'bad'
    for text, word in [('1 2 x', '"x"'), ('1 4096', '4096'), ('', 'no token ids')]:
        bad.write_text(text)
        refused(1, word, 'eval', DEMO, '--tokens', bad, '--logits', out)
        assert not out.exists()
    refused(1, '22', 'eval', DEMO, '--tokens', ids, '--logits', out, '--ctx', '5')
    refused(1, 'No such file', 'eval', DEMO, '--tokens', ids, '--logits', tmp_path / 'no' / 'x')
    refused(1, 'No such file', 'eval', DEMO, '--tokens', ids, '--logits', out,
            '--routes', tmp_path / 'no' / 'x')
    assert set(os.listdir(tmp_path)) == {'ids', 'bad'}


def test_a_failed_write_keeps_the_old_file(ids, tmp_path):
    out = tmp_path / 'out.f32'
    out.write_bytes(b'old')

    def small_files():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

    done = sluice('eval', DEMO, '--tokens', ids, '--logits', out, preexec_fn=small_files)
    assert done.returncode == 1 and done.stdout == b''
    assert done.stderr.startswith(b'sluice: cannot write ')
    assert out.read_bytes() == b'old' and set(os.listdir(tmp_path)) == {'ids', 'out.f32'}


def writes_into(pid, folder):
    """Whether a process has a file open there other than the ids: it may have no name."""
    for link in os.scandir(f'/proc/{pid}/fd'):
        try:
            path = os.readlink(link.path)
        except FileNotFoundError:
            continue
        if path.startswith(f'{folder}/') and path != f'{folder}/ids':
            return True
    return False


def test_an_interrupt_leaves_nothing(tmp_path):
    ids, out = tmp_path / 'ids', tmp_path / 'out.f32'
    ids.write_text('1 ' * 2000)
    with subprocess.Popen(command('eval', DEMO, '--tokens', ids, '--logits', out, '--chunk', '1'),
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENV) as process:
        while process.poll() is None and not writes_into(process.pid, tmp_path):
            time.sleep(0.001)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout, stderr) == (130, b'', b'')
    assert os.listdir(tmp_path) == ['ids']


FINAL = re.compile(r'Final estimate: PPL = (\d+\.\d{4}) \+/- (\d+\.\d{5})')


def verse(tmp_path):
    path = tmp_path / 'text'
    path.write_text('And God said, Let there be light: and there was light. ' * 12)
    return path


def test_perplexity_form(tmp_path):
    text = verse(tmp_path)
    out = good('perplexity', DEMO, '-f', text, '--ctx', '32')
    windows, final = out.splitlines()
    parts = windows.rstrip(',').split(',')
    assert [part.split(']')[0] for part in parts] == [f'[{i + 1}' for i in range(len(parts))]
    assert FINAL.fullmatch(final).group(1) == parts[-1].split(']')[1]
    info = json.loads(good('perplexity', DEMO, '-f', text, '--ctx', '32', '--json'))
    assert f'{info["perplexity"]:.4f}' == FINAL.fullmatch(final).group(1)
    assert info['windows'] == len(parts) and info['scored_tokens'] == 15 * len(parts)


def test_perplexity_by_hand(tmp_path):
    """The same figure from eval's logits: BOS in front of each window, second half scored."""
    text, n_ctx = verse(tmp_path), 32
    ids = [int(i) for i in good('tokenize', DEMO, '--bos', '-f', text).split()]
    total, n = 0.0, 0
    for start in range(0, len(ids) // n_ctx * n_ctx, n_ctx):
        window = [1] + ids[start + 1:start + n_ctx]
        good('eval', DEMO, '--tokens', '-', '--logits', tmp_path / 'l',
             stdin=' '.join(map(str, window)).encode())
        logits = logits_of(tmp_path / 'l')
        for pos in range(n_ctx // 2, n_ctx - 1):
            row = logits[pos * N_VOCAB:(pos + 1) * N_VOCAB]
            top = max(row)
            total += math.log(sum(math.exp(x - top) for x in row)) - (row[window[pos + 1]] - top)
            n += 1
    info = json.loads(good('perplexity', DEMO, '-f', text, '--ctx', n_ctx, '--json'))
    assert info['scored_tokens'] == n
    assert abs(info['perplexity'] / math.exp(total / n) - 1) < 1e-5


def test_perplexity_of_ids_is_that_of_the_text(tmp_path):
    text = verse(tmp_path)
    ids = tmp_path / 'ids'
    ids.write_text(good('tokenize', DEMO, '-f', text))
    want = good('perplexity', DEMO, '-f', text, '--ctx', '32')
    assert good('perplexity', DEMO, '--tokens', ids, '--ctx', '32') == want
    assert good('perplexity', DEMO, '--tokens', ids, '--ctx', '32', '--chunk', '5') == want


def test_perplexity_beside_llama_cpp():
    with open(shared('vectors', 'tiny.json'), encoding='ascii') as file:
        figures = json.load(file)
    text = shared('models', 'tiny-val.txt')
    out = json.loads(good('perplexity', DEMO, '-f', text, '--ctx', '256', '--json'))
    assert abs(out['perplexity'] / figures['tiny-q4_k_m']['llama_cpp_ppl_ctx256'] - 1) < 0.002


def test_too_short_a_text(tmp_path):
    text = tmp_path / 'text'
    text.write_text('short')
    assert '1024' in refused(1, 'two windows', 'perplexity', DEMO, '-f', text)
