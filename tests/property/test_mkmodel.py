"""mkmodel writes files that are right in every detail that another reader can see, and what
it says of them with --check is true. Draws shapes from a seed: SL_SEED, printed."""
import json
import os
import pathlib
import random
import re
import resource
import signal
import subprocess
import sys

import numpy
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SHARED = pathlib.Path(os.environ.get('SL_SHARED', ROOT.parent / 'shared'))
MKMODEL = os.environ.get('SL_MKMODEL')
SEED = int(os.environ.get('SL_SEED', random.SystemRandom().randrange(1 << 30)))
TYPES = ['q4_k_m', 'q4_k_s', 'q5_k_m', 'q6_k', 'q8_0', 'q4_0', 'q4_1', 'q5_0', 'q5_1', 'q2_k',
         'q3_k_m', 'iq4_nl', 'iq4_xs', 'f16', 'bf16', 'f32']
# Bytes of weights of LFM2-24B-A2B, from the sizes of its published files
SIZES_24B = {'q4_0': 13465000448, 'q4_k_s': 13547051520, 'q4_k_m': 14413068800,
             'q5_k_m': 16916412928, 'q6_k': 19576216064, 'q8_0': 25349560832,
             'f16': 47697992192}
SMALL = ['tiny', '--vocab', '700', '--layers', '3', '--attn', '1', '--dense', '1']
# 64 experts as the 24b preset has, on a narrow stream
ROUTED = ['24b', '--width', '512', '--heads', '8', '--kv-heads', '2', '--ff', '512',
          '--expert-ff', '64', '--vocab', '2048', '--layers', '16', '--attn', '2,6,10,14',
          '--type', 'q4_0']

pytestmark = pytest.mark.skipif(not MKMODEL, reason='SL_MKMODEL does not name the program')


def setup_module():
    print(f'SL_SEED={SEED}')


def run(*args, code=0, **kwargs):
    done = subprocess.run([MKMODEL, *map(str, args)], capture_output=True, text=True,
                          timeout=240, check=False, **kwargs)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout if code == 0 else done.stderr


def oracle():
    if not (SHARED / 'reference' / 'lfm2_ref.py').is_file():
        pytest.skip(f'no oracle: {SHARED}/reference/lfm2_ref.py is missing')
    sys.path.insert(0, str(SHARED / 'reference'))
    import lfm2_ref
    return lfm2_ref


def figures(text):
    """The numbers that --check prints, by name."""
    def find(pattern):
        found = re.search(pattern, text)
        return float(found.group(1)) if found else None
    return {'reuse': find(r'reuse: (\S+) %'), 'recall': find(r'recall: (\S+) of'),
            'largest': find(r'largest (\S+),'), 'spread': find(r'beyond chance (\S+) %'),
            'removed': find(r'at least (\S+) \('), 'median': find(r'median (\S+),'),
            'blocks': find(r', (\d+) blocks')}


@pytest.fixture(name='plain', scope='module')
def make_plain(tmp_path_factory):
    """The small model in F32, which every type is compared with."""
    path = tmp_path_factory.mktemp('plain') / 'f.gguf'
    run(*SMALL, path, '--type', 'f32', '--seed', SEED)
    return path


@pytest.mark.parametrize('dtype', TYPES)
def test_every_type_has_the_planned_scale(tmp_path, dtype, plain):
    ref = oracle()
    run(*SMALL, tmp_path / 'm.gguf', '--type', dtype, '--seed', SEED)
    got, want = ref.Gguf(tmp_path / 'm.gguf'), ref.Gguf(plain)
    assert list(got.tensors) == list(want.tensors)
    for name in got.tensors:
        a, b = got.get(name), want.get(name)
        if got.tensors[name][1] == 0:
            assert (a == b).all(), name
            continue
        # The error of a deviation from n independent numbers is 1 / sqrt(2 n); blocks share a
        # scale, so that n counts blocks of 256
        error = 6 / numpy.sqrt(2 * a.size / 256)
        assert abs(a.std() / b.std() - 1) < error, name
        assert abs(a.mean()) < error * a.std(), name
    logits, _ = ref.Model(tmp_path / 'm.gguf').forward([1, 300, 699, 20, 14, 2])
    assert numpy.isfinite(logits).all()
    assert 1 < logits.std() < 9


def draw_shape(rng):
    """Options of a random model that the oracle can read."""
    layers = rng.randint(1, 5)
    heads = rng.choice([2, 4, 6])
    head_dim = rng.choice([16, 32, 64])
    width = rng.choice([32 * rng.randint(1, 9), heads * head_dim])
    attn = [str(i) for i in range(layers) if rng.random() < 0.5]
    args = ['--layers', layers, '--attn', ','.join(attn) or 'none', '--heads', heads,
            '--kv-heads', rng.choice([1, heads, heads // 2]), '--head-dim', head_dim,
            '--width', width, '--ff', 32 * rng.randint(1, 9), '--vocab', rng.randint(270, 3000),
            '--l-cache', rng.randint(2, 5), '--theta', rng.choice([100, 1e4, 5e6]),
            '--type', rng.choice(TYPES), '--norm-name',
            rng.choice(['token_embd_norm', 'output_norm']), '--kv-array',
            rng.choice(['u32', 'i32']), '--gguf-version', rng.choice([2, 3]), '--alignment',
            rng.choice([8, 32, 256]), '--seed', rng.randrange(1 << 32)]
    if rng.random() < 0.6:
        experts = rng.randint(1, 12)
        args += ['--arch', 'lfm2moe', '--experts', experts, '--used', rng.randint(1, experts),
                 '--expert-ff', 32 * rng.randint(1, 5), '--dense', rng.randint(0, layers)]
    else:
        args += ['--arch', 'lfm2']
    return [str(a) for a in args]


@pytest.mark.parametrize('draw', range(12))
def test_any_shape_is_read_by_the_oracle(tmp_path, draw):
    ref = oracle()
    rng = random.Random(SEED + draw)
    args = draw_shape(rng)
    print(' '.join(args))
    run('tiny', tmp_path / 'm.gguf', *args)
    model = ref.Model(tmp_path / 'm.gguf')
    logits, _ = model.forward([rng.randrange(len(model.embed)) for _ in range(7)])
    assert numpy.isfinite(logits).all()
    assert logits.std() > 0.1


def test_the_bytes_depend_on_options_and_seed_alone(tmp_path):
    names = ['a', 'b', 'c']
    for name, threads, seed in zip(names, [1, 3, 2], [5, 5, 6]):
        run(*SMALL, tmp_path / name, '--threads', threads, '--seed', seed)
    a, b, c = [(tmp_path / name).read_bytes() for name in names]
    assert a == b
    assert a != c
    assert sorted(p.name for p in tmp_path.iterdir()) == names


@pytest.mark.parametrize('dtype', sorted(SIZES_24B))
def test_the_24b_preset_has_the_published_size(dtype):
    text = run('24b', 'never-written', '--dry-run', '--type', dtype)
    assert f'428 tensors, {SIZES_24B[dtype]} bytes' in text
    assert not os.path.exists('never-written')


@pytest.mark.parametrize('n_tokens, n_merges', [(270, 0), (271, 1), (4096, None), (65536, 63683),
                                                (128000, None)])
def test_vocabulary_is_consistent(tmp_path, n_tokens, n_merges):
    ref = oracle()
    run(*SMALL[:1], tmp_path / 'm.gguf', '--vocab', n_tokens, '--width', 32, '--head-dim', 16,
        '--heads', 2, '--layers', 1, '--dense', 1, '--attn', 'none', '--type', 'q4_0')
    meta = ref.Gguf(tmp_path / 'm.gguf').meta
    tokens, merges = meta['tokenizer.ggml.tokens'], meta['tokenizer.ggml.merges']
    assert len(tokens) == len(set(tokens)) == n_tokens
    assert n_merges is None or len(merges) == n_merges
    assert meta['tokenizer.ggml.token_type'] == [3] * 14 + [1] * (n_tokens - 14)
    assert tokens[1] == '<|startoftext|>' and tokens[7] == '<|im_end|>'
    first = n_tokens - len(merges)
    singles = tokens[first - 256:first]
    assert all(len(t) == 1 for t in singles)
    assert singles[ord('A')] == 'A' and singles[ord(' ')] == '\u0120'
    known = set(singles)
    for i, pair in enumerate(merges):
        left, right = pair.split(' ')
        assert left in known and right in known, pair
        assert tokens[first + i] == left + right
        known.add(left + right)


def test_chat_template_renders_as_lfm2_does(tmp_path):
    ref = oracle()
    jinja2 = pytest.importorskip('jinja2')
    run(*SMALL, tmp_path / 'm.gguf')
    env = jinja2.Environment()
    env.filters['tojson'] = json.dumps
    template = env.from_string(ref.Gguf(tmp_path / 'm.gguf').meta['tokenizer.chat_template'])
    assert template.render(
        bos_token='<|startoftext|>', add_generation_prompt=True, tools=[{'a': 1}, 'b'],
        messages=[{'role': 'system', 'content': 'S'}, {'role': 'user', 'content': 'U'},
                  {'role': 'tool', 'content': 'T'}]) == (
        '<|startoftext|><|im_start|>system\nS\nList of tools: <|tool_list_start|>[{"a": 1}, b]'
        '<|tool_list_end|><|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>tool\n'
        '<|tool_response_start|>T<|tool_response_end|><|im_end|>\n<|im_start|>assistant\n')


@pytest.mark.parametrize('routing, low, high', [('uniform', 4, 9), ('local', 28, 38)])
def test_routing_is_as_promised(tmp_path, routing, low, high):
    run(*ROUTED, tmp_path / 'm.gguf', '--routing', routing)
    got = figures(run('--check', tmp_path / 'm.gguf'))
    print(got)
    assert low <= got['reuse'] <= high
    assert 0.5 <= got['recall'] <= 0.85
    assert got['blocks'] == 32 and got['removed'] > 1e-3
    if routing == 'uniform':
        assert got['spread'] < 20


def mix(z):
    mask = (1 << 64) - 1
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & mask
    z = (z ^ z >> 27) * 0x94D049BB133111EB & mask
    return z ^ z >> 31


def check_ids(seed, n, n_vocab):
    """The ids that --check runs."""
    mask = (1 << 64) - 1
    state = mix(seed + mix(0x632BE59BD9B4E019) & mask)
    ids = []
    for _ in range(n):
        state = state + 0x9E3779B97F4A7C15 & mask
        ids.append(mix(state) % n_vocab)
    return ids


def observed_model(ref):
    """The oracle, with a block that may be left out, and a record of routing."""
    class Observed(ref.Model):
        removed = None

        def short_conv(self, layer, u):
            return u * 0 if self.removed == (layer, 0) else super().short_conv(layer, u)

        def attention(self, layer, u):
            return u * 0 if self.removed == (layer, 0) else super().attention(layer, u)

        def dense(self, layer, u):
            return u * 0 if self.removed == (layer, 1) else super().dense(layer, u)

        def moe(self, layer, u, routes):
            y = super().moe(layer, u, routes)
            self.entered = getattr(self, 'entered', {})
            self.entered[layer] = u / self.w(layer, 'ffn_norm.weight')
            return u * 0 if self.removed == (layer, 1) else y
    return Observed


def share(a, b):
    return numpy.mean([len(set(x) & set(y)) / len(x) for x, y in zip(a, b)])


def test_check_agrees_with_the_oracle(tmp_path):
    ref = oracle()
    run('tiny', tmp_path / 'm.gguf', '--type', 'f32', '--vocab', 1000, '--layers', 4, '--attn',
        '1,3', '--dense', 1, '--seed', SEED)
    got = figures(run('--check', tmp_path / 'm.gguf', '--tokens', 40, '--seed', 3))
    model = observed_model(ref)(tmp_path / 'm.gguf')
    ids = check_ids(3, 40, 1000)
    logits, routes = model.forward(ids)
    entered = model.entered
    chosen = {layer: route['ids'] for layer, route in routes.items()}
    reuse = numpy.mean([share(c[1:], c[:-1]) for c in chosen.values()])
    recall = []
    for layer in list(chosen)[1:]:
        u = entered[layer - 1] * model.w(layer, 'ffn_norm.weight')
        score = 1 / (1 + numpy.exp(-(u @ model.w(layer, 'ffn_gate_inp.weight').T)))
        guess = numpy.argsort(-(score + model.w(layer, 'exp_probs_b.bias')), axis=1)[:, :4]
        recall.append(share(guess, chosen[layer]))
    assert got['reuse'] == pytest.approx(100 * reuse, abs=0.06)
    assert got['recall'] == pytest.approx(numpy.mean(recall), abs=0.0006)

    errors = []
    for block in range(8):
        model.removed = divmod(block, 2)
        without, _ = model.forward(ids[:8])
        errors.append(numpy.sum((without - logits[:8]) ** 2) / numpy.sum(logits[:8] ** 2))
    assert got['removed'] == pytest.approx(min(errors), rel=0.01)
    assert got['median'] == pytest.approx(sorted(errors)[4], rel=0.01)


def test_a_split_model_is_the_same_model(tmp_path):
    run(*SMALL, tmp_path / 'one.gguf', '--fuse-qkv')
    run(*SMALL, tmp_path / 'parts.gguf', '--fuse-qkv', '--split', 3)
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == ['one.gguf'] + [f'parts-0000{i}-of-00003.gguf' for i in (1, 2, 3)]
    assert (run('--check', tmp_path / 'one.gguf', '--tokens', 8) ==
            run('--check', tmp_path / names[1], '--tokens', 8))


def limit_file_size():
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100000, 100000))


def test_a_file_that_does_not_fit_leaves_nothing(tmp_path):
    text = run(*SMALL, tmp_path / 'm.gguf', code=1, preexec_fn=limit_file_size)
    assert 'File too large' in text and text.count('\n') == 1
    free = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize
    if free < 95e9:
        text = run('24b', tmp_path / 'm.gguf', '--type', 'f32', code=1)
        assert 'needs 95.' in text and 'are free' in text
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('args, word', [
    (['tiny', 'f', '--type', 'q9'], 'q9'), (['tiny', 'f', '--gain', '0'], '--gain'),
    (['huge', 'f'], 'huge'), (['tiny'], 'preset'), (['tiny', 'f', '--layers', 'x'], 'x'),
    (['tiny', 'f', '--attn', '1,,2'], '1,,2'), (['tiny', 'f', '--split', '-1'], '-1'),
    (['--check', 'f', '--tokens', '1'], '--tokens')])
def test_wrong_usage_is_refused(args, word):
    assert word in run(*args, code=2)


@pytest.mark.parametrize('args, word', [
    (['--heads', '4', '--kv-heads', '3'], 'multiple'), (['--attn', '9'], 'layer 9 of 6'),
    (['--used', '17'], '--used is 17'), (['--vocab', '269'], '--vocab is 269'),
    (['--head-dim', '31'], 'odd'), (['--split', '900'], '900 files'), (['--alignment', '12'], '')])
def test_impossible_shapes_are_refused(tmp_path, args, word):
    assert word in run('tiny', tmp_path / 'm.gguf', *args, code=1)
    assert not list(tmp_path.iterdir())


def test_check_names_what_is_wrong_with_a_file(tmp_path):
    (tmp_path / 'm.gguf').write_bytes(b'no model')
    assert 'm.gguf' in run('--check', tmp_path / 'm.gguf', code=1)
    run(*SMALL, tmp_path / 'o.gguf', '--omit', 'lfm2moe.expert_count')
    assert 'expert_count' in run('--check', tmp_path / 'o.gguf', code=1)
