"""GBNF in Python, written apart from Sluice's: read it, draw texts from it, match texts.

For tests. Nodes are tuples: ('lit', text), ('set', ranges, negated), ('rule', name),
('seq', nodes), ('alt', nodes), ('rep', node, least, most or None).
"""
import re
import sys

sys.setrecursionlimit(20000)

TOKEN = re.compile(r'''\s*(?:\#[^\n]*\s*)*(?:
    (?P<lit>"(?:[^"\\]|\\.)*") | (?P<set>\[(?:[^\]\\]|\\.)*\]) |
    (?P<def>[A-Za-z0-9_-]+)\s*::= | (?P<name>[A-Za-z0-9_-]+) |
    (?P<rep>[*+?]|\{\d+(?:,\d*)?\}) | (?P<op>[()|]))''', re.X | re.S)
ESCAPE = re.compile(r'\\(x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}|.)', re.S)
SIMPLE = {'n': '\n', 't': '\t', 'r': '\r'}
INFINITE = 1 << 30


def unescape(match):
    word = match.group(1)
    if len(word) > 1:
        return chr(int(word[1:], 16))
    return SIMPLE.get(word, word)


def characters(text):
    """Characters of a class's inside, each with whether it was escaped."""
    at = 0
    while at < len(text):
        match = ESCAPE.match(text, at)
        if match:
            yield unescape(match), True
            at = match.end()
        else:
            yield text[at], False
            at += 1


def read_class(text):
    negated = text.startswith('^')
    items = list(characters(text[negated:]))
    ranges = []
    i = 0
    while i < len(items):
        first = last = ord(items[i][0])
        if i + 2 < len(items) and items[i + 1] == ('-', False):
            last = ord(items[i + 2][0])
            i += 2
        assert first <= last
        ranges.append((first, last))
        i += 1
    return ('set', tuple(ranges), negated)


class Grammar:
    def __init__(self, text):
        self.tokens = []
        at = 0
        while text[at:].strip() if at > len(text) - 80 else True:
            match = TOKEN.match(text, at)
            assert match, text[at:at + 60]
            self.tokens.append((match.lastgroup, match.group(match.lastgroup)))
            at = match.end()
        self.at = 0
        self.rules = {}
        while self.at < len(self.tokens):
            kind, name = self.tokens[self.at]
            assert kind == 'def', (kind, name)
            assert name not in self.rules, name
            self.at += 1
            self.rules[name] = self.read_choice()
        self.find_costs()
        self.memo = {}

    def peek(self):
        return self.tokens[self.at] if self.at < len(self.tokens) else (None, None)

    def read_choice(self):
        branches = [self.read_sequence()]
        while self.peek() == ('op', '|'):
            self.at += 1
            branches.append(self.read_sequence())
        return branches[0] if len(branches) == 1 else ('alt', branches)

    def read_sequence(self):
        items = []
        while True:
            kind, text = self.peek()
            if kind in (None, 'def') or (kind == 'op' and text in '|)'):
                return ('seq', items)
            self.at += 1
            if kind == 'lit':
                item = ('lit', ESCAPE.sub(unescape, text[1:-1]))
            elif kind == 'set':
                item = read_class(text[1:-1])
            elif kind == 'name':
                item = ('rule', text)
            else:
                assert text == '(', text
                item = self.read_choice()
                assert self.peek() == ('op', ')')
                self.at += 1
            if self.peek()[0] == 'rep':
                item = ('rep', item) + self.read_counts(self.peek()[1])
                self.at += 1
                assert self.peek()[0] != 'rep'
            items.append(item)

    @staticmethod
    def read_counts(text):
        if text in '*+?':
            return {'*': (0, None), '+': (1, None), '?': (0, 1)}[text]
        least, comma, most = text[1:-1].partition(',')
        return int(least), int(most) if most else None if comma else int(least)

    def cost(self, node):
        """The least depth of rules that a text needs."""
        if id(node) not in self.known:
            self.known[id(node)] = self.look_up_cost(node)
        return self.known[id(node)]

    def look_up_cost(self, node):
        kind = node[0]
        if kind == 'rule':
            return self.costs[node[1]]
        if kind == 'seq':
            return max((self.cost(n) for n in node[1]), default=0)
        if kind == 'alt':
            return min(self.cost(n) for n in node[1])
        if kind == 'rep':
            return self.cost(node[1]) if node[2] else 0
        return 0

    def find_costs(self):
        self.costs = {name: INFINITE for name in self.rules}
        changed = True
        while changed:
            changed = False
            self.known = {}
            for name, node in self.rules.items():
                cost = self.cost(node) + 1
                if cost < self.costs[name]:
                    self.costs[name] = cost
                    changed = True

    def draw(self, rng, budget=12):
        self.steps = 0
        pieces = []
        self.draw_node(self.rules['root'], rng, budget, pieces)
        return ''.join(pieces)

    def draw_node(self, node, rng, budget, pieces):
        kind = node[0]
        self.steps += 1
        if kind == 'lit':
            pieces.append(node[1])
        elif kind == 'set':
            pieces.append(draw_character(node, rng))
        elif kind == 'rule':
            self.draw_node(self.rules[node[1]], rng, budget - 1, pieces)
        elif kind == 'seq':
            for item in node[1]:
                self.draw_node(item, rng, budget, pieces)
        elif kind == 'alt':
            costs = [self.cost(n) for n in node[1]]
            tight = self.steps > 400 or budget < 0
            fits = [n for n, c in zip(node[1], costs)
                    if c < INFINITE and (c <= budget if not tight else c == min(costs))]
            self.draw_node(rng.choice(fits or [node[1][costs.index(min(costs))]]), rng, budget,
                           pieces)
        else:
            _, child, least, most = node
            count = least
            if self.steps < 400 and budget > 0 and self.cost(child) <= budget:
                while (most is None or count < most) and rng.random() < 0.6:
                    count += 1
                if most is not None and rng.random() < 0.1 and most - least < 40:
                    count = most
            for _ in range(count):
                self.draw_node(child, rng, budget, pieces)

    def matches(self, text):
        self.text = text
        self.memo = {}
        return len(text) in self.ends(self.rules['root'], 0)

    def ends(self, node, at):
        """Where a match of node that begins at may end."""
        kind = node[0]
        text = self.text
        if kind == 'lit':
            return {at + len(node[1])} if text.startswith(node[1], at) else set()
        if kind == 'set':
            return {at + 1} if at < len(text) and in_class(node, text[at]) else set()
        if kind == 'rule':
            key = (node[1], at)
            if key not in self.memo:
                self.memo[key] = None  # met again meanwhile: left recursion
                self.memo[key] = self.ends(self.rules[node[1]], at)
            assert self.memo[key] is not None, f'left recursion in {node[1]}'
            return self.memo[key]
        if kind == 'seq':
            found = {at}
            for item in node[1]:
                found = set().union(*(self.ends(item, a) for a in found))
                if not found:
                    break
            return found
        if kind == 'alt':
            return set().union(*(self.ends(n, at) for n in node[1]))
        _, child, least, most = node
        found = {at} if least == 0 else set()
        front = {at}
        count = 0
        while front and (most is None or count < most):
            front = set().union(*(self.ends(child, a) for a in front))
            count += 1
            if count >= least:
                if front <= found:
                    break
                found |= front
        return found


def in_class(node, char):
    code = ord(char)
    return any(first <= code <= last for first, last in node[1]) != node[2]


def draw_character(node, rng):
    _, ranges, negated = node
    for _ in range(1000):
        if negated:
            code = rng.choice([rng.randrange(0x20, 0x7F)] * 6 + [
                rng.randrange(0xA0, 0x3000), rng.randrange(0x10000, 0x10FFFF), 0x10FFFF])
        else:
            first, last = rng.choice(ranges)
            code = rng.choice([first, last, rng.randint(first, min(last, first + 60)),
                               rng.randint(first, last)])
        if not 0xD800 <= code < 0xE000 and in_class(node, chr(code)):
            return chr(code)
    raise AssertionError(f'nothing in {node}')
