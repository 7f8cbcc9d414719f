"""A slow matcher for grammars, to hold the fast one against.

A grammar is {name: expression}; expressions are tuples:
    ('chars', frozenset)  ('any',)  ('seq', e...)  ('alt', e...)  ('rep', e, least, most)
    ('rule', name)
judge(expand(grammar), text) says whether text is a match or the beginning of one, by Earley's
algorithm. Written apart from the C code, over characters and not bytes, without stacks.
"""


def expand(grammar):
    """Plain productions {name: [[symbol]]}; a symbol is a name (str) or a frozenset/None."""
    rules = {}

    def name_for(productions):
        name = f'_{len(rules)}'
        rules[name] = productions
        return name

    def symbols(e):
        kind = e[0]
        if kind == 'chars':
            return [e[1]]
        if kind == 'any':
            return [None]
        if kind == 'rule':
            return [e[1]]
        if kind == 'seq':
            return [s for part in e[1:] for s in symbols(part)]
        if kind == 'alt':
            return [name_for([symbols(part) for part in e[1:]])]
        _, inner, least, most = e
        one = symbols(inner)
        if most is None:
            loop = f'_{len(rules)}'
            rules[loop] = [[], one + [loop]]
            return one * least + [loop]
        rest = []
        for _ in range(most - least):
            rest = [name_for([[], one + rest])]
        return one * least + rest

    for name, e in grammar.items():
        rules[name] = [symbols(e)]
    return rules


def nullable_rules(rules):
    found = set()
    while True:
        more = {name for name, productions in rules.items() if name not in found
                and any(all(isinstance(s, str) and s in found for s in p) for p in productions)}
        if not more:
            return found
        found |= more


def productive(rules):
    found = set()
    while True:
        more = {name for name, productions in rules.items() if name not in found
                and any(all(not isinstance(s, str) or s in found for s in p)
                        for p in productions)}
        if not more:
            return found
        found |= more


def left_recursive(rules, root='root'):
    """Whether a named rule that root can reach can begin with itself."""
    empty = nullable_rules(rules)
    first = {}
    for name, productions in rules.items():
        first[name] = set()
        for p in productions:
            for s in p:
                if isinstance(s, str):
                    first[name].add(s)
                if not (isinstance(s, str) and s in empty):
                    break
    reach, todo = {root}, [root]
    while todo:
        for p in rules[todo.pop()]:
            for s in p:
                if isinstance(s, str) and s not in reach:
                    reach.add(s)
                    todo.append(s)
    for name in reach:
        if name.startswith('_'):
            continue  # only a repetition of nothing does so, unless a named rule does
        seen, todo = set(), list(first[name])
        while todo:
            s = todo.pop()
            if s == name:
                return True
            if s not in seen:
                seen.add(s)
                todo += first[s]
    return False


def judge(rules, text, root='root'):
    """0: nothing that begins with text matches; 1: something does; 2: text itself."""
    empty = nullable_rules(rules)
    columns = []
    items = {(root, k, 0, 0) for k in range(len(rules[root]))}
    for i in range(len(text) + 1):
        column, todo = set(), list(items)
        while todo:
            item = todo.pop()
            if item in column:
                continue
            column.add(item)
            name, k, dot, start = item
            production = rules[name][k]
            if dot == len(production):
                origin = columns[start] if start < i else column
                todo += [(n, j, d + 1, s) for n, j, d, s in origin
                         if d < len(rules[n][j]) and rules[n][j][d] == name]
                continue
            symbol = production[dot]
            if isinstance(symbol, str):
                todo += [(symbol, j, 0, i) for j in range(len(rules[symbol]))]
                if symbol in empty:
                    todo.append((name, k, dot + 1, start))
        columns.append(column)
        if i == len(text):
            break
        items = set()
        for name, k, dot, start in column:
            production = rules[name][k]
            if dot < len(production) and not isinstance(production[dot], str):
                if production[dot] is None or text[i] in production[dot]:
                    items.add((name, k, dot + 1, start))
        if not items:
            return 0
    done = any(name == root and dot == len(rules[name][k]) and start == 0
               for name, k, dot, start in columns[-1])
    return 2 if done else 1
