"""What a server keeps between requests: memory for experts, while somebody may come."""
from serveclient import make_serve  # noqa: F401 (a fixture)

CHAT = '/v1/chat/completions'
BODY = {'messages': [{'role': 'user', 'content': 'Who made the light?'}], 'seed': 3,
        'max_tokens': 40}


def cache_bytes(server):
    return server.metric('sluice_expert_cache_bytes')


def is_asleep(server):
    return server.good('/props')['is_sleeping']


def said(reply):
    return reply['choices'][0]['message']['content']


def test_memory_of_experts_is_given_back_and_comes_again(serve):
    server = serve('--residency', 'stream', '--idle', 1)
    want = said(server.good(CHAT, BODY))
    most = cache_bytes(server)
    assert not is_asleep(server)
    server.until('bound to sleep',
                 lambda: server.good('/api/ps')['models'][0]['expires_at'] < '2200')
    server.until('asleep', lambda: is_asleep(server))
    least = cache_bytes(server)
    assert least < most / 2
    for again in range(2):
        assert said(server.good(CHAT, {**BODY, 'cache_prompt': bool(again)})) == want
        assert cache_bytes(server) > least
    server.until('asleep again', lambda: is_asleep(server))
    assert cache_bytes(server) == least


def test_a_request_can_have_it_given_back_at_once(serve):
    server = serve('--residency', 'stream')
    body = {'model': server.good('/api/tags')['models'][0]['name'],
            'messages': BODY['messages'], 'stream': False, 'options': {'num_predict': 5}}
    server.good('/api/chat', body)
    most = cache_bytes(server)
    assert not is_asleep(server)
    # with its reply, and then without any
    for request in ({**body, 'keep_alive': 0},
                    {'model': body['model'], 'keep_alive': 0, 'messages': [], 'stream': False}):
        reply = server.good('/api/chat', request)
        assert reply['done_reason'] == ('length' if request['messages'] else 'unload')
        server.until('asleep', lambda: is_asleep(server))
        assert cache_bytes(server) < most / 2
        server.good('/api/chat', body)
        assert not is_asleep(server)


def test_resident_experts_stay(serve):
    server = serve('--idle', 1)
    body = {'model': server.good('/api/tags')['models'][0]['name'], 'keep_alive': 0,
            'messages': BODY['messages'], 'stream': False, 'options': {'num_predict': 5}}
    assert server.good('/api/chat', body)['done']
    assert not is_asleep(server)
    assert server.good('/api/ps')['models'][0]['expires_at'] > '2200'
