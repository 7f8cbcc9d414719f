"""Grammars match what an Earley parser written apart says, on drawn grammars and texts.

grammar_peer (SL_GRAMMAR_PEER) answers for us. Texts are drawn from the grammar itself, cut,
changed, or drawn blindly. The seed is printed and taken back from SL_SEED; SL_GRAMMARS sets
how many grammars are drawn.
"""
import os
import random
import struct
import subprocess
import time

import earley

PEER = os.environ.get('SL_GRAMMAR_PEER')
N_GRAMMARS = int(os.environ.get('SL_GRAMMARS', '1500'))
N_TEXTS = 30
LETTERS = 'abcd\u00e4\u00e5\u20ac\u20ad\ud7ff\ue000\U0001f600\U0001f601'


def draw_expression(rng, names, depth):
    kind = rng.randrange(10 if depth > 0 else 4)
    if kind < 3:
        if rng.randrange(8) == 0:
            return ('any',)
        return ('chars', frozenset(rng.sample(LETTERS, rng.choice([1, 1, 1, 2, 3]))))
    if kind == 3:
        return ('rule', rng.choice(names))
    if kind < 6:
        return ('alt', *(draw_expression(rng, names, depth - 1)
                         for _ in range(rng.randint(1, 3))))
    if kind < 8:
        return ('seq', *(draw_expression(rng, names, depth - 1)
                         for _ in range(rng.randint(0, 3))))
    least, most = rng.choice([(0, 1), (0, None), (1, None), (2, 2), (1, 3), (0, 3), (2, None)])
    return ('rep', draw_expression(rng, names, depth - 1), least, most)


def spell_chars(rng, chars):
    """A class, or a literal where it is one character; negated if that is the same."""
    def one(c):
        if rng.randrange(4) == 0:
            return f'\\U{ord(c):08X}'
        return f'\\u{ord(c):04x}' if rng.randrange(4) == 0 and ord(c) < 0x10000 else c
    if len(chars) == 1 and rng.randrange(2):
        return '"' + one(next(iter(chars))) + '"'
    points = sorted(map(ord, chars))
    ranges = []
    for p in points:
        if ranges and p == ranges[-1][1] + 1:
            ranges[-1][1] = p
        else:
            ranges.append([p, p])
    parts = []
    for lo, hi in ranges:
        parts.append(one(chr(lo)) + (f'-{one(chr(hi))}' if hi > lo else ''))
    rng.shuffle(parts)
    return '[' + ''.join(parts) + ']'


def spell(rng, e, tight=True):
    kind = e[0]
    if kind == 'chars':
        return spell_chars(rng, e[1])
    if kind == 'any':
        return '.'
    if kind == 'rule':
        return e[1]
    if kind == 'seq':
        text = ' '.join(spell(rng, part) for part in e[1:])
        return f'({text})' if tight or not text else text
    if kind == 'alt':
        text = ' | '.join(spell(rng, part, False) for part in e[1:])
        return f'({text})'
    _, inner, least, most = e
    mark = {(0, 1): '?', (0, None): '*', (1, None): '+'}.get((least, most))
    if mark is None or rng.randrange(4) == 0:
        rest = '' if least == most else ',' if most is None else f',{most}'
        mark = f'{{{least}{rest}}}'
    return spell(rng, inner) + mark


def draw_grammar(rng):
    names = ['root'] + [f'r{i}' for i in range(rng.randint(0, 3))]
    grammar = {name: draw_expression(rng, names, 3) for name in names}
    return grammar, '\n'.join(f'{name} ::= {spell(rng, e, False)}'
                              for name, e in grammar.items())


def generate(rng, grammar, e, budget):
    """A text of e as a list of characters; None where it grew too long."""
    if budget[0] <= 0:
        return None
    budget[0] -= 1
    kind = e[0]
    if kind == 'chars':
        return [rng.choice(sorted(e[1]))]
    if kind == 'any':
        return [rng.choice(LETTERS)]
    if kind == 'rule':
        return generate(rng, grammar, grammar[e[1]], budget)
    if kind == 'alt':
        return generate(rng, grammar, rng.choice(e[1:]), budget)
    parts = e[1:]
    if kind == 'rep':
        most = e[3] if e[3] is not None else e[2] + 3
        parts = [e[1]] * rng.randint(e[2], most)
    out = []
    for part in parts:
        text = generate(rng, grammar, part, budget)
        if text is None:
            return None
        out += text
    return out


def draw_texts(rng, grammar):
    texts = []
    for _ in range(N_TEXTS):
        text = generate(rng, grammar, grammar['root'], [60])
        if text is None or rng.randrange(4) == 0:
            text = [rng.choice(LETTERS) for _ in range(rng.randint(0, 6))]
        for _ in range(rng.choice([0, 0, 0, 1, 2])):
            at = rng.randint(0, len(text))
            text[at:at + rng.randrange(2)] = rng.choice([[], [rng.choice(LETTERS)]])
        texts.append(''.join(text[:rng.choice([40, 40, len(text) // 2])]))
    return texts


def ask(cases):
    """One line of the peer for each (grammar, texts)."""
    def record(text):
        data = text.encode()
        return struct.pack('<I', len(data)) + data
    data = b''.join(record(g) + struct.pack('<I', len(texts)) + b''.join(map(record, texts))
                    for g, texts in cases)
    done = subprocess.run([PEER], input=data, capture_output=True, check=True)
    lines = done.stdout.decode().split('\n')
    assert lines.pop() == ''
    assert len(lines) == len(cases)
    return lines


def test_drawn_grammars():
    seed = int(os.environ.get('SL_SEED', time.time_ns() % 2**32))
    print(f'SL_SEED={seed}')
    rng = random.Random(seed)
    cases, wants = [], []
    for _ in range(N_GRAMMARS):
        grammar, text = draw_grammar(rng)
        rules = earley.expand(grammar)
        if not set(grammar) <= earley.productive(rules):
            wants.append('can never end')
            cases.append((text, []))
        elif earley.left_recursive(rules):
            wants.append('is left-recursive')
            cases.append((text, []))
        else:
            texts = draw_texts(rng, grammar)
            wants.append(''.join(str(earley.judge(rules, t)) for t in texts))
            cases.append((text, texts))
    counts = dict.fromkeys(['can never end', 'is left-recursive', '0', '1', '2'], 0)
    for (grammar, texts), want, got in zip(cases, wants, ask(cases)):
        if want and not want[0].isdigit():
            assert want in got, f'{grammar}\n{got}'
            counts[want] += 1
            continue
        assert len(got) == len(want), f'{grammar}\n{got}'
        for text, w, g in zip(texts, want, got):
            assert w == g, f'{grammar}\n{text!r}: {g}, should be {w}'
            counts[w] += 1
    print(counts)
    assert min(counts.values()) > 0


def test_beginnings_in_bytes():
    """A text cut within a character is the beginning of a match if a whole one is."""
    grammar = 'root ::= [\\u00e4\\u20ac\\U0001f600]{2}'
    data = struct.pack('<I', len(grammar)) + grammar.encode()
    text = '\u20ac\U0001f600'.encode()
    data += struct.pack('<I', len(text) + 1)
    for i in range(len(text) + 1):
        data += struct.pack('<I', i) + text[:i]
    done = subprocess.run([PEER], input=data, capture_output=True, check=True)
    assert done.stdout.decode() == '1' * len(text) + '2\n'
