"""GGUF files for test_gguf: gguf_cases.py LIST.txt.

Writes files into the folder LIST: good ones, whose contents test_gguf.c knows, and bad ones,
one a line in LIST.txt: name, flags, expected error, and words that its text must hold,
separated by tabs.
"""

import os
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import gguf_writer as g  # noqa: E402

OUT = os.path.splitext(sys.argv[1])[0]
CASES = []

SCALARS = [
    ("u8", 200), ("i8", -100), ("u16", 60000), ("i16", -30000), ("u32", 4000000000),
    ("i32", -2000000000), ("f32", 0.5), ("bool", True), ("str", "two words"),
    ("u64", 2 ** 63 + 1), ("i64", -2 ** 62), ("f64", -0.125),
]


def path(name):
    return os.path.join(OUT, name)


def f32(n):
    return struct.pack("<%df" % n, *range(1, n + 1))


def good(version=3, alignment=None):
    w = g.Writer(version=version, alignment=alignment)
    for kind, value in SCALARS:
        w.add("scalar." + kind, kind, value)
        w.add_array("array." + kind, kind, [value] * 3)
        w.add_array("empty." + kind, kind, [])
    w.add_array("words", "str", ["", "a", "two words", "\u00e9\u4e2d"])
    w.add("null", "str", b"a\0b")
    w.add_tensor("vec", [5], g.F32, f32(5))
    w.add_tensor("mat", [32, 3], g.Q8_0, bytes(range(34)) * 3)
    w.add_tensor("stack", [32, 2, 4], g.Q4_0, bytes(18 * 8))
    w.add_tensor("four", [1, 2, 1, 3], g.F16, bytes(12))
    return w


def bad(name, code, words, writer=None, data=None, flags=0):
    with open(path(name), "wb") as f:
        f.write(writer.to_bytes() if writer else data)
    CASES.append((name, str(flags), code, words))


def plain():
    """A writer with one key, for what comes after."""
    w = g.Writer()
    w.add("general.architecture", "str", "lfm2")
    return w


def with_raw(raw, n_kv=None):
    w = plain()
    w.add_raw(raw)
    w.n_kv = n_kv
    return w


def with_tensor(name, ne, dtype, data, offset=None, **opts):
    w = g.Writer(**opts)
    w.add("general.architecture", "str", "lfm2")
    w.add_tensor("first", [8], g.F32, f32(8))
    w.add_tensor(name, ne, dtype, data, offset)
    return w


def key(text):
    return struct.pack("<Q", len(text)) + text.encode()


def bad_headers():
    bad("magic.gguf", "EBADMSG", "byte 0|GGUF", data=b"GGML" + bytes(60))
    bad("text.gguf", "EBADMSG", "not a GGUF file", data=b"#!/bin/sh\necho hello\n")
    bad("version0.gguf", "ENOTSUP", "version 0|2 or 3", g.Writer(version=0))
    bad("version1.gguf", "ENOTSUP", "version 1|2 or 3", g.Writer(version=1))
    bad("version4.gguf", "ENOTSUP", "version 4|2 or 3", g.Writer(version=4))
    bad("big.gguf", "ENOTSUP", "big-endian|version 3", g.Writer(byte_order=">"))
    w = plain()
    w.n_tensors = 2 ** 63
    bad("tensors-lie.gguf", "EBADMSG", "byte 8|%d tensors" % 2 ** 63, w)
    w = plain()
    w.n_kv = 2 ** 64 - 1
    bad("keys-lie.gguf", "EBADMSG", "byte 16|%d metadata entries" % (2 ** 64 - 1), w)
    w = plain()
    w.n_kv = 3
    bad("keys-more.gguf", "EBADMSG", "a key of 8 bytes", w)
    w = g.Writer()
    for i in range(4097):
        w.add("key.%d" % i, "u8", 0)
    bad("keys-many.gguf", "E2BIG", "4097 metadata entries|limit is 4096", w)


def bad_metadata():
    bad("key-twice.gguf", "EBADMSG", "key general.architecture occurs twice",
        with_raw(key("general.architecture") + struct.pack("<IB", 0, 1)))
    bad("key-empty.gguf", "EBADMSG", "key is empty", with_raw(key("") + struct.pack("<IB", 0, 1)))
    bad("key-long.gguf", "E2BIG", "65536 bytes|limit is 65535",
        with_raw(key("k" * 65536) + struct.pack("<IB", 0, 1)))
    bad("key-lies.gguf", "EBADMSG", "a key|bytes, but the file has only 20 more",
        with_raw(struct.pack("<Q", 2 ** 64 - 8) + bytes(20)))
    bad("type13.gguf", "EBADMSG", "key k|type of 0 to 12, found 13",
        with_raw(key("k") + struct.pack("<II", 13, 0)))
    bad("type-huge.gguf", "EBADMSG", "found 4294967295",
        with_raw(key("k") + struct.pack("<II", 2 ** 32 - 1, 0)))
    bad("bool2.gguf", "EBADMSG", "key k|bool|found 2",
        with_raw(key("k") + struct.pack("<IB", 7, 2)))
    bad("string-lies.gguf", "EBADMSG", "key k|a string|18446744073709551615",
        with_raw(key("k") + struct.pack("<IQ", 8, 2 ** 64 - 1)))
    bad("array-lies.gguf", "EBADMSG", "key k|found the end",
        with_raw(key("k") + struct.pack("<IIQ", 9, 10, 2 ** 24)))
    bad("array-wraps.gguf", "E2BIG", "key k|items, the limit is 16777216",
        with_raw(key("k") + struct.pack("<IIQ", 9, 10, 2 ** 61 + 1) + bytes(8)))
    bad("array-type.gguf", "EBADMSG", "key k|found 77",
        with_raw(key("k") + struct.pack("<IIQ", 9, 77, 0)))
    bad("array-nested.gguf", "E2BIG", "key k|nested",
        with_raw(key("k") + struct.pack("<IIQ", 9, 9, 0)))
    bad("escape.gguf", "EBADMSG", "key ?[31mred|found 13",
        with_raw(key("\x1b[31mred") + struct.pack("<II", 13, 0)))
    for alignment in (0, 1, 4, 24, 2 ** 21, 2 ** 31):
        w = g.Writer()
        w.add("general.alignment", "u32", alignment)
        bad("alignment-%d.gguf" % alignment, "EBADMSG",
            "general.alignment|power of two|found %d" % alignment, w)
    w = g.Writer()
    w.add("general.alignment", "str", "32")
    bad("alignment-str.gguf", "EBADMSG", "general.alignment|string", w)
    w = g.Writer()
    w.add_array("general.alignment", "u32", [32])
    bad("alignment-arr.gguf", "EBADMSG", "general.alignment|array", w)


def bad_tensors():
    bad("dims5.gguf", "EBADMSG", "tensor t|0 to 4 dimensions, found 5",
        with_tensor("t", [1] * 5, g.F32, f32(1)))
    bad("dim0.gguf", "EBADMSG", "tensor t|found 0", with_tensor("t", [0], g.F32, b""))
    bad("dim-big.gguf", "E2BIG", "tensor t|268435456, found 268435457",
        with_tensor("t", [2 ** 28 + 1], g.F32, b""))
    bad("dim-wraps.gguf", "E2BIG", "tensor t|found 18446744073709551615",
        with_tensor("t", [2 ** 64 - 1], g.F32, b""))
    bad("product.gguf", "EBADMSG", "tensor t|overflows",
        with_tensor("t", [2 ** 28] * 4, g.F32, b""))
    bad("product-big.gguf", "EBADMSG", "tensor t|found the end of the file",
        with_tensor("t", [2 ** 28] * 2, g.F32, b""))
    bad("row.gguf", "EBADMSG", "tensor t|multiple of 256|q4_k|found 255",
        with_tensor("t", [255], g.Q4_K, bytes(144)))
    bad("name-twice.gguf", "EBADMSG", "tensor first occurs twice",
        with_tensor("first", [8], g.F32, f32(8)))
    bad("name-empty.gguf", "EBADMSG", "name is empty", with_tensor("", [8], g.F32, f32(8)))
    bad("name-long.gguf", "E2BIG", "257 bytes|limit is 256",
        with_tensor("n" * 257, [8], g.F32, f32(8)))
    bad("offset-odd.gguf", "EBADMSG", "tensor t|multiple of 32, found 33",
        with_tensor("t", [8], g.F32, f32(8), 33))
    bad("offset-64.gguf", "EBADMSG", "tensor t|multiple of 64, found 32",
        with_tensor("t", [8], g.F32, f32(8), 32, alignment=64))
    bad("offset-far.gguf", "EBADMSG", "tensor t|expected 32 bytes|found the end",
        with_tensor("t", [8], g.F32, f32(8), 2 ** 40))
    bad("offset-wraps.gguf", "EBADMSG", "tensor t|out of range",
        with_tensor("t", [8], g.F32, f32(8), 2 ** 64 - 32))
    bad("offset-wraps2.gguf", "EBADMSG", "tensor t|out of range",
        with_tensor("t", [8], g.F32, f32(8), 2 ** 64 - 32), flags=1)
    bad("overlap.gguf", "EBADMSG", "tensor t: its data overlaps that of first|byte 160",
        with_tensor("t", [8], g.F32, f32(8), 0))
    w = with_tensor("t", [8], g.F32, f32(8), 32)
    w.add_tensor("u", [17], g.F32, f32(17))
    bad("overlap-inside.gguf", "EBADMSG", "overlaps", w)
    bad("unknown-far.gguf", "EBADMSG", "tensor t|found the end",
        with_tensor("t", [8], 63, b"", 2 ** 40))
    w = g.Writer()
    for i in range(65537):
        w.add_tensor("t%d" % i, [8], g.F32, bytes(32))
    bad("tensors-many.gguf", "E2BIG", "65537 tensors|limit is 65536", w)


def parts(n=3):
    out = [g.Writer() for _ in range(n)]
    out[0].add("general.architecture", "str", "lfm2moe")
    for i, w in enumerate(out):
        for t in range(i + 1):
            w.add_tensor("blk.%d.%d" % (i, t), [8], g.F32, struct.pack("<8f", *[10 * i + t] * 8))
    return out


def split(name, writers, **opts):
    os.makedirs(path(name), exist_ok=True)
    return g.write_split(os.path.join(path(name), "model"), writers, **opts)


def bad_split(name, code, words, file="model-00001-of-00003.gguf"):
    CASES.append((os.path.join(name, file), "0", code, words))


def splits():
    split("split", parts())
    split("split-kinds", parts(), kinds=("i64", "u32", "u64"))
    empty = parts()
    empty[0].tensors = []
    split("split-empty-first", empty)

    os.remove(split("split-missing", parts())[1])
    for i in (1, 3):
        bad_split("split-missing", "ENOENT", "part 2 of 3 is missing|model-00002-of-00003.gguf",
                  "model-%05d-of-00003.gguf" % i)

    twice = parts()
    twice[2].add_tensor("blk.0.0", [8], g.F32, f32(8))
    split("split-twice", twice)
    bad_split("split-twice", "EBADMSG", "00003-of-00003|blk.0.0 occurs twice")

    files = split("split-swapped", parts())
    os.rename(files[1], files[1] + "x")
    os.rename(files[2], files[1])
    os.rename(files[1] + "x", files[2])
    bad_split("split-swapped", "EBADMSG", "expected part 2 of 3, found part 3 of 3")
    bad_split("split-swapped", "EBADMSG", "part 2 of 3|must end in -00002-of-00003.gguf",
              "model-00003-of-00003.gguf")

    files = split("split-named", parts())
    os.rename(files[0], path("split-named/renamed.gguf"))
    bad_split("split-named", "EBADMSG", "part 1 of 3|must end in -00001-of-00003.gguf",
              "renamed.gguf")

    split("split-count", parts(), n_tensors=7)
    bad_split("split-count", "EBADMSG", "expected 7 tensors in all parts, found 6")

    files = split("split-other", parts())
    single = parts(1)[0]
    single.write(files[1])
    bad_split("split-other", "EBADMSG", "expected part 2 of 3, found part 1 of 1")

    files = split("split-corrupt", parts())
    with open(files[2], "r+b") as f:
        f.truncate(100)
    bad_split("split-corrupt", "EBADMSG", "part 3 of 3|00003-of-00003")

    for name, no, count, code, words in (
            ("no", 3, 3, "EBADMSG", "split.no|below split.count, 3"),
            ("minus", -1, 3, "EBADMSG", "split.no"),
            ("count-minus", 0, -3, "EBADMSG", "split.count|integer"),
            ("count-big", 0, 1000, "E2BIG", "1000 files|limit is 999")):
        w = g.Writer()
        w.add("split.no", "i32", no)
        w.add("split.count", "i32", count)
        bad("split-%s-00001-of-00003.gguf" % name, code, words, w)
    w = g.Writer()
    w.add("split.count", "str", "3")
    bad("split-str-00001-of-00003.gguf", "EBADMSG", "split.count|found string", w)
    w = g.Writer()
    w.add("split.no", "u16", 0)
    w.add("split.count", "u16", 1)
    w.write(path("split-of-one.gguf"))


def good_files():
    good().write(path("good.gguf"))
    good(version=2).write(path("good2.gguf"))
    good(alignment=1024).write(path("aligned.gguf"))
    g.Writer().write(path("nothing.gguf"))
    with_tensor("t", [7, 3], 63, bytes(40)).write(path("unknown.gguf"))
    with_tensor("t", [256, 2], 16, bytes(132)).write(path("unsupported.gguf"))
    # Any order, a gap, and an end without padding.
    w = g.Writer()
    w.add_tensor("late", [3], g.F32, f32(3), 128)
    w.add_tensor("early", [2], g.F32, f32(2), 0)
    with open(path("order.gguf"), "wb") as f:
        head = w.to_bytes()
        f.write(head + b"\0" * (-len(head) % 32) + f32(2) + bytes(120) + f32(3))
    w = g.Writer()
    for i in range(65536):
        w.add_tensor("blk.%d.weight" % i, [8], g.F32, struct.pack("<I", i) + bytes(28))
    w.write(path("many.gguf"))


os.makedirs(OUT, exist_ok=True)
good_files()
bad_headers()
bad_metadata()
bad_tensors()
splits()
with open(sys.argv[1], "w") as out:
    for case in CASES:
        out.write("\t".join(case) + "\n")
