"""The tokenizer gives llama.cpp's ids for any valid UTF-8, and loses no byte of anything.

tokenize_peer (SL_TOKENIZE_PEER) answers for us. The recorded cases need the shared data
(SL_SHARED); the drawn ones also llama.cpp from npm (node-llama-cpp in SL_LLAMA_NPM). The
seed is printed and taken back from SL_SEED; SL_STRINGS sets how many strings are drawn.
"""
import json
import os
import random
import shutil
import struct
import subprocess
import unicodedata

import pytest

import gguf_rewrite

HERE = os.path.dirname(os.path.abspath(__file__))
SHARED = os.environ.get('SL_SHARED') or os.path.join(HERE, '..', '..', '..', 'shared')
MODEL = os.path.join(SHARED, 'models', 'tiny-q4_k_m.gguf')
PEER = os.environ.get('SL_TOKENIZE_PEER', '')
NPM = os.environ.get('SL_LLAMA_NPM', '')
SEED = int(os.environ.get('SL_SEED') or random.SystemRandom().randrange(1 << 32))
N_STRINGS = int(os.environ.get('SL_STRINGS') or 2000)
PLAIN, SPECIAL = 0, 2

pytestmark = [
    pytest.mark.skipif(not os.path.exists(PEER), reason='SL_TOKENIZE_PEER names no program'),
    pytest.mark.skipif(not os.path.exists(MODEL), reason=f'no model at {MODEL} (SL_SHARED)'),
]
needs_llama = pytest.mark.skipif(
    not os.path.isdir(os.path.join(NPM, 'node_modules', 'node-llama-cpp'))
    or not shutil.which('node'),
    reason='no llama.cpp from npm (SL_LLAMA_NPM names the folder of its node_modules)')


def ask(command, records):
    """[(flags, bytes)] -> [ids]"""
    data = b''.join(struct.pack('<II', flags, len(text)) + text for flags, text in records)
    run = subprocess.run(command, input=data, capture_output=True, timeout=600, check=False)
    assert run.returncode == 0, run.stderr.decode(errors='replace')[-2000:]
    lines = run.stdout.decode().split('\n')[:len(records)]
    assert len(lines) == len(records)
    return [[int(x) for x in line.split()] for line in lines]


def ours(records, model=MODEL):
    return ask([PEER, model], records)


def theirs(records, model=MODEL):
    return ask(['node', os.path.join(HERE, 'tokenize_llama.mjs'), model], records)


# --- strings ---------------------------------------------------------------------------

NAMES = ['pad', 'startoftext', 'endoftext', 'fim_pre', 'im_start', 'im_end', 'tool_list_start',
         'tool_call_start', 'tool_call_end', 'tool_response_end', 'reserved_4', 'nonsense']
SPACES = ' \t\n\r\x0b\x0c\x85\xa0\u1680\u2000\u2003\u200a\u2028\u2029\u202f\u205f\u3000'
NOT_SPACES = '\u180e\u200b\u200c\u200d\u2060\ufeff\x1c\x1f\x00'
WORDS = ["don't", "I'LL", "we'Ve", "'s", "''T", "'\u017f", "l\u2019amour", "\u0440'\u0435",
         "\u0394'm", "\u4e2d'd", "'RE", "'r", "'lL", "x'vE'd"]
EMOJI = ['\U0001f600', '\U0001f468\u200d\U0001f469\u200d\U0001f467', '\U0001f1e9\U0001f1ea',
         '\U0001f44d\U0001f3fd', '\u2764\ufe0f', '1\ufe0f\u20e3', '\U0001f3f4\U000e0067']
NONCHARACTERS = ['\ufdd0', '\ufdef', '\ufffe', '\uffff', '\U0001fffe', '\U0010ffff', '\ufffd']
LETTERS = [chr(c) for c in range(0x110000) if unicodedata.category(chr(c))[0] == 'L']
NUMBERS = [chr(c) for c in range(0x110000) if unicodedata.category(chr(c))[0] == 'N']
MARKS = [chr(c) for c in range(0x110000) if unicodedata.category(chr(c))[0] == 'M']
# Letters and numbers of Unicode 15.0 and 15.1, and assigned only later
NEW = [0x11f02, 0x11f10, 0x11f33, 0x1b132, 0x1e030, 0x1e4d0, 0x2ebf0, 0x2ee5d, 0x31350, 0x323af,
       0x11f50, 0x1d2c0, 0x1e4f9, 0x1c89, 0xa7cb, 0x10d4e, 0x16d40, 0x11de0]


def any_char(rng):
    while True:
        c = rng.randrange(rng.choice([0x80, 0x800, 0x3000, 0x10000, 0x20000, 0x110000]))
        if not 0xd800 <= c < 0xe000:
            return chr(c)


def in_block(rng):
    """Characters of one block of 128, so that scripts come in runs."""
    start = rng.randrange(0x110000 // 128) * 128
    if 0xd800 <= start < 0xe000:
        start -= 0x800
    return ''.join(chr(start + rng.randrange(128)) for _ in range(rng.randrange(1, 24)))


def special(rng):
    name = rng.choice(NAMES)
    return rng.choice([
        f'<|{name}|>', f'<|{name}', f'{name}|>', f'<|{name}|', f'<|<|{name}|>|>', f'< |{name}|>',
        f'<<|{name}|>>', f'<|{name}|><|{name}|>', f'<|{name[:2]}<|im_end|>{name[2:]}|>',
        f'\n<|{name}|> ', f'<|{name.upper()}|>', f'\uff1c|{name}|>', '<|', '|>', '<||>'])


def run_of(rng):
    unit = rng.choice(['a', ' ', '\n', '\t', '7', '\u4e2d', '!', '\u0301', '\r\n', ' \n', '\xe9',
                       '\U0001f600', 'ab', '<|', "'s", '\x00', any_char(rng), in_block(rng)])
    return unit * rng.choice([2, 3, 5, 17, 64, rng.randrange(1, 400), rng.randrange(1, 3000)])


PARTS = [
    lambda rng: ''.join(any_char(rng) for _ in range(rng.randrange(1, 12))),
    in_block,
    special,
    lambda rng: ''.join(rng.choice(SPACES) for _ in range(rng.randrange(1, 9))),
    lambda rng: rng.choice(SPACES + NOT_SPACES) * rng.randrange(1, 5),
    lambda rng: ''.join(rng.choice(['\n', '\r', '\r\n', '\n\n', ' ', '\t'])
                        for _ in range(rng.randrange(1, 9))),
    lambda rng: rng.choice(WORDS),
    lambda rng: ''.join(rng.choice(NUMBERS) for _ in range(rng.randrange(1, 9))),
    lambda rng: ''.join(rng.choice(LETTERS) for _ in range(rng.randrange(1, 9))),
    lambda rng: rng.choice(LETTERS) + ''.join(rng.choice(MARKS) for _ in range(rng.randrange(4))),
    lambda rng: rng.choice(EMOJI),
    lambda rng: rng.choice(NONCHARACTERS),
    lambda rng: chr(rng.choice(NEW)) * rng.randrange(1, 4),
    lambda rng: ''.join(rng.choice('abcdefghijklmnopqrstuvwxyzABCXYZ012789 .,;:!?()[]{}<>|_-+*/'
                                   '\'"#$%&@~^`\\\n') for _ in range(rng.randrange(1, 40))),
    lambda rng: rng.choice([' ', '', '\n']),
]


def draw(rng, text):
    """One string; text is real prose and code to cut from."""
    if rng.random() < 0.15:
        return run_of(rng) + rng.choice(['', 'x', ' ', '\n', '1'])
    parts = []
    for _ in range(rng.choice([1, 2, 3, 5, 8, 20])):
        if rng.random() < 0.15:
            at = rng.randrange(len(text))
            parts.append(text[at:at + rng.randrange(1, 200)])
        elif rng.random() < 0.05:
            parts.append(run_of(rng))
        else:
            parts.append(rng.choice(PARTS)(rng))
    return ''.join(parts)


def strings(n, salt=''):
    print(f'\nseed: SL_SEED={SEED}')
    rng = random.Random(f'{SEED}{salt}')
    with open(os.path.join(SHARED, 'models', 'tiny-val.txt'), encoding='utf-8') as f:
        text = f.read()
    return [draw(rng, text) for _ in range(n)]


def shrink(text, differs):
    """A short part of text that still differs; asks at most 60 times."""
    parts = 2
    for _ in range(60):
        if len(text) < 2:
            break
        size = max(1, len(text) // parts)
        cuts = [text[:i] + text[i + size:] for i in range(0, len(text), size)]
        bad = differs(cuts)
        if bad is not None:
            text, parts = bad, max(2, parts - 1)
        elif size == 1:
            break
        else:
            parts *= 2
    return text


def compare(texts, model, modes=(PLAIN, SPECIAL)):
    records = [(flags, text.encode()) for text in texts for flags in modes]
    for (flags, text), got, want in zip(records, ours(records, model), theirs(records, model)):
        if got == want:
            continue

        def differs(cuts, flags=flags):
            asked = [(flags, cut.encode()) for cut in cuts]
            for cut, a, b in zip(cuts, ours(asked, model), theirs(asked, model)):
                if a != b:
                    return cut
            return None
        small = shrink(text.decode(), differs)
        record = [(flags, small.encode())]
        pytest.fail(f'SL_SEED={SEED} flags {flags}: {small!r}\n'
                    f'ours:   {ours(record, model)}\ntheirs: {theirs(record, model)}')


# --- tests -----------------------------------------------------------------------------

def test_recorded_cases():
    with open(os.path.join(SHARED, 'vectors', 'tokenizer.json'), encoding='utf-8') as f:
        cases = json.load(f)
    records = [(flags, case['text'].encode()) for case in cases for flags in (PLAIN, SPECIAL)]
    got = ours(records)
    for i, case in enumerate(cases):
        assert got[2 * i] == case['ids'], case['text']
        assert got[2 * i + 1] == case['ids_special'], case['text']
    assert len(cases) >= 80


@needs_llama
def test_drawn_strings_equal_llama():
    compare(strings(N_STRINGS), MODEL)


@needs_llama
def test_every_code_point_equals_llama():
    """In surroundings that tell letter, number, white space and the rest apart with this
    vocabulary: "12", "(p" and two spaces are tokens, or not, by where the pieces end."""
    chars = [chr(c) for c in range(0x110000) if not 0xd800 <= c < 0xe000]
    texts = [''.join(f'1{c}12\n{c}(p\n  {c}a\n' for c in chars[i:i + 64])
             for i in range(0, len(chars), 64)]
    compare(texts, MODEL, modes=(PLAIN,))


@needs_llama
def test_user_defined_and_overlapping_tokens_equal_llama(tmp_path):
    """Tokens that can overlap differ in length here: among equally long ones llama.cpp's
    order is that of an unstable sort."""
    keys = gguf_rewrite.read(MODEL)
    tokens = keys['tokenizer.ggml.tokens'][1][1]
    types = keys['tokenizer.ggml.token_type'][1][1]
    changed = {4000: (b'<|x', 4), 4001: (b'x|>y', 4), 4002: (b'xx', 4), 4003: (b'<|x|>yy', 3),
               4004: (b'||', 4), 4005: (b'  tab\t', 4), 4006: ('\u4e2d\u6587'.encode(), 4),
               4007: (b'lo wor', 3), 4008: (b'xxxxx', 2), 4009: (b'zebra', 5),
               4010: (b'quuuuux', 3)}
    gone = {tokens[i] for i in changed}
    for i, (text, kind) in changed.items():
        tokens[i], types[i] = text, kind
    merges = keys['tokenizer.ggml.merges'][1]
    keys['tokenizer.ggml.merges'] = (gguf_rewrite.ARRAY, (gguf_rewrite.STRING, [
        m for m in merges[1]
        if not gone & {m.replace(b' ', b''), *m.split(b' ')}]))
    model = str(tmp_path / 'changed.gguf')
    gguf_rewrite.write(model, keys)

    rng = random.Random(f'{SEED}changed')
    pieces = [text.decode() for text, _ in changed.values()]
    pieces += ['x', '|', '|', '>', '<', 'y', ' ', 'a', '\n', 'hello world', '\u4e2d', 'tab\t',
               '<|im_end|>']
    texts = [''.join(rng.choice(pieces) for _ in range(rng.randrange(1, 30)))
             for _ in range(N_STRINGS)]
    compare(texts + strings(200, 'changed'), model)
