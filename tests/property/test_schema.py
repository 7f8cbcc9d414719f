"""Grammars of JSON schemas: what they write validates, and what validates they allow.

Schemas are drawn at random (2,000 per run, SL_SEED repeats one) and read from
tests/golden/schemas. For each, random texts of its grammar are given to python3-jsonschema;
values made apart from the grammar have to match it where they are valid, and must not where
they are not. Valid is what jsonschema accepts of the schema with what schema.h says to be
left out (schema_rules.py); members are put in the order that it promises. Schemas with
something that cannot be enforced are refused with its path. Grammars are read by gbnf.py.
"""
import collections
import json
import os
import random
import re
import subprocess

import jsonschema
import pytest

import gbnf
import schema_draw
import schema_rules

HERE = os.path.dirname(os.path.abspath(__file__))
GOLDEN = os.path.join(HERE, '..', 'golden', 'schemas')
PEER = os.environ.get('SL_SCHEMA_PEER')
SEED = int(os.environ.get('SL_SEED', random.SystemRandom().randrange(1 << 32)))
N_SCHEMAS = int(os.environ.get('SL_N_SCHEMAS', 2000))
N_TEXTS = 4
N_VALUES = 4


def ours(schemas, closed=False):
    """The peer's answers for these schemas."""
    if not PEER:
        pytest.skip('SL_SCHEMA_PEER is not set: run through meson test')
    lines = [json.dumps({'schema': json.dumps(s), 'closed': closed}) + '\n' for s in schemas]
    result = subprocess.run([PEER], input=''.join(lines).encode(), stdout=subprocess.PIPE,
                            check=True, timeout=300)
    answers = [json.loads(line) for line in result.stdout.decode().rstrip('\n').split('\n')]
    assert len(answers) == len(lines)
    return answers


class Case:
    """A schema, its grammar, and who says what the grammar has to match."""

    def __init__(self, schema, answer, formats=None):
        assert 'gbnf' in answer, (schema, answer)
        self.schema = schema
        self.answer = answer
        self.grammar = gbnf.Grammar(answer['gbnf'])
        self.standard = schema_rules.validator(schema)
        self.meant = schema_rules.validator(schema_rules.meant(schema), is_meant=True)
        self.certain = schema_rules.validator(schema_rules.meant(schema, formats), is_meant=True)
        self.order = schema_rules.Order(self.certain)

    def show(self, text):
        return f'seed {SEED}\n{json.dumps(self.schema)}\n{self.answer["gbnf"]}\n{text!r}'

    def check_texts(self, rng, n):
        """Texts of the grammar are valid."""
        for _ in range(n):
            text = self.grammar.draw(rng, rng.choice([5, 8, 12]))
            assert len(re.findall(r'\s{35}', re.sub(r'"(\\.|[^"\\])*"', 's', text))) == 0
            for check in (self.standard, self.meant):
                try:
                    check.validate(json.loads(text))
                except jsonschema.ValidationError as error:
                    pytest.fail(f'{error.message}\n{self.show(text)}')

    def check_value(self, value, rng):
        """A valid value matches, another does not. Gives 1, -1; 0: of a format, perhaps."""
        if self.certain.is_valid(value):
            assert self.standard.is_valid(value), self.show(value)
            text = write(self.order.put(value), rng)
            assert self.grammar.matches(text), self.show(text)
            return 1
        if self.meant.is_valid(value) and self.standard.is_valid(value):
            return 0
        text = write(value, rng)
        assert not self.grammar.matches(text), self.show(text)
        return -1


def write(value, rng):
    """The value in one of the layouts that a grammar allows."""
    style = rng.randrange(3)
    return schema_rules.dumps(value, [(',', ':', None), (', ', ': ', None), (',', ': ', 2)][style])


def test_random_schemas():
    print(f'SL_SEED={SEED}')
    rng = random.Random(SEED)
    schemas = [schema_draw.Drawer(rng).document() for _ in range(N_SCHEMAS)]
    found = collections.Counter()
    for schema, answer in zip(schemas, ours(schemas)):
        case = Case(schema, answer, schema_draw.FORMATS)
        case.check_texts(rng, N_TEXTS)
        for _ in range(N_VALUES):
            value = schema_draw.Maker(schema, rng).make()
            found['made', case.check_value(value, rng)] += 1
            found['mutated', case.check_value(schema_draw.mutate(value, rng), rng)] += 1
    print(f'values by whether they are valid: {sorted(found.items())}')
    assert found['made', 1] > 2 * N_SCHEMAS
    assert found['mutated', 1] > N_SCHEMAS / 2 and found['mutated', -1] > N_SCHEMAS / 2


def test_random_unsupported():
    rng = random.Random(SEED + 1)
    cases = [schema_draw.Drawer(rng).unsupported() for _ in range(N_SCHEMAS)]
    for (schema, path), answer in zip(cases, ours([schema for schema, _ in cases])):
        path = path.replace('\n', ' ') + ':'  # errors are one line
        assert answer.get('error', '').startswith(path), (schema, answer, path)
        assert answer['code'] in (-95, -34), answer


def test_closed():
    rng = random.Random(SEED + 2)
    schemas = [schema_draw.Drawer(rng).document() for _ in range(N_SCHEMAS // 10)]
    for schema, answer in zip(schemas, ours(schemas, closed=True)):
        if 'gbnf' in answer:
            Case(schema, answer).check_texts(rng, 2)
        else:
            assert re.search('no finite value|no such member', answer['error']), answer
    schema = {'properties': {'a': {'type': 'integer'}}, 'type': 'object'}
    answer = ours([schema], closed=True)[0]
    grammar = gbnf.Grammar(answer['gbnf'])
    assert grammar.matches('{"a":1}') and not grammar.matches('{"b":1}')


def golden(name):
    with open(os.path.join(GOLDEN, name), encoding='utf-8') as file:
        return json.load(file)


def test_written_by_hand():
    cases = golden('supported.json')
    rng = random.Random(SEED + 3)
    assert len(cases) >= 50
    for entry, answer in zip(cases, ours([case['schema'] for case in cases])):
        assert 'gbnf' in answer, f"{entry['name']}: {answer}"
        case = Case(entry['schema'], answer)
        case.check_texts(rng, 20)
        for value in entry['valid']:
            assert case.standard.is_valid(value), f"{entry['name']}: {value}"
            assert case.check_value(value, rng) == 1, f"{entry['name']}: {value}"
        for value in entry['invalid']:
            assert not case.standard.is_valid(value), f"{entry['name']}: {value}"
            assert case.check_value(value, rng) == -1, f"{entry['name']}: {value}"
        for value in entry.get('left out', []):
            assert case.standard.is_valid(value), f"{entry['name']}: {value}"
            assert case.check_value(value, rng) == -1, f"{entry['name']}: {value}"


def test_refused_by_hand():
    cases = golden('refused.json')
    for case, answer in zip(cases, ours([case['schema'] for case in cases])):
        assert answer.get('error', '').startswith(case['error']), (case, answer)


def test_any_object():
    result = subprocess.run([PEER], input=b'{"any_object": true}\n', stdout=subprocess.PIPE,
                            check=True, timeout=100)
    grammar = gbnf.Grammar(json.loads(result.stdout)['gbnf'])
    rng = random.Random(SEED + 4)
    for _ in range(200):
        assert isinstance(json.loads(grammar.draw(rng)), dict)
        value = schema_draw.any_value(rng, 3)
        assert grammar.matches(write(value, rng)) == isinstance(value, dict)


def test_large_counts_stay_small():
    for least, most in [(0, 300), (299, 300), (300, 70000), (5000, 5000), (0, 4000000), (17, 999)]:
        schema = {'type': 'string', 'minLength': least, 'maxLength': most}
        text = ours([schema])[0]['gbnf']
        assert all(int(n) <= 2000 for n in re.findall(r'[{,](\d+)', text))
        grammar = gbnf.Grammar(text)
        for n in {least - 1, least, least + 1, (least + most) // 2, most - 1, most, most + 1}:
            if 0 <= n <= 6000:
                text = '"' + 'x' * n + '"'
                assert grammar.matches(text) == (least <= n <= most), (n, least, most)
