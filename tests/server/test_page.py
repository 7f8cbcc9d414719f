"""The page and GET /experts as a client sees them, without a browser."""
import os
import re
import threading

from serveclient import ROOT, make_serve  # noqa: F401 (a fixture)

BROWSER = {'Accept': 'text/html,application/xhtml+xml,*/*;q=0.8'}
PAGE = os.path.join(ROOT, 'src', 'server', 'page')
TYPES = {'.css': 'text/css; charset=utf-8', '.js': 'text/javascript; charset=utf-8',
         '.svg': 'image/svg+xml', '.html': 'text/html; charset=utf-8'}


def get(server, path, headers=None, method='GET'):
    connection = server.connect()
    connection.request(method, path, headers=headers or {})
    reply = connection.getresponse()
    body = reply.read()
    connection.close()
    return reply, body


def parts():
    """(path, file) of all that the page is made of."""
    names = sorted(name for name in os.listdir(PAGE) if os.path.splitext(name)[1] in TYPES)
    assert 'index.html' in names and 'main.js' in names
    return [('/' if name == 'index.html' else f'/page/{name}', os.path.join(PAGE, name))
            for name in names]


def check_experts(reply, is_streaming):
    n_cells = reply['n_layers'] * reply['n_experts']
    assert (reply['n_layers'], reply['n_experts'], reply['n_experts_used']) == (4, 16, 4)
    assert reply['first_layer'] == 2 and reply['is_streaming'] is is_streaming
    states, shares = ''.join(reply['states']), ''.join(reply['shares'])
    assert [len(row) for row in reply['states']] == [16] * 4 and len(shares) == 2 * n_cells
    assert re.fullmatch('[dmpra]*', states) and re.fullmatch('[0-9a-f]*', shares)
    return states, shares


def test_browsers_get_the_page(serve):
    server = serve('--api-key', 'secret')  # which the page itself does not need
    for path, file in parts():
        reply, body = get(server, path, BROWSER)
        with open(file, 'rb') as source:
            assert body == source.read(), path
        assert reply.status == 200
        assert reply.headers['Content-Type'] == TYPES[os.path.splitext(file)[1]]
        policy = reply.headers['Content-Security-Policy']
        assert "default-src 'none'" in policy and "connect-src 'self'" in policy
        assert 'unsafe' not in policy and '*' not in policy and ':' not in policy
        assert reply.headers['X-Content-Type-Options'] == 'nosniff'
        assert reply.headers['Referrer-Policy'] == 'no-referrer'
        assert reply.headers['Cache-Control'] == 'no-cache'
        tag = reply.headers['ETag']
        for known in (tag, f'W/{tag}', f'"x", {tag}', '*'):
            again, body = get(server, path, {**BROWSER, 'If-None-Match': known})
            assert again.status == 304 and body == b'' and again.headers['ETag'] == tag
            assert again.headers['Content-Type'] is None
        again, body = get(server, path, {**BROWSER, 'If-None-Match': '"x"'})
        assert again.status == 200 and body
        head, body = get(server, path, BROWSER, 'HEAD')
        assert head.status == 200 and body == b'' and head.headers['ETag'] == tag
        assert head.headers['Content-Length'] == reply.headers['Content-Length']
    assert server.ask('/page/none.js')[0] == 404
    assert server.ask('/page/')[0] == 404
    assert server.ask('/page/main.js', method='POST', body=b'')[0] == 405
    assert server.ask('/experts')[0] == 401


def test_programs_get_the_text(serve):
    server = serve()
    for headers in ({}, {'Accept': '*/*'}, {'Accept': 'application/json'}):
        reply, body = get(server, '/', headers)
        assert reply.status == 200 and body == b'Ollama is running'
        assert reply.headers['Content-Type'].startswith('text/plain')
        assert get(server, '/', headers, 'HEAD')[0].status == 200


def test_no_page(serve):
    server = serve('--no-ui')  # its other name
    assert get(server, '/', BROWSER)[1] == b'Ollama is running'
    server = serve('--no-page')
    assert get(server, '/', BROWSER)[1] == b'Ollama is running'
    assert server.ask('/page/main.js')[0] == 404
    assert server.ask('/experts')[0] == 200


def test_experts_resident(serve):
    server = serve()
    states, shares = check_experts(server.good('/experts'), False)
    assert set(states) == {'m'} and set(shares) == {'0'}
    server.good('/v1/completions', {'prompt': 'In the beginning', 'max_tokens': 8})
    reply = server.good('/experts')
    states, shares = check_experts(reply, False)
    assert set(states) == {'m'} and set(shares) != {'0'}
    assert reply['counters']['requests'] == 0 and reply['counters']['steps'] > 0
    assert get(server, '/experts', method='HEAD')[0].status == 200


def test_experts_streaming(serve):
    """Asked for all the time while two clients are served; what is said is as it would be."""
    server = serve('--ram', 'min')
    before = server.good('/experts')
    assert set(check_experts(before, True)[0]) == {'d'}
    body = {'prompt': 'And God said', 'max_tokens': 40, 'seed': 3}
    alone = server.good('/v1/completions', body)['choices']
    replies, seen = [], set()
    clients = [threading.Thread(target=lambda: replies.append(
        server.good('/v1/completions', body)['choices'])) for _ in range(2)]
    for client in clients:
        client.start()
    connection = server.connect()
    while any(client.is_alive() for client in clients):
        seen |= set(check_experts(server.good('/experts', connection=connection), True)[0])
    connection.close()
    for client in clients:
        client.join()
    assert replies == [alone, alone] and seen >= {'d', 'm'}
    server.until('the last step told', lambda: not server.good('/experts')['requests_running'])
    reply = server.good('/experts')
    counters = reply['counters']
    states, _ = check_experts(reply, True)
    assert states.count('m') == counters['cache_ready'] <= counters['cache_slots']
    assert counters['requests'] == sum(counters[kind] for kind in
                                       ('hits', 'covered', 'covered_late', 'misses')) > 0
    assert counters['demand_bytes'] > 0 and reply['seconds'] > before['seconds']
