"""Tool calls: what our parser makes of a reply is what Python's ast makes of it.

2,000 replies with generated calls and 2,000 mutated ones are drawn per run, and fed in
pieces of random length; SL_SEED repeats a run. A mutated list must be read as ast reads
it, or come back as the text it was. Where our grammar is wider than Python's on purpose
(line ends in strings, names with "-" or that are keywords), ast reads the text after
those places have been rewritten.
"""
import ast
import itertools
import json
import keyword
import math
import os
import random
import re
import subprocess
import unicodedata

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
PEER = os.environ.get('SL_TOOLCALL_PEER')
SEED = int(os.environ.get('SL_SEED', random.SystemRandom().randrange(1 << 32)))
N_CASES = 2000
START, END = '<|tool_call_start|>', '<|tool_call_end|>'
CONSTANTS = {'true': True, 'false': False, 'null': None}
HYPHEN, KEYWORD, LINE = 'ᚠ', 'ᚱ', 'ᛟ'  # what rewriting puts in; no case has them
N_SITES_MAX = 8

pytestmark = pytest.mark.filterwarnings('ignore')  # ast warns of "\d"


def peer(jobs):
    if not PEER:
        pytest.skip('SL_TOOLCALL_PEER is not set: run through meson test')
    lines = ''.join(json.dumps(job) + '\n' for job in jobs)
    result = subprocess.run([PEER], input=lines.encode(), stdout=subprocess.PIPE, check=True,
                            timeout=100)
    answers = [json.loads(line) for line in result.stdout.decode().splitlines()]
    assert len(answers) == len(jobs)
    return answers


def split(rng, replies, **options):
    """Each reply's events, pieces of text in a row put together: texts, and (name, arguments)."""
    jobs = [dict(options, reply=reply.encode('utf-8', 'surrogatepass').hex(),
                 step=rng.choice([1, 1, 2, 3, 7, 1 << 20])) for reply in replies]
    results = []
    for events in peer(jobs):
        merged = []
        for kind, name, text in events:
            text = bytes.fromhex(text).decode()
            if kind == 'call':
                merged.append((name, json.loads(text, object_pairs_hook=unique)))
            elif merged and isinstance(merged[-1], str):
                merged[-1] += text
            else:
                merged.append(text)
        results.append(merged)
    return results


def unique(pairs):
    assert len(dict(pairs)) == len(pairs), 'a key comes twice in the JSON text'
    return dict(pairs)


# What Python says

class Unsayable(Exception):
    """Python has a value that JSON has not."""


def sayable(value):
    if isinstance(value, (list, tuple)):
        return [sayable(item) for item in value]
    if isinstance(value, dict):
        made, kinds = {}, {}
        for key, item in value.items():
            name = str(sayable(key))
            if type(key) not in (str, int) or kinds.setdefault(name, type(key)) != type(key):
                raise Unsayable
            made[name] = sayable(item)
        return made
    if isinstance(value, str):
        try:  # escapes may be the halves of one character
            return value.encode('utf-16', 'surrogatepass').decode('utf-16').replace(LINE, '\n')
        except UnicodeDecodeError:
            raise Unsayable from None
    if value is None or type(value) in (bool, int) or (
            type(value) is float and math.isfinite(value)):
        return value
    raise Unsayable


class Named(ast.NodeTransformer):
    def visit_Name(self, node):
        return ast.Constant(CONSTANTS[node.id]) if node.id in CONSTANTS else node


def plain_name(name):
    return name.replace(HYPHEN, '-').replace(KEYWORD, '')


def call_of(node):
    if not isinstance(node, ast.Call) or node.args:
        raise ValueError
    parts, at = [], node.func
    while isinstance(at, ast.Attribute):
        parts.append(at.attr)
        at = at.value
    if not isinstance(at, ast.Name):
        raise ValueError
    pairs = []
    for argument in node.keywords:
        value = ast.literal_eval(Named().visit(argument.value))
        if argument.arg is not None:
            pairs.append((plain_name(argument.arg), value))
        elif isinstance(value, dict) and all(type(key) is str for key in value):
            pairs += value.items()
        else:
            raise ValueError
    pairs = [(sayable(key), sayable(value)) for key, value in pairs]
    if len(dict(pairs)) < len(pairs):
        raise ValueError
    return '.'.join(map(plain_name, [at.id] + parts[::-1])), dict(pairs)


def parsed(text):
    """The tree of a list, or of one call as the only item of one."""
    text = text.strip(' \t\f\r\n')
    return ast.parse(text if text.startswith('[') else f'[{text}]', mode='eval').body


def python_reads(text):
    """The calls of a list, or None."""
    try:
        tree = parsed(text)
        if not isinstance(tree, ast.List):
            return None
        return [call_of(node) for node in tree.elts] or None
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError, Unsayable):
        return None


SITES = re.compile(r'\r\n|[\r\n]|(?<=[\w-])-|\b(?:' + '|'.join(keyword.kwlist) + r'|__debug__)\b')


def rewritten(text):
    """The text with each choice of places rewritten where we are wider than Python; None if
    there are too many."""
    sites = list(SITES.finditer(text))
    if len(sites) > N_SITES_MAX:
        return None
    choices = []
    for chosen in itertools.product([False, True], repeat=len(sites)):
        made, at = '', 0
        for site, change in zip(sites, chosen):
            word = site.group()
            new = LINE if word[0] in '\r\n' else HYPHEN if word == '-' else word + KEYWORD
            made += text[at:site.start()] + (new if change else word)
            at = site.end()
        choices.append(made + text[at:])
    return choices


def same(a, b):
    return repr(a) == repr(b)  # tells 1, 1.0 and True apart, and sees the order of keys


# Generated calls

CHARS = ['a', 'Z', '0', ' ', '\n', '\t', '\r', '"', "'", '\\', '/', '<', '|', '>', '{', '}', '[',
         ']', '(', ')', ',', '=', '#', '\x00', '\x07', '\x1b', '\x7f', '\x80', '\xa0', 'é', 'ß',
         '\u2028', '日本', 'مرحبا', '\ufeff', '\uffff', '😀', '\U0010ffff', 'e\u0301', '\\n', "''",
         '"""', '</think>', 'word ']
NAMES = ['f', 'get_weather', 'a.b', 'ns.sub.call', '_x', 'größe', '天気', 'f2', 'r', 'u', 'None_']
KEYS = ['x', 'y', 'city', 'n_1', 'größe', '名前', 'r', 'u', 'b', 'f', '_', 'true']


def text_value(rng):
    if rng.random() < 0.2:
        codes = [rng.randrange(0x110000) for _ in range(rng.randrange(6))]
        return ''.join(chr(c) for c in codes if not 0xD800 <= c < 0xE000)
    return ''.join(rng.choice(CHARS) for _ in range(rng.randrange(9)))


def number_value(rng):
    kind = rng.randrange(6)
    if kind == 0:
        return rng.choice([0, -1, 2 ** 63 - 1, -2 ** 63, 2 ** 63, 10 ** 30, 10 ** 4299, 1 << 999])
    if kind == 1:
        return rng.randrange(-10 ** 40, 10 ** 40) >> rng.randrange(130)
    if kind == 2:
        return rng.choice([0.1, -0.0, 1e16, 1e-7, 1e22, 5e-324, 2.0 ** -44, 1e5, 100.0,
                           1.7976931348623157e308, 123456789.125])
    if kind == 3:
        return rng.uniform(-1, 1) * 10.0 ** rng.randrange(-300, 300)
    return rng.randrange(-1000, 1000)


def value(rng, depth=3):
    kind = rng.randrange(9 if depth else 6)
    if kind < 2:
        return rng.choice([None, True, False])
    if kind < 4:
        return number_value(rng)
    if kind < 6:
        return text_value(rng)
    if kind < 8:
        return [value(rng, depth - 1) for _ in range(rng.randrange(4))]
    return {rng.choice([text_value(rng), text_value(rng), str(rng.randrange(-9, 9))]):
            value(rng, depth - 1) for _ in range(rng.randrange(4))}


def blank(rng):
    return rng.choice(['', '', '', '', ' ', '  ', '\n', '\t', '\r\n '])


def spell_char(rng, c, quote, triple):
    code = ord(c)
    ways = [f'\\U{code:08x}']
    if code < 0x10000:
        ways.append(f'\\u{code:04X}')
    else:
        high, low = divmod(code - 0x10000, 0x400)
        ways.append(f'\\ud{high + 0x800:03x}\\ud{low + 0xC00:03x}')
    if code < 0x100:
        ways += [f'\\x{code:02x}', f'\\{code:03o}']
    if c in '\a\b\f\n\r\t\v':
        ways += ['\\' + 'abfnrtv'['\a\b\f\n\r\t\v'.index(c)]] * 5
    if c in '\\\'"':
        ways += ['\\' + c] * 5
    if c not in '\\\r\0' and c != quote and (triple or c != '\n'):
        ways += [c] * 40
    return rng.choice(ways)


def spell_string(rng, text):
    if rng.random() < 0.3:
        return rng.choice([repr, json.dumps, lambda s: json.dumps(s, ensure_ascii=False)])(text)
    if rng.random() < 0.1 and text:
        cut = rng.randrange(len(text))
        return spell_string(rng, text[:cut]) + ' ' + blank(rng) + spell_string(rng, text[cut:])
    quote, triple = rng.choice('\'"'), rng.random() < 0.2
    if rng.random() < 0.2 and not re.search(r'[\r\n\0\\]|' + quote, text):
        return rng.choice('rR') + quote + text + quote
    body = ''.join(spell_char(rng, c, quote, triple) for c in text)
    if rng.random() < 0.1:
        body += '\\\n'
    return rng.choice(['', '', '', 'u']) + quote * (3 if triple else 1) + body + \
        quote * (3 if triple else 1)


def spell_int(rng, number):
    sign, digits = '-' if number < 0 else '', str(abs(number))
    way = rng.randrange(8)
    if way == 0 and number < 1 << 4000:
        return sign + rng.choice(['0x{:x}', '0X{:X}', '0o{:o}', '0b{:b}']).format(abs(number))
    if way == 1:
        return sign + blank(rng) + digits
    if way == 2:
        return sign + re.sub(r'(?<=\d)(?=\d)', lambda _: rng.choice(['', '', '_']), digits)
    return (sign or rng.choice(['', '', '+'])) + digits


def spell_float(rng, number):
    text = rng.choice([repr, '{:.17e}'.format, '{:.17E}'.format])(number)
    if rng.random() < 0.2:
        return re.sub(r'^(-?)0\.(\d)', r'\1.\2', text)
    return re.sub(r'\.0$', '.', text) if rng.random() < 0.3 else text


def spell_items(rng, items, open_mark, close_mark):
    made = open_mark + blank(rng)
    for i, item in enumerate(items):
        made += (',' + blank(rng) if i else '') + item + blank(rng)
    if items and rng.random() < 0.15:
        made += ',' + blank(rng)
    return made + close_mark


def spell_pair(rng, key, item):
    as_int = re.fullmatch(r'-?[1-9][0-9]*', key, re.ASCII)
    name = spell_int(rng, int(key)) if as_int else spell_string(rng, key)
    return name + blank(rng) + ':' + blank(rng) + spell(rng, item)


def spell(rng, item):
    if isinstance(item, str):
        return spell_string(rng, item)
    if item is None or isinstance(item, bool):
        return rng.choice([repr(item), json.dumps(item)])
    if isinstance(item, int):
        return spell_int(rng, item)
    if isinstance(item, float):
        return spell_float(rng, item)
    if isinstance(item, list):
        if len(item) != 1 and rng.random() < 0.3:
            return spell_items(rng, [spell(rng, x) for x in item], '(', ')')
        return spell_items(rng, [spell(rng, x) for x in item], '[', ']')
    pairs = []
    for k, v in item.items():
        if rng.random() < 0.05:  # of a repeated key the last value counts
            pairs.append(spell_pair(rng, k, value(rng, 1)))
        pairs.append(spell_pair(rng, k, v))
    return spell_items(rng, pairs, '{', '}')


def spell_call(rng, call):
    name, arguments = call
    parts = []
    for key, item in arguments.items():
        if key in KEYS and rng.random() < 0.95:
            parts.append(key + blank(rng) + '=' + blank(rng) + spell(rng, item))
        else:
            parts.append('**' + blank(rng) + '{' + spell_string(rng, key) + ':' +
                         spell(rng, item) + '}')
    return name + blank(rng) + spell_items(rng, parts, '(', ')')


def calls_value(rng):
    calls = []
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        keys = rng.sample(KEYS, rng.randrange(5))
        if rng.random() < 0.1:
            keys.append(text_value(rng))
        calls.append((rng.choice(NAMES), {key: value(rng) for key in keys}))
    return calls


def spell_list(rng, calls):
    way = rng.random()
    if way < 0.1 and all('\0' not in json.dumps(call).replace('\\u0000', '\0') for call in calls):
        objects = [{'name': name, rng.choice(['arguments', 'parameters']): arguments}
                   for name, arguments in calls]
        if rng.random() < 0.3:
            objects = [{'type': 'function', 'function': x} for x in objects]
        whole = objects[0] if len(objects) == 1 and rng.random() < 0.5 else objects
        return rng.choice([json.dumps(whole), json.dumps(whole, ensure_ascii=False), repr(whole)])
    if way < 0.15 and len(calls) == 1:
        return spell_call(rng, calls[0])
    return blank(rng) + spell_items(rng, [spell_call(rng, c) for c in calls], '[', ']') + blank(rng)


def words(rng):
    pieces = ['Hello. ', '\n', 'x < y', '<|tool_call', '<|tool_call_start|', '[f(a=1)]', 'é', '😀',
              '[link](url)', '|>', '<think>', 'ok']
    return ''.join(rng.choice(pieces) for _ in range(rng.randrange(4)))


def test_generated_replies():
    print(f'SL_SEED={SEED}')
    rng = random.Random(SEED)
    replies, wants, n_python = [], [], 0
    while len(replies) < N_CASES:
        reply, want = '', []
        for _ in range(rng.choice([1, 1, 1, 2])):
            before, calls = words(rng), calls_value(rng)
            text = spell_list(rng, calls)
            assert START not in text and END not in text
            by_python = python_reads(text)
            if by_python is not None:
                assert same(by_python, sayable_calls(calls)), (text, calls)
                n_python += 1
            else:
                assert text.lstrip('[ ').startswith('{'), (SEED, text)
            reply += before + START + text + END
            want += ([before] if before else []) + sayable_calls(calls)
        after = words(rng)
        replies.append(reply + after)
        wants.append(want + ([after] if after else []))
    assert n_python > N_CASES * 0.8
    for reply, want, got in zip(replies, wants, split(rng, replies)):
        assert same(got, want), (SEED, reply)


def sayable_calls(calls):
    return [(name, sayable(arguments)) for name, arguments in calls]


# Mutated calls

INSERTS = list('()[]{},=:.\'"\\ \n\r\t\f#*+-_0123456789abefjnrux') + [
    'é', '天', '\u00a0', '“', '\0', '😀', "'''", '"""', '\\N{DASH}', '**{', 'True', 'null', 'for ',
    'not ', '1.5', '1e9', '1_0', '0x', 'class', '()', '[1]', 'lambda:', '...', 'ﬁ', '=1', ', x=2']


def mutated(rng, text):
    for _ in range(rng.choice([1, 1, 2, 3])):
        at = rng.randrange(len(text) + 1)
        to = min(len(text), at + rng.choice([1, 1, 1, 2, 5]))
        way = rng.randrange(6)
        if way == 0:
            text = text[:at] + text[to:]
        elif way == 1:
            text = text[:at] + text[at:to] * 2 + text[to:]
        elif way == 2:
            text = text[:at]
        elif way == 3:
            text = text[:at] + rng.choice(INSERTS) + text[to:]
        else:
            text = text[:at] + rng.choice(INSERTS) + text[at:]
    return text


def narrower(text):
    """Python's list that we give back as text: forms that the header names."""
    if re.search(r'#|\\N|\\\r?\n', text):
        return True
    for node in ast.walk(parsed(text)):
        if isinstance(node, (ast.Name, ast.Attribute)) or (
                isinstance(node, ast.keyword) and node.arg):
            name = getattr(node, 'id', None) or getattr(node, 'attr', None) or node.arg
            if name not in text:
                return True  # NFKC of what is there
        if isinstance(node, ast.Call) and any(k.arg is None for k in node.keywords):
            return True  # a key may come twice within **{}
    # a call, a name or a value in parentheses of its own; blanks or line ends round a dot
    return bool(re.search(r'[\[(,:=\s{+-]\s*\(|\s\.|\.\s', text)) or text.rstrip()[-1:] == ','


def test_mutated_lists():
    print(f'SL_SEED={SEED}')
    rng = random.Random(SEED + 1)
    lists = []
    while len(lists) < N_CASES:
        text = mutated(rng, spell_list(rng, calls_value(rng)))
        if text.lstrip('[ \t\f\r\n').startswith('{'):
            continue  # the JSON form is none of Python's business
        lists.append(text)
    n_calls = n_skipped = n_refused = 0
    for text, got in zip(lists, split(rng, [START + text + END for text in lists])):
        whole = START + text + END
        if got == [whole]:
            if python_reads(text) is not None:
                assert narrower(text), (SEED, text)
                n_refused += 1
            continue
        n_calls += 1
        if same(python_reads(text), got):
            continue
        choices = rewritten(text)
        if choices is None:
            n_skipped += 1
            continue
        assert any(same(python_reads(choice), got) for choice in choices), (SEED, text, got)
    print(f'{n_calls} calls in {N_CASES}; {n_skipped} not compared, {n_refused} not taken')
    assert N_CASES / 20 < n_calls < N_CASES * 0.9
    assert n_skipped < N_CASES / 100 and n_refused < N_CASES / 20


def test_wider_than_python():
    rng = random.Random(SEED)
    lists = ["[f(x='a\nb')]", '[f(x="a\r\nb", y="c\rd")]', '[get-it(max-results=1)]',
             '[f(from=1, None=2)]', '[import(class="a\n-b")]']
    for text, got in zip(lists, split(rng, [START + text + END for text in lists])):
        assert python_reads(text) is None
        assert any(same(python_reads(choice), got) for choice in rewritten(text)), text


# Rendering

def test_rendered_calls_are_read_back():
    print(f'SL_SEED={SEED}')
    rng = random.Random(SEED + 2)
    cases, jobs = [], []
    for _ in range(500):
        calls = json.loads(json.dumps(calls_value(rng)).replace('\\u0000', '?'),
                           object_pairs_hook=dict)
        calls = [(name, arguments) for name, arguments in calls]
        cases.append(calls)
        text = rng.random() < 0.5
        jobs.append({'render': [{'function': {
            'name': name, 'arguments': json.dumps(arguments) if text else arguments}}
            for name, arguments in calls]})
    texts = [bytes.fromhex(answer).decode() for answer in peer(jobs)]
    for calls, text, got in zip(cases, texts, split(rng, texts)):
        assert text.startswith(START) and text.endswith(END)
        inner = text[len(START):-len(END)]
        assert '<|' not in inner
        assert same(got, calls), (SEED, text)
        assert same(python_reads(inner), calls), (SEED, text)


def test_letters_of_names_are_pythons():
    with open(os.path.join(ROOT, 'src', 'text', 'pyliteral.c'), encoding='utf-8') as file:
        table = re.findall(r'\{0x([0-9A-F]{4}), 0x([0-9A-F]{4})\}', file.read())
    assert len(table) > 10
    for first, last in table:
        for code in range(int(first, 16), int(last, 16) + 1):
            assert chr(code).isidentifier(), hex(code)
            assert unicodedata.normalize('NFKC', 'a' + chr(code)) == 'a' + chr(code), hex(code)
