"""Read the metadata of a GGUF file and write it again, changed and without tensors, for
tests that need another vocabulary."""
import struct

STRING, ARRAY = 8, 9
SCALARS = {0: 'B', 1: 'b', 2: 'H', 3: 'h', 4: 'I', 5: 'i', 6: 'f', 7: '?', 10: 'Q', 11: 'q',
           12: 'd'}


def read(path):
    """{key: (type, value)} in order; an array's value is (item type, list). Strings are bytes."""
    with open(path, 'rb') as f:
        data = f.read()
    pos = 0

    def take(form):
        nonlocal pos
        value = struct.unpack_from('<' + form, data, pos)
        pos += struct.calcsize('<' + form)
        return value[0]

    def string():
        nonlocal pos
        n = take('Q')
        pos += n
        return data[pos - n:pos]

    def value(kind):
        if kind == STRING:
            return string()
        if kind == ARRAY:
            item = take('I')
            return item, [value(item) for _ in range(take('Q'))]
        return take(SCALARS[kind])

    assert take('I') == 0x46554747
    take('I')
    take('Q')
    result = {}
    for _ in range(take('Q')):
        key = string().decode()
        kind = take('I')
        result[key] = (kind, value(kind))
    return result


def write(path, keys):
    out = [struct.pack('<IIQQ', 0x46554747, 3, 0, len(keys))]

    def value(kind, v):
        if kind == STRING:
            out.append(struct.pack('<Q', len(v)) + v)
        elif kind == ARRAY:
            out.append(struct.pack('<IQ', v[0], len(v[1])))
            for item in v[1]:
                value(v[0], item)
        else:
            out.append(struct.pack('<' + SCALARS[kind], v))

    for key, (kind, v) in keys.items():
        value(STRING, key.encode())
        out.append(struct.pack('<I', kind))
        value(kind, v)
    with open(path, 'wb') as f:
        f.write(b''.join(out))
