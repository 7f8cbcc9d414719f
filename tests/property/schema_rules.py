"""What src/text/schema.h promises about the grammars of schemas, written apart from them.

meant() states in a schema what a grammar leaves out of the valid values; Order puts the
members of a value where the grammar has them, dumps() writes it. Used by test_schema.py,
with python3-jsonschema to say what is valid.
"""
import decimal
import functools
import json
import re

import jsonschema

SCHEMAS_BY_NAME = {'properties', 'patternProperties', '$defs', 'definitions'}
SCHEMAS = {'allOf', 'anyOf', 'oneOf', 'prefixItems', 'items', 'additionalItems',
           'additionalProperties', 'propertyNames'}
SPOKEN_OF = {
    'string': {'minLength', 'maxLength', 'pattern', 'format'},
    'number': {'minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum', 'multipleOf'},
    'array': {'prefixItems', 'items', 'additionalItems', 'minItems', 'maxItems'},
    'object': {'properties', 'required', 'additionalProperties', 'patternProperties',
               'propertyNames', 'minProperties', 'maxProperties'},
}
FORMATS = {'date', 'time', 'date-time', 'duration', 'email', 'hostname', 'ipv4', 'ipv6', 'uri',
           'uuid'}  # others are remarks
TYPED_ELSEWHERE = {'type', 'enum', 'const', '$ref', 'allOf', 'anyOf', 'oneOf'}


def meant(schema, formats=None):
    """The schema with the type that its keywords mean, and with no names but its pattern's.

    Each schema is looked at alone: where it has no type, those that hold together with it
    must have none either, or the same. formats: by format, texts that certainly have it.
    These are demanded instead, for jsonschema may check less; None: formats stay.
    """
    if isinstance(schema, list):
        return [meant(item, formats) for item in schema]
    if not isinstance(schema, dict):
        return schema
    out = {}
    for word, value in schema.items():
        if word in SCHEMAS_BY_NAME:
            out[word] = {name: meant(item, formats) for name, item in value.items()}
        elif word in SCHEMAS:
            out[word] = meant(value, formats)
        elif word == 'format' and formats and value in FORMATS:
            out['enum'] = formats[value]
        else:
            out[word] = value
    words = set(schema) - ({'format'} if schema.get('format') not in FORMATS else set())
    kinds = [kind for kind, spoken in SPOKEN_OF.items() if spoken & words]
    if len(kinds) == 1 and not TYPED_ELSEWHERE & words:
        out['type'] = kinds[0]
    if 'patternProperties' in out:
        out['additionalProperties'] = False
    return out


def check_pattern(_, pattern, instance, __):
    # \d and \w as ECMA-262 has them, and $ at the very end only
    pattern = re.sub(r'(\\.|\[(?:\\.|[^\]\\])*\])|\$', lambda m: m.group(1) or r'\Z', pattern)
    if isinstance(instance, str) and not re.search(pattern, instance, re.ASCII):
        yield jsonschema.ValidationError(f'{instance!r} does not match {pattern!r}')


def check_least(_, least, instance, schema):
    # of members that the schema does not name one counts
    named = {*schema.get('properties', ()), *schema.get('required', ())}
    if isinstance(instance, dict):
        n_named = len(named & set(instance))
        if n_named + (len(instance) > n_named) < least:
            yield jsonschema.ValidationError(f'{instance!r} has too few members')


def is_same(a, b):
    """Equal as JSON: to Python, and to jsonschema inside of arrays and objects, False is 0."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(is_same, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(is_same(a[key], b[key]) for key in a)
    return a == b


def check_enum(_check, values, value, _schema):
    if not any(is_same(value, one) for one in values):
        yield jsonschema.ValidationError(f'{value!r} is not one of {values!r}')


def check_const(_check, constant, value, _schema):
    if not is_same(value, constant):
        yield jsonschema.ValidationError(f'{value!r} is not {constant!r}')


@functools.lru_cache(None)
def extended(kind, is_meant):
    checks = {'minProperties': check_least} if is_meant else {}
    return jsonschema.validators.extend(kind, {'pattern': check_pattern, 'enum': check_enum,
                                               'const': check_const, **checks})


def validator(schema, is_meant=False):
    """Of the draft that the schema names. is_meant: as meant() gives it."""
    kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    if not is_meant:
        kind.check_schema(schema)
    if isinstance(schema, dict):  # or evolve() would go back to the draft's own checks
        schema = {word: value for word, value in schema.items() if word != '$schema'}
    return extended(kind, is_meant)(schema,
                                    format_checker=jsonschema.draft202012_format_checker)


class Order:
    """Members where the grammar has them, for values that a validator finds valid."""

    def __init__(self, check):
        self.check = check

    def put(self, value, schemas=None):
        """The value for which all the schemas hold (the root's: None) as it is written."""
        for parts in self.leaves(self.gather([self.check.schema] if schemas is None else schemas)):
            if all(self.is_valid(value, part) for part in parts):
                return self.put_inside(value, parts)
        raise AssertionError(f'{value!r} is not valid')

    def is_valid(self, value, schema):
        return self.check.evolve(schema=schema).is_valid(value)

    def gather(self, schemas, parts=()):
        """parts, and behind them schemas, each with what it refers to and its allOf."""
        parts = list(parts)
        for schema in schemas:
            if schema is False:
                schema = {'not': {}}
            if schema is True or any(schema is part for part in parts):
                continue
            parts.append(schema)
            if '$ref' in schema:
                with self.check.resolver.resolving(schema['$ref']) as target:
                    parts = self.gather([target], parts)
            parts = self.gather(schema.get('allOf', []), parts)
        return parts

    def leaves(self, parts, done=()):
        """parts with one branch of each choice behind them, in all combinations."""
        for part in parts:
            for word in part:
                if word in ('anyOf', 'oneOf') and (id(part), word) not in done:
                    for branch in part[word]:
                        yield from self.leaves(self.gather([branch], parts),
                                               done + ((id(part), word),))
                    return
        yield parts

    def put_inside(self, value, parts):
        for part in parts:
            for constant in [part['const']] if 'const' in part else part.get('enum', []):
                if self.is_valid(value, {'const': constant}):
                    return constant
        if isinstance(value, float) and value.is_integer() and any(map(is_whole, parts)):
            return int(value)
        if isinstance(value, list):
            return [self.put(item, [schema for part in parts for schema in item_schema(part, i)])
                    for i, item in enumerate(value)]
        if isinstance(value, dict):
            named = [name for word in ('properties', 'required') for part in parts
                     for name in part.get(word, ())]
            return {name: self.put(value[name], [schema for part in parts
                                                 for schema in member_schema(part, name)])
                    for name in dict.fromkeys([*named, *value]) if name in value}
        return value


def is_whole(part):
    types = part.get('type', [])
    return 'multipleOf' in part or ('integer' in types and 'number' not in types)


def item_schema(part, i):
    """The part's schema for item i, if it has one, in a list."""
    old = isinstance(part.get('items'), list)
    prefix = part.get('items' if old else 'prefixItems', [])
    rest = part.get('additionalItems' if old else 'items', True)
    return [prefix[i] if i < len(prefix) else rest]


def member_schema(part, name):
    if name in part.get('properties', ()):
        return [part['properties'][name]]
    matching = [schema for pattern, schema in part.get('patternProperties', {}).items()
                if re.search(pattern, name)]
    return matching or [part.get('additionalProperties', True)]


def dumps(value, style, depth=0):
    """JSON as the grammars write it: json.dumps with numbers in plain digits."""
    comma, colon, indent = style
    if isinstance(value, (dict, list)):
        if isinstance(value, dict):
            items = [json.dumps(k, ensure_ascii=False) + colon + dumps(v, style, depth + 1)
                     for k, v in value.items()]
        else:
            items = [dumps(v, style, depth + 1) for v in value]
        before = '\n' + ' ' * indent * (depth + 1) if indent and items else ''
        after = '\n' + ' ' * indent * depth if indent and items else ''
        inner = (comma + before).join(items)
        opening, closing = '{}' if isinstance(value, dict) else '[]'
        return opening + before + inner + after + closing
    if isinstance(value, float) and abs(value) < 1e20:  # exact where repr() rounds to tens
        exact = decimal.Decimal(value if abs(value) > 1e15 else repr(value))
        return format(exact, 'f')
    return json.dumps(value, ensure_ascii=False)
