"""Models that think: a format is for what comes behind </think>, on every API.

The demo model does not think; a copy of it gets the template of one that does, by its marks.
Its vocabulary spells the markers, and it never ends a thought by itself: what comes behind one
is tested with a sampler that does, in test_sched.c.
"""
import json

import pytest

from serveclient import DEMO, chat_text, events, make_serve  # noqa: F401 (a fixture)

TEXT = 'In the beginning God created the heaven and the earth.'
SCHEMA = {'type': 'object', 'properties': {'verse': {'type': 'integer'}}, 'required': ['verse'],
          'additionalProperties': False}
FORMAT = {'type': 'json_schema', 'json_schema': {'name': 'x', 'schema': SCHEMA}}
TURN = [{'role': 'user', 'content': TEXT}]
CHAT = '/v1/chat/completions'


@pytest.fixture(name='thinker', params=['may', 'must'])
def make_thinker(serve, tmp_path, request):
    """A server, and whether its model must think."""
    with open(DEMO, 'rb') as file:
        data = bytearray(file.read())
    must = request.param == 'must'
    marks = b'{# preserve_thinking <think> #}' + (b'{# assistant\\n<think> #}' if must else b'')
    at = data.index(b'tokenizer.chat_template') + len(b'tokenizer.chat_template') + 4
    length = int.from_bytes(data[at:at + 8], 'little')
    data[at + 8:at + 8 + length] = marks + b' ' * (length - len(marks))
    path = tmp_path / 'thinker.gguf'
    path.write_bytes(data)
    server = serve('--alias', 'x', model=str(path))
    return server, must


def by_every_api(server, limit):
    """(thought, said) of the same question with the same format, by each API."""
    common = {'model': 'x', 'temperature': 0, 'messages': TURN}
    chat = {**common, 'max_tokens': limit, 'response_format': FORMAT}
    message = server.good(CHAT, chat)['choices'][0]['message']
    yield message.get('reasoning_content', ''), message['content']
    stream = server.good(CHAT, {**chat, 'stream': True})
    yield ''.join(choice['delta'].get('reasoning_content', '') for event in events(stream)
                  for choice in event['choices']), chat_text(stream)
    parts = server.good('/v1/messages', {
        **common, 'max_tokens': limit,
        'output_config': {'format': {'type': 'json_schema', 'schema': SCHEMA}}})['content']
    yield (''.join(part.get('thinking', '') for part in parts),
           ''.join(part.get('text', '') for part in parts))
    items = server.good('/v1/responses', {
        'model': 'x', 'temperature': 0, 'input': TEXT, 'max_output_tokens': limit,
        'text': {'format': {'type': 'json_schema', 'name': 'x', 'schema': SCHEMA}}})['output']
    texts = {item['type']: item['content'][0]['text'] for item in items if item['content']}
    yield texts.get('reasoning', ''), texts.get('message', '')
    options = {'temperature': 0, 'num_predict': limit}
    message = server.good('/api/chat', {**common, 'stream': False, 'format': SCHEMA,
                                        'options': options})['message']
    yield message.get('thinking', ''), message['content']
    reply = server.good('/api/generate', {'model': 'x', 'prompt': TEXT, 'stream': False,
                                          'format': SCHEMA, 'options': options})
    yield reply.get('thinking', ''), reply['response']


def test_a_format_is_for_what_is_said(thinker):
    server, must = thinker
    replies = list(by_every_api(server, 12 if must else 100))
    assert len(replies) == 6 and len(set(replies)) == 1
    thought, said = replies[0]
    if must:  # free, and over before it came to the answer
        assert len(thought) > 10 and not thought.lstrip().startswith('{') and said == '', replies
    else:
        assert isinstance(json.loads(said)['verse'], int) and thought == '', replies


def test_a_call_is_made_behind_thoughts(thinker):
    server, must = thinker
    tool = {'type': 'function', 'function': {'name': 'look', 'parameters': SCHEMA}}
    reply = server.good(CHAT, {
        'messages': TURN, 'temperature': 0, 'tools': [tool], 'tool_choice': 'required',
        'parallel_tool_calls': False, 'max_tokens': 12 if must else 100})['choices'][0]
    if must:
        assert reply['finish_reason'] == 'length' and 'tool_calls' not in reply['message']
        assert len(reply['message']['reasoning_content']) > 10
    else:
        call = reply['message']['tool_calls'][0]['function']
        assert isinstance(json.loads(call['arguments'])['verse'], int)


def test_a_begun_turn_that_has_thought_goes_on_in_the_format(thinker):
    server, must = thinker
    begun = [*TURN, {'role': 'assistant', 'content': 'hm</think>' if must else ''}]
    reply = server.good('/v1/messages', {
        'model': 'x', 'max_tokens': 100, 'temperature': 0, 'messages': begun,
        'output_config': {'format': {'type': 'json_schema', 'schema': SCHEMA}}})
    assert [part['type'] for part in reply['content']] == ['text']
    assert isinstance(json.loads(reply['content'][0]['text'])['verse'], int)
