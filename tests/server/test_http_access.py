"""Who may use the server, and by which sockets: keys, hosts, origins; addresses, paths in the
file system, sockets that systemd hands over. Driven by raw sockets against echo_server."""
import os
import socket

import pytest

from echoclient import PATIENCE, make_serve, request  # noqa: F401


# who may

KEY = 'sk-of-the-test'


@pytest.mark.parametrize('header, status', [
    ('', 401),
    (f'Authorization: Bearer {KEY}\r\n', 200),
    (f'authorization: bearer {KEY}\r\n', 200),
    (f'X-Api-Key: {KEY}\r\n', 200),
    (f'Authorization: Bearer {KEY}x\r\n', 401),
    (f'Authorization: Bearer {KEY[:-1]}\r\n', 401),
    ('Authorization: Bearer \r\n', 401),
    ('Authorization: Bearer\r\n', 401),
    (f'Authorization: Basic {KEY}\r\n', 401),
    (f'Authorization: {KEY}\r\n', 401),
    ('X-Api-Key: \r\n', 401),
    ('X-Api-Key: third\r\nAuthorization: Bearer wrong\r\n', 200),
])
def test_keys(serve, tmp_path, header, status):
    file = tmp_path / 'keys'
    file.write_text('# keys\n\nsecond\r\nthird\n')
    server = serve('--key', KEY, '--key-file', file)
    got, fields, _ = server.get('/now', header)
    assert got == status
    assert (got == 401) == ('www-authenticate' in fields)
    assert server.get('/health')[0] == 200  # public


@pytest.mark.parametrize('host, status', [
    ('localhost', 200), ('LOCALHOST:80', 200), ('127.0.0.1:1234', 200), ('[::1]:80', 200),
    ('192.168.1.7', 200), ('app.localhost', 200), ('my.box:8080', 200), ('my.box.', 200),
    ('evil.example', 403), ('localhost.evil.example', 403), ('evillocalhost', 403),
    ('127.0.0.1.evil.example', 403), ('', 403), ('[::1', 403), ('localhost:80x', 403),
    ('user@localhost', 403), ('[evil]', 403), ('my.box.evil', 403),
])
def test_host(serve, host, status):
    server = serve('--host', 'my.box')
    with server.client(f'GET /now HTTP/1.1\r\nHost: {host}\r\n\r\n'.encode()) as client:
        assert client.reply()[0] == status


def test_host_of_an_absolute_target(serve):
    server = serve()
    for target, status in (('http://localhost/now', 200), ('http://evil.example/now', 403)):
        assert server.get(target)[0] == status


@pytest.mark.parametrize('origin, status', [
    ('http://localhost', 200), ('http://evil.example', 403), ('null', 403),
    ('http://localhost:1', 403), ('localhost', 403),
])
def test_pages_of_others_may_not_call(serve, origin, status):
    """Nobody was allowed: no CORS field in any answer, and no work done for others."""
    server = serve()
    for method in ('GET', 'OPTIONS'):
        got, fields, _ = server.get('/now', f'Origin: {origin}\r\n', method)
        assert got == (204 if method == 'OPTIONS' and status == 200 else status)
        assert not [name for name in fields if name.startswith('access-control')]


@pytest.mark.parametrize('allowed, origin, is_allowed', [
    ('https://app.example', 'https://app.example', True),
    ('https://app.example', 'https://other.example', False),
    ('https://app.example', 'https://app.example.evil', False),
    ('*', 'https://other.example', True),
])
def test_pages_that_were_allowed(serve, allowed, origin, is_allowed):
    server = serve('--origin', allowed, '--key', KEY)
    status, fields, _ = server.get('/later', f'Origin: {origin}\r\n'
                                   'Access-Control-Request-Method: POST\r\n', 'OPTIONS')
    assert fields['vary'] == 'Origin'
    if not is_allowed:
        assert status == 403 and 'access-control-allow-origin' not in fields
        return
    assert (status, fields['access-control-allow-origin']) == (204, origin)
    assert fields['access-control-allow-methods'] == 'GET, HEAD, POST, OPTIONS'
    assert {'authorization', '*'} < set(fields['access-control-allow-headers'].split(', '))
    assert 'access-control-allow-credentials' not in fields
    assert server.get('/now', f'X-Api-Key: {KEY}\r\n')[1]['vary'] == 'Origin'
    status, fields, _ = server.get('/now', f'Origin: {origin}\r\nX-Api-Key: {KEY}\r\n')
    assert (status, fields['access-control-allow-origin']) == (200, origin)
    status, fields, _ = server.get('/now', f'Origin: {origin}\r\n')
    assert (status, fields['access-control-allow-origin']) == (401, origin)


@pytest.mark.parametrize('address, key, is_warned', [
    ('127.0.0.1', None, False), ('localhost', None, False),
    ('0.0.0.0', None, True), ('0.0.0.0', KEY, False),
])
def test_warning_when_others_can_reach_it(serve, address, key, is_warned):
    server = serve('--address', address, *(['--key', key] if key else []))
    assert ('other machines can reach' in server.stop()) == is_warned


# sockets

def test_unix_socket(serve, tmp_path):
    path = str(tmp_path / 'socket')
    server = serve('--unix', path)
    server.address = path
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert server.get('/now', 'A: b\r\n')[0] == 200
    with server.client(b'GET /now HTTP/1.1\r\nHost: any.name\r\n\r\n') as client:
        assert client.reply()[2] == b'now'
    server.client(request('/later')).socket.close()
    server.gone(1)
    with pytest.raises(AssertionError, match='another program listens'):
        serve('--unix', path)
    server.stop()
    assert not os.path.exists(path)


def test_unix_client_that_goes_with_its_answer_on_the_way(serve, tmp_path):
    """Writing to what is closed must not end the process by SIGPIPE."""
    path = str(tmp_path / 'socket')
    server = serve('--unix', path)
    server.address = path
    with server.client(request('/big/20000000')) as client:
        client.head()
    assert server.text('/now') == 'now'


def test_stale_unix_socket_is_replaced(serve, tmp_path):
    path = str(tmp_path / 'socket')
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(path)
    server = serve('--unix', path)
    server.address = path
    assert server.text('/now') == 'now'
    other = tmp_path / 'file'
    other.write_text('precious')
    with pytest.raises(AssertionError, match='is no socket'):
        serve('--unix', other)
    assert other.read_text() == 'precious'


def test_socket_activation_and_notification(serve, tmp_path):
    notify = str(tmp_path / 'notify')
    with socket.socket() as listening, \
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(notify)
        manager.settimeout(PATIENCE)
        listening.bind(('127.0.0.1', 0))
        listening.listen()

        env = dict(os.environ, NOTIFY_SOCKET=notify, LISTEN_FDS='1')
        server = serve('--inherit', env=env, hand_over=listening.fileno())
        assert manager.recv(100) == b'READY=1'
        assert server.address == listening.getsockname()
        assert server.text('/now') == 'now'
        server.stop()
        assert manager.recv(100) == b'STOPPING=1'
