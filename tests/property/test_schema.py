"""Grammars of JSON schemas: what they write validates, and what validates they allow.

Schemas are drawn at random (2,000 per run, SL_SEED repeats one) and read from
tests/golden/schemas. For each, random texts of its grammar are given to python3-jsonschema;
values made apart from the grammar that jsonschema accepts have to match it, in the order and
spelling that schema.h promises; what jsonschema rejects must not. Schemas with something
that cannot be enforced are refused with its path. Grammars are read by gbnf.py.
"""
import json
import os
import random
import re
import subprocess

import jsonschema
import pytest

import gbnf
import schema_draw

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


def check_pattern(validator, pattern, instance, schema):
    # \d and \w as ECMA-262 has them
    if isinstance(instance, str) and not re.search(pattern, instance, re.ASCII):
        yield jsonschema.ValidationError(f'{instance!r} does not match {pattern!r}')


def validator(schema):
    kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    kind.check_schema(schema)
    kind = jsonschema.validators.extend(kind, {'pattern': check_pattern})
    return kind(schema, format_checker=jsonschema.draft202012_format_checker)


MISSED = []  # valid values that a grammar refused needlessly


def show(schema, answer, text):
    return f'seed {SEED}\n{json.dumps(schema)}\n{answer.get("gbnf", answer)}\n{text!r}'


def write(value, rng):
    """The value in one of the layouts that a grammar allows."""
    style = rng.randrange(3)
    return schema_draw.dumps(value, [(',', ':', None), (', ', ': ', None), (',', ': ', 2)][style])


def check_texts(schema, answer, check, grammar, rng, n):
    for _ in range(n):
        text = grammar.draw(rng, rng.choice([5, 8, 12]))
        assert len(re.findall(r'\s{35}', re.sub(r'"(\\.|[^"\\])*"', 's', text))) == 0
        try:
            check.validate(json.loads(text))
        except jsonschema.ValidationError as error:
            pytest.fail(f'{error.message}\n{show(schema, answer, text)}')


def check_value(schema, answer, check, grammar, value, rng, must_match=True):
    text = write(value, rng)
    if not check.is_valid(value):
        assert not grammar.matches(text), show(schema, answer, text)
        return 0
    # branches of oneOf are kept apart by refusing some members that none of them names
    if must_match and '"oneOf"' not in json.dumps(schema) and not grammar.matches(text):
        MISSED.append(show(schema, answer, text))
    return 1


def test_random_schemas():
    print(f'SL_SEED={SEED}')
    rng = random.Random(SEED)
    schemas = [schema_draw.Drawer(rng).document() for _ in range(N_SCHEMAS)]
    n_valid = n_invalid = 0
    for schema, answer in zip(schemas, ours(schemas)):
        assert 'gbnf' in answer, show(schema, answer, '')
        check = validator(schema)
        grammar = gbnf.Grammar(answer['gbnf'])
        check_texts(schema, answer, check, grammar, rng, N_TEXTS)
        for _ in range(N_VALUES):
            value = schema_draw.Maker(schema, rng).make()
            good = check_value(schema, answer, check, grammar, value, rng)
            n_valid += good
            other = schema_draw.mutate(value, rng)
            n_invalid += 1 - check_value(schema, answer, check, grammar, other, rng, False)
    print(f'{n_valid} values that are valid, {n_invalid} that are not')
    assert n_valid > 2 * N_SCHEMAS and n_invalid > N_SCHEMAS / 2
    assert len(MISSED) <= n_valid // 100, '\n'.join(MISSED[:3])  # narrowing must stay rare


def test_random_unsupported():
    rng = random.Random(SEED + 1)
    cases = [schema_draw.Drawer(rng).unsupported() for _ in range(N_SCHEMAS)]
    for (schema, path), answer in zip(cases, ours([schema for schema, _ in cases])):
        path = path.replace('\n', ' ') + ':'  # errors are one line
        assert answer.get('error', '').startswith(path), show(schema, answer, path)
        assert answer['code'] in (-95, -34), answer


def test_closed():
    rng = random.Random(SEED + 2)
    schemas = [schema_draw.Drawer(rng).document() for _ in range(N_SCHEMAS // 10)]
    for schema, answer in zip(schemas, ours(schemas, closed=True)):
        if 'gbnf' in answer:
            check_texts(schema, answer, validator(schema), gbnf.Grammar(answer['gbnf']), rng, 2)
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
    for case, answer in zip(cases, ours([case['schema'] for case in cases])):
        schema = case['schema']
        assert 'gbnf' in answer, f"{case['name']}: {answer}"
        check = validator(schema)
        grammar = gbnf.Grammar(answer['gbnf'])
        check_texts(schema, answer, check, grammar, rng, 20)
        for value in case['valid']:
            assert check.is_valid(value), f"{case['name']}: {value}"
            check_value(schema, answer, check, grammar, value, rng)
        for value in case['invalid']:
            assert not check.is_valid(value), f"{case['name']}: {value}"
            check_value(schema, answer, check, grammar, value, rng)


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
