"""Requests of all APIs, in one piece and as streams, and what a whole reply looks like."""
import json

VERSE = 'In the beginning God created the heaven and the earth. '
SCHEMA = {'type': 'object', 'properties': {'verse': {'type': 'integer'}, 'ok': {'type': 'boolean'}},
          'required': ['verse', 'ok'], 'additionalProperties': False}
TOOL = {'type': 'function', 'function': {'name': 'look', 'parameters': {
    'type': 'object', 'properties': {'verse': {'enum': [1, 2, 3]}}, 'required': ['verse']}}}
N_TEXTS = 6  # different ones of each kind


def messages(i):
    return [{'role': 'system', 'content': VERSE * (i % 3)},
            {'role': 'user', 'content': f'{VERSE * (i % 4)}Verse {i}?'}]


def one(i, stream):
    """(path, body) of every API."""
    n = 4 + 3 * (i % 4)
    chat = {'messages': messages(i), 'seed': i, 'max_tokens': n, 'stream': stream}
    text = VERSE * (1 + i % 5)
    options = {'num_predict': n, 'seed': i}
    yield '/v1/chat/completions', chat
    yield '/v1/chat/completions', {**chat, 'max_tokens': 60, 'response_format': {
        'type': 'json_schema', 'json_schema': {'name': 'x', 'schema': SCHEMA}}}
    yield '/v1/chat/completions', {**chat, 'max_tokens': 60, 'tools': [TOOL],
                                   'tool_choice': 'required'}
    yield '/v1/completions', {'prompt': text, 'max_tokens': n, 'seed': i, 'stream': stream}
    yield '/completion', {'prompt': text, 'n_predict': n, 'seed': i, 'stream': stream,
                          'n_probs': i % 3, 'cache_prompt': i % 2 == 0}
    yield '/v1/responses', {'model': 'demo', 'input': text, 'max_output_tokens': 16 + n,
                            'temperature': 0, 'stream': stream}
    yield '/v1/messages', {'model': 'demo', 'max_tokens': n, 'messages': messages(i)[1:],
                           'temperature': 0, 'stream': stream}
    yield '/api/chat', {'model': 'demo', 'messages': messages(i), 'options': options,
                        'stream': stream}
    yield '/api/generate', {'model': 'demo', 'prompt': text, 'options': options, 'stream': stream}


REQUESTS = [request for i in range(N_TEXTS) for stream in (False, True)
            for request in one(i, stream)]
REQUESTS += [('/tokenize', {'content': VERSE * 50}), ('/v1/models', None), ('/props', None),
             ('/api/tags', None), ('/apply-template', {'messages': messages(1)})]


def events(body):
    """Of server-sent events the JSON of each, and whether there is an end mark."""
    data = [line[6:] for line in body.decode().split('\n') if line.startswith('data: ')]
    return [json.loads(line) for line in data if line != '[DONE]'], data[-1:] == ['[DONE]']


def drop(node, names):
    """Without members that differ from time to time."""
    if isinstance(node, dict):
        return {key: drop(value, names) for key, value in node.items() if key not in names}
    if isinstance(node, list):
        return [drop(item, names) for item in node]
    return node


# ids and times; and what depends on what was cached
CHANGING = {'id', 'created', 'created_at', 'completed_at', 'item_id', 'timings', 'total_duration',
            'load_duration', 'prompt_eval_duration', 'eval_duration', 'usage', 'obfuscation',
            'tokens_cached', 'tokens_evaluated', 'prompt_eval_count', 'id_slot', 'call_id',
            'prompt_progress'}


def stream_text(path, body):
    """What a stream says, all in one; asserts that it came to its end."""
    if path.startswith('/api/'):
        lines = [json.loads(line) for line in body.splitlines()]
        assert lines[-1]['done'] and not any(line['done'] for line in lines[:-1]), lines[-1]
        return ''.join(line.get('response') or line.get('message', {}).get('content') or ''
                       for line in lines)
    found, has_mark = events(body)
    if path == '/completion':
        assert found[-1]['stop'] and not any(event['stop'] for event in found[:-1])
        return ''.join(event['content'] for event in found)
    if path == '/v1/messages':
        assert found[-1]['type'] == 'message_stop', found[-1]
        return ''.join(event['delta'].get('text', '') for event in found
                       if event['type'] == 'content_block_delta')
    if path == '/v1/responses':
        assert found[-1]['type'] in ('response.completed', 'response.incomplete'), found[-1]
        return ''.join(event['delta'] for event in found
                       if event['type'] == 'response.output_text.delta')
    assert has_mark, body[-200:]
    deltas = [choice.get('delta', choice) for event in found for choice in event['choices']]
    return ''.join((delta.get('content') or delta.get('text') or '') +
                   ''.join(call['function'].get('arguments', '')
                           for call in delta.get('tool_calls') or []) for delta in deltas)


def check(path, body, status, reply):
    """What is the same each time that this is asked for; asserts that it is whole."""
    assert status == 200, (path, status, reply[:500])
    if body and body.get('stream'):
        return stream_text(path, reply)
    return json.dumps(drop(json.loads(reply), CHANGING))
