"""Dequantised rows equal the float64 oracle's, rounded once to float32, bit for bit:
for every tensor of the type files, and for random bytes with extreme scales."""
import os
import pathlib
import subprocess
import sys
import time

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SHARED = pathlib.Path(os.environ.get("SL_SHARED", ROOT.parent / "shared"))
DUMPROWS = os.environ["SL_DUMPROWS"]
sys.path.insert(0, str(SHARED / "reference"))
try:
    import lfm2_ref
except ImportError:
    pytest.skip(f"no oracle in {SHARED}/reference", allow_module_level=True)

NAMES = {0: "f32", 1: "f16", 30: "bf16", 2: "q4_0", 3: "q4_1", 6: "q5_0", 7: "q5_1", 8: "q8_0",
         10: "q2_k",
         11: "q3_k", 12: "q4_k", 13: "q5_k", 14: "q6_k", 20: "iq4_nl", 23: "iq4_xs"}
# Where a block keeps half floats; random bytes there would be infinite at times.
HALVES = {1: [0], 2: [0], 3: [0, 2], 6: [0], 7: [0, 2], 8: [0], 10: [80, 82], 11: [108],
          12: [0, 2], 13: [0, 2],
          14: [208], 20: [0], 23: [0]}
N_ROWS_MAX = 512  # of a tensor


def dump(kind, n_cols, raw):
    out = subprocess.run([DUMPROWS, NAMES[kind], str(n_cols)], input=raw.tobytes(),
                         stdout=subprocess.PIPE,
                         check=True).stdout
    return np.frombuffer(out, dtype=np.uint32)


def check(kind, n_cols, raw):
    block, size, fn = lfm2_ref.TYPES[kind]
    want = fn(raw.reshape(-1, size)).astype(np.float32).reshape(-1).view(np.uint32)
    got = dump(kind, n_cols, raw)
    assert len(got) == len(want)
    different = np.flatnonzero(got != want)
    assert len(different) == 0, f"{NAMES[kind]}: element {different[0]}: {got[different[0]]:#x}, " \
                                f"want {want[different[0]]:#x}; {len(different)} differ"


FILES = sorted((SHARED / "models" / "types").glob("*.gguf"))


@pytest.mark.skipif(not FILES, reason=f"no files in {SHARED}/models/types")
@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_files(path):
    g = lfm2_ref.Gguf(str(path))
    for name, (dims, kind, offset) in g.tensors.items():
        block, size, _ = lfm2_ref.TYPES[kind]
        n_rows = min(int(np.prod(dims[1:], dtype=np.int64)), N_ROWS_MAX)
        start = g.base + offset
        check(kind, dims[0], np.array(g.map[start:start + n_rows * (dims[0] // block) * size]))


@pytest.mark.parametrize("kind", NAMES, ids=NAMES.get)
def test_random(kind):
    seed = int(os.environ.get("SL_SEED", time.time_ns() % 2**32))
    print("SL_SEED", seed)
    rng = np.random.default_rng([seed, kind])
    block, size, _ = lfm2_ref.TYPES[kind]
    raw = rng.integers(0, 256, (4096, size), dtype=np.uint8)
    for off in HALVES.get(kind, []):
        half = (rng.integers(0, 0x7c00, 4096) | rng.integers(0, 2, 4096) << 15).astype(np.uint16)
        half[:64] = 0x7bff
        half[64:128] = rng.integers(0, 0x400, 64)
        raw[:, off:off + 2] = half.view(np.uint8).reshape(-1, 2)
    if kind in (0, 30):  # the exponent of F32 and BF16
        raw[:, size - 1] &= 0xbf
    check(kind, 16 * block, raw.reshape(-1))
