"""A small GGUF writer for tests: plain Python, no numpy, any metadata type.

    w = Writer(version=3, alignment=32)
    w.add("general.architecture", "str", "lfm2moe")
    w.add("lfm2moe.block_count", "u32", 2)
    w.add_array("tokenizer.ggml.tokens", "str", ["a", "b"])
    w.add_tensor("output_norm.weight", [4], F32, struct.pack("<4f", 1, 1, 1, 1))
    w.write("model.gguf")

Nothing is checked on purpose: a test may write what no honest file holds. add_raw
appends metadata bytes as they are; add_tensor takes an offset, a byte length and a
type number that need not fit; n_kv and n_tensors may be overruled.
"""

import os
import struct

# Tensor type numbers of the GGUF specification.
F32, F16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0 = 0, 1, 2, 3, 6, 7, 8
Q2_K, Q3_K, Q4_K, Q5_K, Q6_K = 10, 11, 12, 13, 14
IQ4_NL, IQ4_XS, BF16 = 20, 23, 30

# Metadata types: name -> (number, struct format or None).
TYPES = {
    "u8": (0, "B"), "i8": (1, "b"), "u16": (2, "H"), "i16": (3, "h"),
    "u32": (4, "I"), "i32": (5, "i"), "f32": (6, "f"), "bool": (7, "?"),
    "str": (8, None), "arr": (9, None), "u64": (10, "Q"), "i64": (11, "q"),
    "f64": (12, "d"),
}


class Writer:
    def __init__(self, version=3, alignment=None, byte_order="<", magic=b"GGUF"):
        self.version = version
        self.order = byte_order
        self.magic = magic
        self.kv = []        # encoded entries
        self.tensors = []   # (name bytes, ne, dtype, data, offset or None)
        self.n_kv = None    # None: as many as were added
        self.n_tensors = None
        self.alignment = alignment if alignment else 32
        if alignment is not None:
            self.add("general.alignment", "u32", alignment)

    def pack(self, fmt, *values):
        return struct.pack(self.order + fmt, *values)

    def string(self, text):
        data = text if isinstance(text, bytes) else text.encode("utf-8")
        return self.pack("Q", len(data)) + data

    def value(self, kind, value):
        if kind == "str":
            return self.string(value)
        return self.pack(TYPES[kind][1], value)

    def add(self, key, kind, value):
        """One scalar or string."""
        self.kv.append(self.string(key) + self.pack("I", TYPES[kind][0])
                       + self.value(kind, value))

    def add_array(self, key, kind, values):
        self.kv.append(self.string(key) + self.pack("IIQ", TYPES["arr"][0],
                                                    TYPES[kind][0], len(values))
                       + b"".join(self.value(kind, v) for v in values))

    def add_raw(self, data):
        """Bytes in place of one entry."""
        self.kv.append(data)

    def add_tensor(self, name, ne, dtype, data, offset=None):
        """ne: fastest first. data: bytes as they lie in the file. offset: None for
        the next aligned place, or any number."""
        name = name if isinstance(name, bytes) else name.encode("utf-8")
        self.tensors.append((name, list(ne), dtype, data, offset))

    def header(self):
        """(bytes up to the data section without padding, data section)"""
        infos, data = bytearray(), bytearray()
        for name, ne, dtype, raw, offset in self.tensors:
            if offset is None:
                data += b"\0" * (-len(data) % self.alignment)
                offset = len(data)
                data += raw
            infos += self.string(name) + self.pack("I", len(ne))
            infos += b"".join(self.pack("Q", n) for n in ne)
            infos += self.pack("IQ", dtype, offset)
        n_tensors = len(self.tensors) if self.n_tensors is None else self.n_tensors
        n_kv = len(self.kv) if self.n_kv is None else self.n_kv
        head = self.magic + self.pack("IQQ", self.version, n_tensors, n_kv)
        return head + b"".join(self.kv) + bytes(infos), bytes(data)

    def to_bytes(self):
        head, data = self.header()
        if not self.tensors:
            return head
        return head + b"\0" * (-len(head) % self.alignment) + data

    def write(self, path):
        with open(path, "wb") as f:
            f.write(self.to_bytes())
        return path


def split_path(prefix, part, count):
    """Name of part (1-based) of a split model."""
    return "%s-%05d-of-%05d.gguf" % (prefix, part, count)


def write_split(prefix, parts, kinds=("u16", "u16", "i32"), n_tensors=None):
    """Write a list of Writers as one split model; returns the paths. kinds: integer
    types of split.no, split.count and split.tensors.count."""
    total = sum(len(p.tensors) for p in parts) if n_tensors is None else n_tensors
    paths = []
    for i, part in enumerate(parts):
        part.add("split.no", kinds[0], i)
        part.add("split.count", kinds[1], len(parts))
        part.add("split.tensors.count", kinds[2], total)
        paths.append(part.write(split_path(os.fspath(prefix), i + 1, len(parts))))
    return paths
