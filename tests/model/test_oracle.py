"""Logits and chosen experts against the float64 reference, which shares no code with us.

The reference is reference/lfm2_ref.py in the data folder (SL_SHARED); llama.cpp's own errors
against it lie beside the vectors. SL_SEED gives the random shapes again; SL_FULL=1 takes every
window of the held-out text in place of every sixth.
"""
import json
import os
import random
import subprocess
import sys
import time

import numpy as np
import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'cli'))
from clitool import SHARED, good, shared  # noqa: E402

sys.path.insert(0, os.path.join(SHARED, 'reference'))
lfm2_ref = pytest.importorskip('lfm2_ref', reason='no reference in the data folder')

CPU = os.environ.get('SLUICE_TEST_CPU')
LEVELS = [CPU] if CPU else ['c', 'avx2', 'avx512']
MKMODEL = os.environ.get('SL_MKMODEL')
TYPES = ['f16', 'bf16', 'q8_0', 'q4_0', 'q4_1', 'q5_0', 'q5_1', 'q4_k_m', 'q5_k_m', 'q6_k',
         'q3_k_m', 'q2_k',
         'iq4_nl', 'iq4_xs']


def has_level(level):
    flags = open('/proc/cpuinfo').read()
    return {'c': True, 'avx2': ' avx2 ' in flags, 'avx512': ' avx512_vnni ' in flags}[level]


class Reference(lfm2_ref.Model):
    """The reference, which itself knows no attn_qkv: rows of queries, keys, values in order."""

    def w(self, layer, name, index=None):
        fused = f'blk.{layer}.attn_qkv.weight'
        if name not in ('attn_q.weight', 'attn_k.weight', 'attn_v.weight') or fused not in self.g:
            return super().w(layer, name, index)
        n_q, n_kv = self.n_head * self.head_dim, self.n_head_kv[layer] * self.head_dim
        first = {'attn_q.weight': 0, 'attn_k.weight': n_q, 'attn_v.weight': n_q + n_kv}[name]
        return self.g.get(fused)[first:first + (n_q if first == 0 else n_kv)]


def error(got, want):
    got, want = got.astype(np.float64).ravel(), want.astype(np.float64).ravel()
    assert got.shape == want.shape and np.isfinite(got).all()
    return ((got - want) ** 2).sum() / (want ** 2).sum()


def evaluate(tmp_path, model, tokens, *args, routes=False):
    ids, out, chosen = tmp_path / 'ids', tmp_path / 'logits.f32', tmp_path / 'routes.json'
    ids.write_text(','.join(map(str, tokens)))
    good('eval', model, '--tokens', ids, '--logits', out,
         *(['--routes', chosen] if routes else []), *args)
    logits = np.fromfile(out, np.float32).reshape(len(tokens), -1)
    return (logits, json.load(open(chosen))) if routes else logits


def same_experts(got, want):
    """Sets equal, weights within 1e-5 (the reference rounds to 1e-6)."""
    assert got.keys() == want.keys()
    for layer in want:
        for g, gw, w, ww in zip(got[layer]['ids'], got[layer]['weights'], want[layer]['ids'],
                                want[layer]['weights'], strict=True):
            assert set(g) == set(w), (layer, g, w)
            got_weight = dict(zip(g, gw, strict=True))
            assert all(abs(got_weight[e] - x) <= 1e-5 + 5e-7
                       for e, x in zip(w, ww, strict=True)), (layer, g)


@pytest.mark.parametrize('level', LEVELS)
@pytest.mark.parametrize('name', ['random-moe-f32', 'random-dense-f32'])
def test_f32_models(tmp_path, name, level):
    if not has_level(level):
        pytest.skip(f'no {level}')
    tokens = json.load(open(shared('vectors', name + '.tokens.json')))['tokens']
    want = np.fromfile(shared('vectors', name + '.logits.f32'), np.float32)
    model = shared('models', name + '.gguf')
    got, routes = evaluate(tmp_path, model, tokens, '--cpu', level, routes=True)
    half = evaluate(tmp_path, model, tokens, '--cpu', level, '--kv', 'f16')
    err = error(got, want), error(half, want)
    print(f'{name} {level}: {err[0]:.1e} with f32 KV, {err[1]:.1e} with f16 KV')
    assert err[0] < 1e-9 and err[1] < 2e-6
    if 'moe' in name:
        same_experts(routes, json.load(open(shared('vectors', name + '.routes.json'))))


@pytest.mark.parametrize('level', LEVELS)
@pytest.mark.parametrize('name', TYPES)
def test_types(tmp_path, name, level):
    if not has_level(level):
        pytest.skip(f'no {level}')
    known = json.load(open(shared('vectors', 'types', 'types.json')))
    want = np.fromfile(shared('vectors', 'types', f'types-{name}.logits.f32'), np.float32)
    model = shared('models', 'types', f'types-{name}.gguf')
    got = evaluate(tmp_path, model, known['tokens'], '--cpu', level)
    theirs = known['files'][f'types-{name}']['llama_cpp_nmse']
    print(f'types-{name} {level}: {error(got, want):.2e}, '
          f'{error(got, want) / theirs:.3f} of llama.cpp')
    assert error(got, want) <= 1.1 * theirs


class Cached(lfm2_ref.Gguf):
    """Dequantises each tensor once: the windows are many. Column after column, since the
    reference multiplies by the transpose: a plain BLAS then takes a third of the time."""

    def get(self, name, index=None):
        self.cache = getattr(self, 'cache', {})
        if (name, index) not in self.cache:
            self.cache[name, index] = np.asfortranarray(super().get(name, index))
        return self.cache[name, index]


@pytest.mark.parametrize('name', ['tiny-bf16', 'tiny-q8_0', 'tiny-q4_k_m'])
def test_trained_model_windows(tmp_path, name, monkeypatch):
    monkeypatch.setattr(lfm2_ref, 'Gguf', Cached)
    ids = [int(t) for t in open(shared('models', 'tiny-val.ids')).read().replace(',', ' ').split()]
    theirs = json.load(open(shared('vectors', 'tiny.json')))[name]['llama_cpp_window96_nmse']
    windows = range(0, len(ids) // 96, 1 if os.environ.get('SL_FULL') else 6)
    model = lfm2_ref.Model(shared('models', name + '.gguf'))
    ours = []
    for i in windows:
        tokens = ids[96 * i:96 * (i + 1)]
        got = evaluate(tmp_path, shared('models', name + '.gguf'), tokens)
        ours.append(error(got, model.forward(tokens)[0]))
    ratio = np.median(ours) / np.median([theirs[i] for i in windows])
    print(f'{name}: median of {len(ours)} windows {np.median(ours):.2e}, {ratio:.3f} of llama.cpp')
    assert ratio <= 1.1


def test_perplexity():
    known = json.load(open(shared('vectors', 'tiny.json')))
    for name in known:
        said = good('perplexity', shared('models', name + '.gguf'), '-f',
                    shared('models', 'tiny-val.txt'), '--ctx', 256, timeout=400)
        got = float(said.split('PPL = ')[1].split()[0])
        print(f'{name}: {got}, llama.cpp {known[name]["llama_cpp_ppl_ctx256"]}')
        assert abs(got / known[name]['llama_cpp_ppl_ctx256'] - 1) < 0.002


def random_shape(rng):
    """Options of mkmodel for a shape that nobody would choose, and whether it is F32."""
    kv_heads = rng.choice([1, 2, 3, 4])
    head_dim = rng.choice([8, 32, 36, 64, 128])
    heads = kv_heads * rng.choice([1, 2, 3, 4])
    layers = rng.randrange(2, 7)
    kind = rng.choice(['f32', 'f32', 'f32', 'q8_0', 'q4_0'])
    unit = 1 if kind == 'f32' else 32
    width = 32 * rng.randrange(2, 8) + (rng.choice([0, 2, 10]) if unit == 1 else 0)
    attn = sorted(rng.sample(range(layers), rng.randrange(1, layers + 1)))
    if unit == 32:
        heads, head_dim = 4 * kv_heads, rng.choice([32, 64])
    moe = rng.random() < 0.7
    shape = ['--layers', layers, '--attn', ','.join(map(str, attn)), '--width', width,
             '--heads', heads,
             '--kv-heads', kv_heads, '--head-dim', head_dim, '--ff',
             unit * rng.randrange(2, 9) + (0 if unit > 1 else 50),
             '--l-cache', rng.randrange(2, 6), '--theta', rng.choice([1e4, 1e6, 5e6]),
             '--vocab', 512,
             '--ctx', 512, '--arch', 'lfm2moe' if moe else 'lfm2', '--type', kind, '--gain', 0.7]
    if moe:
        experts = rng.choice([2, 5, 8, 33] if unit == 1 else [2, 5, 8])
        # quantised: every expert, or a near tie that falls the other way would hide everything else
        used = experts if unit > 1 else rng.randrange(1, min(experts, 8) + 1)
        shape += ['--experts', experts, '--used', used, '--expert-ff',
                  unit * rng.randrange(1, 6) + (0 if unit > 1 else 31),
                  '--dense', rng.randrange(0, layers)]
    if rng.random() < 0.3:
        shape += ['--fuse-qkv']
    if rng.random() < 0.3:
        shape += ['--norm-name', 'output_norm']
    if rng.random() < 0.3:
        shape += ['--kv-array', 'u32']
    return shape, kind


def test_random_shapes(tmp_path):
    if not MKMODEL:
        pytest.skip('SL_MKMODEL is not set: run through meson test')
    seed = int(os.environ.get('SL_SEED') or time.time())
    print(f'SL_SEED={seed}')
    rng = random.Random(seed)
    for i in range(5):
        shape, kind = random_shape(rng)
        path = tmp_path / f'shape{i}.gguf'
        seed = str(rng.randrange(2 ** 31))
        subprocess.run([MKMODEL, 'tiny', path, '--seed', seed, *map(str, shape)],
                       check=True, stdout=subprocess.DEVNULL)
        tokens = [rng.randrange(512) for _ in range(rng.randrange(1, 60))]
        want, want_routes = Reference(str(path)).forward(tokens)
        got, routes = evaluate(tmp_path, path, tokens, '--chunk', rng.choice([1, 3, 16, 512]),
                               routes=True)
        err = error(got, want)
        print(f'shape {i}: {err:.1e}, {" ".join(map(str, shape))}')
        assert err < (1e-9 if kind == 'f32' else 3e-2), shape
        if kind == 'f32' and routes:
            close = min(min(r['margin']) for r in want_routes.values()) < 1e-6
            if not close:
                same_experts(routes, {str(k): v for k, v in want_routes.items()})
