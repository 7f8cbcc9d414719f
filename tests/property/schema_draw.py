"""Random JSON schemas, values made for them, and values that are a little wrong.

Used by test_schema.py. The values are made from the schema's keywords.
"""
PATTERNS = {
    '^[a-z]+$': ['a', 'xyz'],
    '^[A-Z]{2}-[0-9]{3,5}$': ['AB-123', 'XY-00000'],
    '^(red|green|blue)$': ['red', 'blue'],
    '^#?[0-9a-fA-F]{6}$': ['#aBcDeF', '000000'],
    'ab+': ['ab', 'xx abbb "\\\n y', 'é ab'],
    '^a|b$': ['a\n', 'ab', 'q"b', 'b'],
    '^\\+?\\d{7,15}$': ['+1234567', '123456789012345'],
    '^[^\\s@]+@[^\\s@]+\\.[a-z]{2,}$': ['me@x.org'],
    '^\\w+(\\.\\w+)*$': ['a', 'a.b_c.D9'],
    '^.{1,3}$': ['é', '"\\x', 'abc'],
    '^(?:\\d{1,3},?)+$': ['1', '1,22,333'],
    '^([ab]*c?)d{0,2}$': ['', 'ababcdd', 'd'],
    '[\\u0041-\\u005a]\\x21': ['A!', ' Z! '],
    '^$': [''],
    '': ['', 'x'],
    '^\\/[\\w\\-]*\\/?$': ['/', '/a-b/', '/a'],
    '^[\\]\\[^-]+$': ['[]', '^-'],
    '^(a|(b|c){2}|)x+?$': ['x', 'ax', 'bcxx'],
}
# as a schema narrows them: pattern, the length range, good strings
NARROWED = [
    ('^[a-z_]*$', 2, 4, ['ab', 'abc_']),
    ('^[a-z][a-z0-9-]*$', 0, 6, ['a', 'a-9bcd']),
    ('^(x+|\\d{2,9})$', 3, 5, ['xxx', '12345']),
    ('^.*$', 1, 3, ['a', '"é\\']),
    ('^ab$', 1, 9, ['ab']),
]
FORMATS = {
    'date': ['2024-02-29', '1999-12-31'],
    'date-time': ['2024-02-29T23:59:59.123Z', '2001-01-01T00:00:00+02:00'],
    'time': ['12:00:00Z', '23:59:59.5-01:30'],
    'uuid': ['123e4567-e89b-12d3-a456-426614174000'],
    'ipv4': ['0.0.0.0', '255.249.10.99'],
    'ipv6': ['::', '::1', '2001:db8::ff00:42:8329', '1:2:3:4:5:6:7:8'],
    'email': ['a.b+c@example.org'],
    'hostname': ['localhost', 'a-b.example.com'],
    'uri': ['https://a.b/c?d=e#f', 'mailto:x@y.z'],
    'duration': ['P3Y6M4D', 'PT12H', 'P1W'],
    'int32': ['anything'],
    'x-own': ['é'],
}
KEYS = ['name', 'id', 'a', 'b', 'ab', 'abc', 'type', 'kind', 'größe', 'x y', 'q"t', 'b\\s', 'n\nl',
        '😀', '$ref-like', 'A', 'names', 'not', '~t/s', '']
STRINGS = ['', 'a', 'xyz', 'é', '"', '\\', '\n', '\x01', '😀', 'true', '1', 'a/b', '\x7f', '日本',
           'ab']
FOREIGN = ['not', 'zzz', 'nam', 'namex', 'ß', 'idd', '-', '0', 'q"', 'b\\', 'n\tl', '\x01', '\\u00']


def any_value(rng, depth):
    kind = rng.randrange(8 if depth else 6)
    if kind < 6:
        return [None, True, rng.randrange(-20, 20), rng.randrange(-40, 40) / 8,
                rng.choice(STRINGS), False][kind]
    if kind == 6:
        return [any_value(rng, depth - 1) for _ in range(rng.randrange(3))]
    return {rng.choice(KEYS): any_value(rng, depth - 1) for _ in range(rng.randrange(3))}


class Drawer:
    """One random schema. Keywords stand in any order; definitions are at the root."""

    def __init__(self, rng):
        self.rng = rng
        self.defs = {}
        self.finished = []  # definitions that may be referred to
        self.spots = []
        self.counted = True  # most items and members may be limited

    def document(self):
        schema = self.schema(3)
        if self.defs:
            schema['$defs'] = self.defs
        return schema

    def chance(self, p):
        return self.rng.random() < p

    def keep(self, schema, node_type, path):
        self.spots.append((schema, node_type, path))
        return schema

    def schema(self, depth, path='#'):
        kinds = [self.string, self.integer, self.number, self.plain, self.enumeration]
        if depth > 0:
            kinds += [self.object, self.object, self.array, self.any_of, self.all_of,
                      self.one_of, self.reference, self.types]
        if path == '#':
            kinds = kinds[:5] + [self.object, self.array] * 8 + kinds[5:]
        schema = self.rng.choice(kinds)(depth, path)
        if self.chance(0.2):
            schema['description'] = 'not: {} is only a word here'
        if self.chance(0.1):
            schema['default'] = any_value(self.rng, 1)
        items = list(schema.items())
        self.rng.shuffle(items)
        schema.clear()
        schema.update(items)
        return schema

    def plain(self, _, path):
        schema = self.rng.choice([{'type': 'boolean'}, {'type': 'null'}, {}, {'type': 'string'},
                                  {'type': 'object'}, {'type': 'array'}, {'type': 'number'}])
        return self.keep(schema, schema.get('type'), path)

    def string(self, _, path):
        rng = self.rng
        schema = {'type': 'string'}
        kind = rng.randrange(6)
        if kind == 0:
            schema['pattern'] = rng.choice(list(PATTERNS))
        elif kind == 1:
            schema['format'] = rng.choice(list(FORMATS))
        elif kind == 2:
            schema['pattern'], least, most, _ = rng.choice(NARROWED)
            schema.update(minLength=least, maxLength=most)
        else:
            least = rng.randrange(4)
            if self.chance(0.6):
                schema['minLength'] = least
            if self.chance(0.6):
                schema['maxLength'] = least + rng.choice([0, 1, 3, 400])
        if kind and self.chance(0.1) and len(schema) > 1:
            if schema.get('format') not in ('int32', 'x-own'):
                del schema['type']  # implied
        return self.keep(schema, 'string', path)

    def bounds(self, schema, draw):
        low, high = sorted([draw(), draw()])
        if self.chance(0.7):
            schema[self.rng.choice(['minimum', 'minimum', 'exclusiveMinimum'])] = low
        if self.chance(0.7):
            schema[self.rng.choice(['maximum', 'maximum', 'exclusiveMaximum'])] = round(high + 2, 6)
        return schema

    def integer(self, _, path):
        rng = self.rng
        schema = {'type': 'integer'}
        kind = rng.randrange(8)
        if kind < 6:
            size = 10 ** rng.randrange(1, 19)
            self.bounds(schema, lambda: rng.randrange(-size, size) if kind
                        else rng.randrange(-99, 99) + 0.5)
        elif kind == 6:
            schema['multipleOf'] = rng.choice([1, 2, 5, 10, 100])
        else:
            schema.update(minimum=rng.randrange(-50, 50), multipleOf=rng.choice([3, 7, 4]))
            schema['maximum'] = schema['minimum'] + rng.randrange(20, 300)
        return self.keep(schema, 'integer', path)

    def number(self, _, path):
        rng = self.rng
        digits = rng.randrange(6)
        size = 10 ** rng.randrange(1, 6)
        return self.keep(self.bounds({'type': 'number'},
                                     lambda: round(rng.uniform(-size, size), digits)),
                         'number', path)

    def enumeration(self, _, __):
        values = [any_value(self.rng, 2) for _ in range(self.rng.randrange(1, 5))]
        return {'const': values[0]} if self.chance(0.3) else {'enum': values}

    def object(self, depth, path):
        rng = self.rng
        keys = rng.sample(KEYS, rng.randrange(5))
        schema = {'type': 'object', 'properties': {}}
        for key in keys:
            step = key.replace('~', '~0').replace('/', '~1')
            schema['properties'][key] = self.schema(depth - 1, f'{path}/properties/{step}')
        if not keys and self.chance(0.7):
            del schema['properties']
        schema['required'] = [key for key in keys if self.chance(0.5)]
        rng.shuffle(schema['required'])
        kind = rng.randrange(5)
        if kind == 0:
            schema['additionalProperties'] = self.schema(0, f'{path}/additionalProperties')
        elif kind < 3:
            schema['additionalProperties'] = False
        elif kind == 3 and self.chance(0.3):
            schema['required'].append('extra')
        if not schema['required'] and self.chance(0.7):
            del schema['required']
        if self.chance(0.15):
            schema['minProperties'] = rng.randrange(len(keys) + 1)
        if self.counted and self.chance(0.15):
            schema['maxProperties'] = max(schema.get('minProperties', 0),
                                          len(schema.get('required', []))) + rng.randrange(1, 4)
        if not keys and 'required' not in schema and kind != 1 and self.chance(0.5):
            schema.pop('additionalProperties', None)
            schema['patternProperties'] = {'^x-': self.schema(0, f'{path}/patternProperties/^x-')}
            schema.pop('minProperties', None)
        return self.keep(schema, 'object', path)

    def array(self, depth, path):
        rng = self.rng
        schema = {'type': 'array'}
        n_prefix = rng.choice([0, 0, 0, 1, 2, 3])
        if n_prefix:
            schema['prefixItems'] = [self.schema(depth - 1, f'{path}/prefixItems/{i}')
                                     for i in range(n_prefix)]
        if self.chance(0.8):
            schema['items'] = self.schema(depth - 1, f'{path}/items')
        elif n_prefix and self.chance(0.5):
            schema['items'] = False
        least = rng.randrange(n_prefix + 1 if schema.get('items') is False else 4)
        if self.chance(0.4):
            schema['minItems'] = least
        if self.counted and self.chance(0.4):
            schema['maxItems'] = least + rng.choice([0, 1, 2, 5, 300])
        return self.keep(schema, 'array', path)

    def any_of(self, depth, path):
        return {'anyOf': [self.schema(depth - 1, f'{path}/anyOf/{i}')
                          for i in range(self.rng.randrange(1, 4))]}

    def one_of(self, depth, path):
        """Branches told apart by a constant, or by their types."""
        if self.chance(0.3):
            return {'oneOf': [{**self.string(0, f'{path}/oneOf/0'), 'type': 'string'},
                              {'type': 'null'},
                              self.array(depth - 1, f'{path}/oneOf/2')]}
        branches = []
        for i in range(self.rng.randrange(1, 4)):
            branch = self.object(depth - 1, f'{path}/oneOf/{i}')
            branch.pop('patternProperties', None)
            branch.pop('maxProperties', None)
            branch.setdefault('properties', {})['kind'] = {'const': f'k{i}'}
            branch['required'] = sorted(set(branch.get('required', [])) - {'extra'} | {'kind'})
            branches.append(branch)
        return {'oneOf': branches}

    def all_of(self, depth, path):
        rng = self.rng
        if self.chance(0.5):
            return {'allOf': [{'type': 'string', 'minLength': rng.randrange(3)},
                              {'maxLength': 3 + rng.randrange(9)}]}
        keys = rng.sample(KEYS, 3)
        parts = [{'properties': {key: self.schema(0, f'{path}/allOf/{i}/properties/' +
                                                  key.replace('~', '~0').replace('/', '~1'))},
                  'required': [key] if self.chance(0.5) else []} for i, key in enumerate(keys)]
        schema = {'allOf': parts}
        if self.chance(0.5):
            schema['type'] = 'object'
        return schema

    def reference(self, depth, _):
        if self.finished and self.chance(0.6):
            return {'$ref': '#/$defs/' + self.rng.choice(self.finished)}
        name = f'd{len(self.defs)}'
        self.defs[name] = {'type': 'null'}  # in the meantime
        if self.chance(0.5):  # a list of itself
            self.defs[name] = {'type': 'object', 'properties': {
                'value': self.schema(0, f'#/$defs/{name}/properties/value'),
                'next': {'anyOf': [{'$ref': f'#/$defs/{name}'}, {'type': 'null'}]}},
                'required': ['value']}
        else:
            self.defs[name] = self.schema(depth - 1, f'#/$defs/{name}')
        self.finished.append(name)
        return {'$ref': f'#/$defs/{name}'}

    def types(self, _, __):
        kinds = ['string', 'integer', 'number', 'boolean', 'null', 'array', 'object']
        return {'type': self.rng.sample(kinds, self.rng.randrange(1, 4)), 'minLength': 1,
                'maxLength': 3, 'minimum': -2}

    def unsupported(self):
        """A schema, and the path of what cannot be enforced in it."""
        rng = self.rng
        self.counted = False
        schema = self.document()
        node, kind, path = rng.choice(self.spots) if self.spots else (schema, None, '#')
        if any(word in path for word in ('oneOf', 'anyOf')) or not self.is_reached(schema, node):
            schema, node, kind, path = {}, None, None, '#'
            node = schema
        general = {'not': {'type': 'null'}, 'if': {'type': 'null'}, '$dynamicRef': '#a',
                   '$id': 'http://x.org/y', '$ref': 'http://x.org/y'}
        special = {
            'string': {'format': rng.choice(['regex', 'iri']),
                       'pattern': rng.choice(['(?=a)b', 'a(?!b)', '(?<=a)b', '(a)\\1', '\\bx',
                                              'a^b', '\\p{L}', '(a?b?)*'])},
            'array': {'uniqueItems': True, 'contains': {'type': 'null'},
                      'unevaluatedItems': False},
            'object': {'dependentRequired': {'a': ['b']},
                       'dependentSchemas': {'a': {'minLength': 1}},
                       'unevaluatedProperties': False},
            'integer': {'multipleOf': 0.5},
            'number': {'multipleOf': 0.01},
        }
        choices = dict(general)
        if path == '#':
            del choices['$id']
        choices.update(special.get(kind, {}))
        word = rng.choice(list(choices))
        if word in ('pattern', 'format'):
            node.pop('pattern', None)
            node.pop('format', None)
        node[word] = choices[word]
        return schema, f'{path}/{word}'

    @staticmethod
    def is_reached(schema, node):
        """Whether node is in the schema, and not only in a definition that nothing uses."""
        stack, used = [schema], set()
        while stack:
            item = stack.pop()
            if item is node:
                return True
            if isinstance(item, dict):
                stack.extend(value for word, value in item.items() if word != '$defs')
                if '$ref' in item and item['$ref'] not in used:
                    used.add(item['$ref'])
                    stack.append(schema['$defs'][item['$ref'].split('/')[-1]])
            elif isinstance(item, list):
                stack.extend(item)
        return False


class Maker:
    """A value for a schema, made by its keywords alone."""

    def __init__(self, root, rng):
        self.root = root
        self.rng = rng

    def make(self):
        return self.value([self.root], 4)

    def flatten(self, schemas):
        out = []
        for schema in schemas:
            if not isinstance(schema, dict):
                continue
            out.append(schema)
            if '$ref' in schema:
                target = self.root
                for step in schema['$ref'].split('/')[1:]:
                    target = target[step]
                out += self.flatten([target])
            out += self.flatten(schema.get('allOf', []))
        for schema in list(out):
            for word in ('anyOf', 'oneOf'):
                if word in schema and not any(schema is s for s in self.chosen):
                    self.chosen.append(schema)
                    out += self.flatten([self.rng.choice(schema[word])])
        return out

    def value(self, schemas, depth):
        self.chosen = []
        parts = self.flatten(schemas)
        rng = self.rng
        get = lambda word: [part[word] for part in parts if word in part]
        for values in get('enum') + [[const] for const in get('const')]:
            return rng.choice(values)
        types = get('type')
        words = {word for part in parts for word in part}
        if not types:
            for kind, owned in [('string', {'pattern', 'format', 'minLength', 'maxLength'}),
                                ('object', {'properties', 'required'})]:
                if words & owned:
                    types = [kind]
        if not types:
            return any_value(rng, 1)
        kind = types[0] if isinstance(types[0], str) else rng.choice(types[0])
        return getattr(self, 'make_' + kind)(parts, get, depth)

    def make_null(self, *_):
        return None

    def make_boolean(self, *_):
        return self.rng.random() < 0.5

    def make_string(self, parts, get, _):
        rng = self.rng
        least, most = max(get('minLength'), default=0), min(get('maxLength'), default=8)
        for pattern in get('pattern'):
            for narrowed, low, high, good in NARROWED:
                if (narrowed, low, high) == (pattern, least, most):
                    return rng.choice(good)
            return rng.choice(PATTERNS[pattern])
        for name in get('format'):
            return rng.choice(FORMATS[name])
        alphabet = 'abé"\\\n\t\x02😀日/ \x7f'
        n = rng.randint(least, min(most, least + 6))
        return ''.join(rng.choice(alphabet) for _ in range(n))

    def range(self, get):
        low = max(get('minimum') + get('exclusiveMinimum'), default=None)
        high = min(get('maximum') + get('exclusiveMaximum'), default=None)
        if low is None and high is None:
            low = -1000
        low = high - 2000 if low is None else low
        return low, low + 2000 if high is None else high

    def make_integer(self, parts, get, _):
        low, high = self.range(get)
        step = max(get('multipleOf'), default=1)
        first = int(low // 1) if low < 0 else int(low)
        value = self.rng.choice([first, first + 1, int(high), int(high) - 1,
                                 self.rng.randint(first, max(first, int(high)))])
        return value - value % step

    def make_number(self, parts, get, _):
        low, high = self.range(get)
        value = self.rng.choice([low, high, round(self.rng.uniform(low, high), 3), int(high),
                                 int(low), (low + high) / 2, low + 0.125, high - 0.25])
        return round(value, 8) if abs(value) >= 1e-3 else 0

    def make_array(self, parts, get, depth):
        rng = self.rng
        prefix = max(get('prefixItems'), key=len, default=[])
        least, most = max(get('minItems'), default=0), min(get('maxItems'), default=9)
        if False in get('items'):
            most = min(most, len(prefix))
        n = rng.randint(least, max(least, min(most, least + 2 if depth > 0 else 0)))
        items = []
        for i in range(n):
            schemas = [prefix[i]] if i < len(prefix) else get('items')
            items.append(self.value(schemas, depth - 1))
        return items

    def make_object(self, parts, get, depth):
        rng = self.rng
        named = {}
        for part in parts:
            for key in part.get('properties', {}):
                named.setdefault(key, None)
        required = [key for keys in get('required') for key in keys]
        for key in required:
            named.setdefault(key, None)
        most = min(get('maxProperties'), default=99)
        least = max(get('minProperties'), default=0)
        out = {}
        share = 0.5 if depth > 0 else 0
        wanted = [key for key in named if key in required or rng.random() < share]
        for key in named:
            if len(wanted) < least and key not in wanted:
                wanted.append(key)
        if len(wanted) > most:
            wanted = [key for key in wanted if key in required]
        for key in named:
            if key in wanted:
                schemas = [part['properties'][key] if key in part.get('properties', {})
                           else part.get('additionalProperties', {}) for part in parts]
                out[key] = self.value(schemas, depth - 1)
        if get('patternProperties'):
            if rng.random() < 0.5 and most > 0:
                out['x-1'] = self.value([p['^x-'] for p in get('patternProperties')], depth - 1)
        elif False not in get('additionalProperties') and rng.random() < 0.5 and len(out) < most:
            key = rng.choice(FOREIGN)
            if key not in named:
                out[key] = self.value(get('additionalProperties'), depth - 1)
        return out


def mutate(value, rng):
    """Something like value, but perhaps not valid any more."""
    if isinstance(value, dict) and value and rng.random() < 0.7:
        key = rng.choice(list(value))
        if rng.random() < 0.3:
            return {k: v for k, v in value.items() if k != key}
        return {k: mutate(v, rng) if k == key else v for k, v in value.items()}
    if isinstance(value, list) and value and rng.random() < 0.7:
        i = rng.randrange(len(value))
        if rng.random() < 0.3:
            return value[:i] + value[i + 1:]
        return value[:i] + [mutate(value[i], rng)] + value[i + 1:]
    kind = rng.randrange(5)
    if isinstance(value, str) and kind < 3:
        return rng.choice([value + 'x', value[:-1], value + '\n', 'Z' + value])
    if isinstance(value, (int, float)) and not isinstance(value, bool) and kind < 3:
        other = value + rng.choice([1, -1, 0.5, 1000, -1000, 3])
        return round(other, 8) if isinstance(other, float) else other  # 15 digits in all
    if isinstance(value, list) and kind == 3:
        return value + [rng.choice(STRINGS)]
    if isinstance(value, dict) and kind == 3:
        return {**value, rng.choice(FOREIGN): 1}
    return any_value(rng, 1)
