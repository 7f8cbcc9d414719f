"""Metadata that no honest file holds: each change of the demo model's is refused by one clear
line, and never ends in a crash or a hang."""
import os
import random
import sys

import pytest

from clitool import DEMO, ROOT, refused

sys.path.insert(0, os.path.join(ROOT, 'tests', 'property'))
import gguf_rewrite  # noqa: E402

U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = 4, 5, 6, 7, 8, 9, 10, 11, 12
A = 'lfm2moe.'
KEYS = gguf_rewrite.read(DEMO)
KV = KEYS[A + 'attention.head_count_kv'][1][1]

CASES = [
    ('block_count', (U32, 0), 'expected 1 to 256, found 0'),
    ('block_count', (U64, 2 ** 63), 'found 9223372036854775808'),
    ('block_count', (I32, -1), 'expected an integer, found -1'),
    ('block_count', (F32, 6.5), 'expected an integer, found 6.5'),
    ('block_count', (ARRAY, (U32, [6])), 'expected an integer, found array'),
    ('block_count', (U32, 7), 'expected 7 items, found 6'),
    ('embedding_length', (U32, 65537), 'expected 2 to 65536'),
    ('context_length', (U32, 0), 'expected 1 to 16777216'),
    ('attention.head_count_kv', (ARRAY, (I32, KV[:-1])), 'expected 6 items, found 5'),
    ('attention.head_count_kv', (ARRAY, (I32, [-3] + KV[1:])), 'expected integers, found -3'),
    ('attention.head_count_kv', (ARRAY, (STRING, [b'2'] * 6)), 'expected integers, found string'),
    ('attention.head_count_kv', (U32, 3), 'do not fit'),
    ('attention.head_count', (U32, 0), '0 query heads and 2 key heads do not fit'),
    ('attention.head_count', (U32, 2 ** 32 - 1), 'expected at most 1024'),
    ('attention.key_length', (U32, 3), 'head length'),
    ('attention.key_length', (U32, 2 ** 31), 'expected 2 to 256'),
    ('attention.layer_norm_rms_epsilon', (F32, -1e-5), 'expected a positive number, found -1e-05'),
    ('attention.layer_norm_rms_epsilon', (F32, float('nan')), 'expected a positive number'),
    ('attention.layer_norm_rms_epsilon', (STRING, b'x'), 'positive number, found string'),
    ('rope.freq_base', (F64, float('inf')), 'expected a positive number, found inf'),
    ('shortconv.l_cache', (U32, 1), 'expected 2 to 16'),
    ('expert_count', (U32, 0), 'expected 1 to 1024'),
    ('expert_used_count', (U32, 0), 'expected 1 to'),
    ('expert_used_count', (U32, 65), 'found 65'),
    ('leading_dense_block_count', (U32, 7), 'expected 0 to 6'),
    ('expert_gating_func', (U32, 1), 'not supported'),
    ('attention.sliding_window', (U32, 1), 'not supported'),
    ('rope.scaling.type', (STRING, b'yarn'), 'not supported'),
]


def write(path, changes):
    keys = dict(KEYS)
    keys.update(changes)
    gguf_rewrite.write(path, {key: value for key, value in keys.items() if value})
    return path


@pytest.mark.parametrize('key,value,words', CASES)
def test_values(key, value, words, tmp_path):
    path = write(tmp_path / 'model.gguf', {A + key: value})
    assert refused(1, words, 'info', path).isprintable()


def test_random_changes(tmp_path):
    seed = int(os.environ.get('SL_SEED') or random.randrange(2 ** 32))
    rng = random.Random(seed)
    print(f'SL_SEED={seed}')
    numbers = [0, 1, 2, 255, 2 ** 16, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1]
    values = [lambda: (U32, rng.choice(numbers)), lambda: (I32, -rng.randrange(2 ** 31)),
              lambda: (U64, 2 ** 64 - 1 - rng.randrange(9)), lambda: (I64, -1),
              lambda: (F32, rng.choice([0.0, -1.0, float('nan'), float('inf'), 1e38])),
              lambda: (BOOL, True), lambda: (STRING, rng.randbytes(rng.randrange(40))),
              lambda: (ARRAY, (U32, [rng.choice(numbers)] * rng.randrange(9))),
              lambda: (ARRAY, (STRING, [rng.randbytes(5)] * rng.randrange(9))), lambda: None]
    for _ in range(60):
        keys = rng.sample(sorted(KEYS), rng.choice([1, 2]))
        changes = {key: rng.choice(values)() for key in keys}
        path = write(tmp_path / 'model.gguf', changes)
        # there are no tensors: what is taken here is refused there
        assert refused(1, str(path), 'info', path).isprintable(), (seed, changes)
