"""Chat templates: our rendering equals Jinja's, for the vectors and for random conversations.

The vectors in SL_SHARED (vectors/chat.json) hold the exact text of three published
templates. The templates below are in our own words; that they mean the same as the
published ones is shown by rendering the vectors with them. The demo model's own template
is read from its file. 200 conversations are drawn per run; SL_SEED repeats one.
"""
import functools
import json
import os
import random
import struct
import subprocess

import jinja2
import jinja2.ext
import jinja2.sandbox
import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
SHARED = os.environ.get('SL_SHARED', os.path.join(ROOT, '..', 'shared'))
PEER = os.environ.get('SL_CHAT_PEER')
SEED = int(os.environ.get('SL_SEED', random.SystemRandom().randrange(1 << 32)))
N_CONVERSATIONS = 200
BOS = '<|startoftext|>'

SYSTEM = r"""
{%- macro turn(role, text) -%}
  {{- '<|im_start|>' ~ role ~ '\n' ~ text ~ '<|im_end|>\n' -}}{%- endmacro -%}
{%- macro list_tools(open, close) -%}
  {{- open -}}
  {%- for tool in tools -%}
    {{- tool if tool is string else tool | tojson -}}{{- '' if loop.last else ', ' -}}
  {%- endfor -%}
  {{- close -}}
{%- endmacro -%}
{%- macro one(item) -%}
  {%- if item is string -%}{{- item -}}
  {%- elif item['type'] == 'text' -%}{{- item['text'] -}}
  {%- elif item['type'] == 'image' -%}<image>
  {%- else -%}{{- item | tojson -}}{%- endif -%}
{%- endmacro -%}
{%- macro flat(content) -%}
  {%- if content is string -%}{{- content -}}
  {%- elif content -%}{%- for item in content -%}{{- one(item) -}}{%- endfor -%}{%- endif -%}
{%- endmacro -%}
{%- macro flat_system(content) -%}
  {%- if content is string -%}{{- content -}}
  {%- else -%}
    {%- for item in content if item is string or item['type'] == 'text' -%}
      {{- one(item) -}}
    {%- endfor -%}
  {%- endif -%}
{%- endmacro -%}
{{- bos_token -}}
{%- set found = namespace(text='', user=-1, assistant=-1) -%}
{%- if messages[0]['role'] == 'system' -%}
  {%- set found.text = SYSTEM_TEXT -%}
  {%- set messages = messages[1:] -%}
{%- endif -%}
{%- if tools -%}
  {%- set found.text = found.text ~ ('\n' if found.text else '') -%}
  {%- set found.text = found.text ~ list_tools(TOOLS_OPEN, TOOLS_CLOSE) -%}
{%- endif -%}
{%- if found.text -%}{{- turn('system', found.text) -}}{%- endif -%}
{%- for m in messages -%}
  {%- if m['role'] == 'user' -%}{%- set found.user = loop.index0 -%}{%- endif -%}
  {%- if m['role'] == 'assistant' -%}{%- set found.assistant = loop.index0 -%}{%- endif -%}
{%- endfor -%}
"""

END = r"""
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\n' ~ PREFILL -}}{%- endif -%}
"""

PLAIN_TURNS = r"""
{%- for m in messages -%}
  {%- set text = CONTENT -%}
  {%- set past = m['role'] == 'assistant' and loop.index0 != found.assistant -%}
  {%- if past and not keep_past_thinking and '</think>' in text -%}
    {%- set text = text.split('</think>')[-1] | trim -%}
  {%- endif -%}
  {{- turn(m['role'], text) -}}
{%- endfor -%}
"""

RESULT_TURNS = r"""
{%- for m in messages -%}
  {%- set text = CONTENT -%}
  {%- if m['role'] == 'tool' -%}
    {%- set text = '<|tool_response_start|>' ~ text ~ '<|tool_response_end|>' -%}
  {%- endif -%}
  {{- turn(m['role'], text) -}}
{%- endfor -%}
"""

THINKING_TURNS = r"""
{%- macro argument(value) -%}
  {%- if value is string -%}{{- QUOTED -}}
  {%- elif AS_JSON -%}{{- value | tojson -}}
  {%- else -%}{{- value | string -}}{%- endif -%}
{%- endmacro -%}
{%- macro calls(list) -%}
  {{- '<|tool_call_start|>[' -}}
  {%- for call in list -%}
    {{- call['function']['name'] ~ '(' -}}
    {%- for key, value in call['function']['arguments'].items() -%}
      {{- key ~ '=' ~ argument(value) ~ ('' if loop.last else ', ') -}}
    {%- endfor -%}
    {{- ')' ~ ('' if loop.last else ', ') -}}
  {%- endfor -%}
  {{- ']<|tool_call_end|>' -}}
{%- endmacro -%}
{%- for m in messages -%}
  {{- '<|im_start|>' ~ m['role'] ~ '\n' -}}
  {%- if m['role'] == 'assistant' -%}
    {%- generation -%}
    {%- set fresh = preserve_thinking or loop.index0 > found.user -%}
    {%- set text = flat(m.get('content')) -%}
    {%- if THINKING_SHOWN and fresh -%}{{- '<think>' ~ THINKING ~ '</think>' -}}{%- endif -%}
    {%- if not fresh and '</think>' in text -%}
      {%- set text = text.split('</think>')[-1] | trim -%}
    {%- endif -%}
    {{- text -}}
    {%- if CALLS_SHOWN -%}{{- calls(m['tool_calls']) -}}{%- endif -%}
    {%- endgeneration -%}
  {%- else -%}{{- flat(m.get('content')) -}}{%- endif -%}
  {{- '<|im_end|>\n' -}}
{%- endfor -%}
"""


def fill(text, **words):
    for word, value in words.items():
        assert word in text, word
        text = text.replace(word, value)
    return text


PLAIN_CONTENT = "(m['content'] if m['content'] is string else m['content'] | tojson)"
THINKING_COMMON = fill(SYSTEM, SYSTEM_TEXT="flat(messages[0].get('content'))",
                       TOOLS_OPEN="'List of tools: ['", TOOLS_CLOSE="']'")
TEMPLATES = {
    'lfm2': fill(SYSTEM, SYSTEM_TEXT="messages[0]['content']", TOOLS_CLOSE="']<|tool_list_end|>'",
                 TOOLS_OPEN="'List of tools: <|tool_list_start|>['").replace('<image>', '')
            + fill(RESULT_TURNS, CONTENT=PLAIN_CONTENT) + fill(END, PREFILL="''"),
    'lfm2.5': fill(SYSTEM, SYSTEM_TEXT="messages[0]['content']",
                   TOOLS_OPEN="'List of tools: ['", TOOLS_CLOSE="']'").replace('<image>', '')
              + fill(PLAIN_TURNS, CONTENT=PLAIN_CONTENT) + fill(END, PREFILL="''"),
    'lfm2.5-list': fill(SYSTEM, SYSTEM_TEXT="flat_system(messages[0]['content'])",
                        TOOLS_OPEN="'List of tools: ['", TOOLS_CLOSE="']'")
                   + fill(PLAIN_TURNS, CONTENT="flat(m['content'])") + fill(END, PREFILL="''"),
    'lfm2.5-thinking': THINKING_COMMON
                       + fill(THINKING_TURNS, QUOTED="\"'\" ~ value ~ \"'\"",
                              AS_JSON='value is mapping',
                              THINKING_SHOWN='m.thinking is defined', THINKING="m.thinking",
                              CALLS_SHOWN='m.tool_calls is defined')
                       + fill(END, PREFILL="''"),
    'lfm2.5-thinking-open': THINKING_COMMON
                       + fill(THINKING_TURNS, AS_JSON='value is mapping or value is iterable',
                              QUOTED=r"""("'" ~ (value | replace('\\', '\\\\') | replace("'", "\\'")
                                     | replace('\n', '\\n') | replace('\r', '\\r')) ~ "'")""",
                              THINKING_SHOWN='(m.thinking or m.reasoning or m.reasoning_content)',
                              THINKING='(m.thinking or m.reasoning or m.reasoning_content)',
                              CALLS_SHOWN='m.tool_calls')
                       # as the published text has it, which is how it is told from the former
                       + "{%- if add_generation_prompt -%}"
                         "{{- '<|im_start|>assistant\\n<think>' -}}{%- endif -%}",
}


class Generation(jinja2.ext.Extension):
    """{% generation %} marks what a trainer learns from; here it does nothing."""
    tags = {'generation'}

    def parse(self, parser):
        next(parser.stream)
        return parser.parse_statements(['name:endgeneration'], drop_needle=True)


def to_json(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators,
                      sort_keys=sort_keys)


def raise_exception(text):
    raise jinja2.exceptions.TemplateError(text)


@functools.lru_cache(maxsize=None)
def compiled(text):
    env = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])
    env.filters['tojson'] = to_json
    env.globals['raise_exception'] = raise_exception
    return env.from_string(text)


def jinja(template, case):
    return compiled(template).render(
        messages=case['messages'], tools=case.get('tools'), bos_token=BOS,
        add_generation_prompt=case['add_generation_prompt'],
        preserve_thinking=case.get('preserve_thinking', False),
        keep_past_thinking=case.get('keep_past_thinking', False))


def ours(jobs):
    """Render (template text, case) pairs in one run of the peer."""
    if not PEER:
        pytest.skip('SL_CHAT_PEER is not set: run through meson test')
    lines = []
    for template, case in jobs:
        job = {key: case[key] for key in ('add_generation_prompt', 'preserve_thinking',
                                          'keep_past_thinking') if key in case}
        job.update(template=template, bos=BOS, messages=json.dumps(case['messages']))
        if case.get('tools') is not None:
            job['tools'] = json.dumps(case['tools'], ensure_ascii=False)
        lines.append(json.dumps(job) + '\n')
    result = subprocess.run([PEER], input=''.join(lines).encode(), stdout=subprocess.PIPE,
                            check=True, timeout=100)
    answers = [json.loads(line) for line in result.stdout.decode().rstrip('\n').split('\n')]
    assert len(answers) == len(lines)
    return answers


def demo_template():
    path = os.path.join(SHARED, 'models', 'tiny-q4_k_m.gguf')
    if not os.path.exists(path):
        path = os.path.join(ROOT, 'models', 'tiny-q4_k_m.gguf')
    if not os.path.exists(path):
        return None
    with open(path, 'rb') as file:
        data = file.read(4 << 20)
    key = b'tokenizer.chat_template'
    at = data.index(key) + len(key)
    kind, length = struct.unpack_from('<IQ', data, at)
    assert kind == 8
    return data[at + 12:at + 12 + length].decode()


def vectors():
    path = os.path.join(SHARED, 'vectors', 'chat.json')
    if not os.path.exists(path):
        pytest.skip(f'no vectors: {path}')
    with open(path, encoding='utf-8') as file:
        return json.load(file)


def test_our_templates_mean_what_the_published_ones_do():
    for case in vectors():
        assert jinja(TEMPLATES[case['template']], case) == case['text'], case['case']


def test_vectors():
    cases = vectors()
    assert len(cases) >= 70
    for case, got in zip(cases, ours([(TEMPLATES[c['template']], c) for c in cases])):
        assert got.get('kind') == case['template']
        assert got.get('text') == case['text'], case['case']


PIECES = ['a', 'Z', '0', ' ', '  ', '\n', '\t', '\r', '"', "'", '\\', '/', '<', '>', '&', '{', '}',
          '[', ']', '{{ x }}', '{% y %}', '{# z #}', '</think>', '<think>', '<|im_end|>', '\x01',
          '\x1f', '\x7f', '\x80', '\xa0', '\xad', 'é', 'ß', 'İ', '\u200b', '\u2028', '\u3000', '日本',
          '한', 'مرحبا', '\ufeff', '\uffff', '😀', '👩‍👩‍👧',
          '\U000e0001', '\U0010ffff', 'e\u0301', '\\n', '\\u0041',
          '\x0b', '\x1c', '\x85', 'tool', 'word ']


def text(rng, most=8):
    if rng.random() < 0.2:
        codes = [rng.randrange(1, 0x110000) for _ in range(rng.randrange(most))]
        return ''.join(chr(c) for c in codes if not 0xD800 <= c < 0xE000)
    return ''.join(rng.choice(PIECES) for _ in range(rng.randrange(most)))


def real(rng):
    kind = rng.randrange(5)
    if kind == 0:
        return rng.choice([0.1, -0.0, 1e16, 1e-7, 1e22, 123456789.125, 5e-324, 2.0 ** -44, 1e15,
                           1e-5, 0.0001, 1.7976931348623157e308, 1e21, 100.0])
    if kind == 1:
        return 2.0 ** rng.randrange(-1074, 1024)
    if kind == 2:
        return round(rng.uniform(-1000, 1000), rng.randrange(4))
    while True:
        value = struct.unpack('<d', struct.pack('<Q', rng.getrandbits(64)))[0]
        if value == value and abs(value) != float('inf'):
            return value


def integer(rng):
    if rng.random() < 0.5:
        return rng.randrange(-100, 100)
    if rng.random() < 0.3:
        return rng.choice([2 ** 63 - 1, -2 ** 63, 2 ** 63, -2 ** 63 - 1, 10 ** 18, 10 ** 19])
    return rng.randrange(-10 ** 40, 10 ** 40) >> rng.randrange(130)


def value(rng, depth=3):
    kind = rng.randrange(9 if depth else 6)
    if kind == 0:
        return None
    if kind == 1:
        return rng.random() < 0.5
    if kind == 2:
        return integer(rng)
    if kind == 3:
        return real(rng)
    if kind < 6:
        return text(rng)
    if kind == 6:
        return [value(rng, depth - 1) for _ in range(rng.randrange(4))]
    return {text(rng, 3): value(rng, depth - 1) for _ in range(rng.randrange(4))}


def content(rng):
    if rng.random() < 0.25:
        return [{'type': 'text', 'text': text(rng)} for _ in range(rng.randrange(4))]
    return text(rng)


def flattened(case):
    """Content lists as text: what is rendered by templates that know no lists."""
    case = dict(case, messages=[dict(m) for m in case['messages']])
    for message in case['messages']:
        if isinstance(message.get('content'), list):
            message['content'] = ''.join(item['text'] for item in message['content'])
    return case


def call(rng):
    return {'id': 'c', 'type': 'function', 'function': {
        'name': rng.choice(['f', 'get_weather', 'a.b', 'é']),
        'arguments': {rng.choice(['x', 'y', 'city', text(rng, 3)]): value(rng)
                      for _ in range(rng.randrange(4))}}}


def schema(rng):
    return {'type': 'function', 'function': {'name': text(rng), 'parameters': value(rng)}}


def conversation(rng):
    messages = []
    if rng.random() < 0.5:
        messages.append({'role': 'system', 'content': content(rng)})
    for _ in range(rng.randrange(0 if messages else 1, 7)):
        role = rng.choice(['user', 'user', 'assistant', 'assistant', 'tool', 'developer', 'system'])
        message = {'role': role, 'content': content(rng)}
        if role == 'assistant':
            if rng.random() < 0.4:
                message['content'] = '<think>' + text(rng) + '</think>' + text(rng)
            if rng.random() < 0.1:
                message['content'] = None
            if rng.random() < 0.3:
                message['thinking'] = text(rng)
            if rng.random() < 0.3:
                message['reasoning_content'] = text(rng)
            if rng.random() < 0.4:
                message['tool_calls'] = [call(rng) for _ in range(rng.randrange(4))]
        messages.append(message)
    case = {'messages': messages, 'tools': None,
            'add_generation_prompt': rng.random() < 0.5,
            'preserve_thinking': rng.random() < 0.3,
            'keep_past_thinking': rng.random() < 0.3}
    if rng.random() < 0.5:
        case['tools'] = [rng.choice([text, value, schema, schema])(rng)
                         for _ in range(rng.randrange(4))]
    return case


def test_random_conversations():
    print(f'SL_SEED={SEED}')
    rng = random.Random(SEED)
    templates = dict(TEMPLATES)
    demo = demo_template()
    if demo:
        templates['the demo model'] = demo
    jobs, wants = [], []
    for _ in range(N_CONVERSATIONS):
        case = conversation(rng)
        for name, template in templates.items():
            plain = name in ('lfm2', 'lfm2.5', 'the demo model')
            jobs.append((template, case))
            wants.append((name, jinja(template, flattened(case) if plain else case)))
    for (template, case), (name, want), got in zip(jobs, wants, ours(jobs)):
        assert got['kind'] == ('lfm2' if name == 'the demo model' else name)
        assert got.get('text') == want, (name, SEED, case, got.get('error'))


def test_arguments_as_json_text_are_the_same_as_an_object():
    name = 'lfm2.5-thinking'
    call_of = lambda arguments: {'messages': [  # noqa: E731
        {'role': 'user', 'content': 'q'},
        {'role': 'assistant', 'content': None,
         'tool_calls': [{'function': {'name': 'f', 'arguments': arguments}}]}],
        'add_generation_prompt': False}
    args = {'a': [1.5, None, 'x'], 'b': {'c': 'ü'}, 'd': 10 ** 30}
    got = ours([(TEMPLATES[name], call_of(args)), (TEMPLATES[name], call_of(json.dumps(args)))])
    assert got[0]['text'] == got[1]['text']
    assert "f(a=[1.5, None, 'x'], b={\"c\": \"ü\"}, d=1" in got[0]['text']


@pytest.mark.parametrize('name', sorted(TEMPLATES))
def test_images_are_refused_by_name(name):
    case = {'messages': [{'role': 'user', 'content': [
        {'type': 'text', 'text': 'see'}, {'type': 'image_url', 'image_url': {'url': 'x'}}]}],
        'add_generation_prompt': True}
    got, = ours([(TEMPLATES[name], case)])
    assert 'text' not in got and 'image_url' in got['error'] and 'messages[0]' in got['error']


def test_unknown_template_is_chatml():
    case = {'messages': [{'role': 'system', 'content': 's'}, {'role': 'user', 'content': 'u'}],
            'add_generation_prompt': True}
    for unknown in ('', '{{ messages }}'):
        got, = ours([(unknown, case)])
        assert got == {'kind': 'chatml', 'text': BOS + '<|im_start|>system\ns<|im_end|>\n'
                       '<|im_start|>user\nu<|im_end|>\n<|im_start|>assistant\n'}
    refused, = ours([('', dict(case, tools=[{'name': 'f'}]))])
    assert 'tools' in refused['error']
