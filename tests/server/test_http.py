"""The HTTP layer as clients of every kind meet it: good ones, slow ones, broken ones, and
those that go away. Driven by raw sockets against echo_server."""
import json
import os
import re
import resource
import select
import signal
import socket
import threading
import time

import pytest

from echoclient import PATIENCE, make_serve, request  # noqa: F401


# answers

def test_kinds_of_answers(serve):
    server = serve()
    with server.client() as client:
        for path, body in (('/now', b'now'), ('/model/a%2Fb/c', b'a/b/c'), ('/health', b'ok'),
                           ('/big/3000000', b'x' * 3000000), ('/now?a=b', b'now')):
            client.send(request(path))
            status, fields, got = client.reply()
            assert (status, got) == (200, body)
            assert fields['server'] == 'sluice'
        body = 'ab' * 200000
        client.send(request('/echo', method='POST', body=body))
        assert client.reply()[2] == body.encode()
        client.send(request('/echo', 'Transfer-Encoding: chunked\r\n', 'POST') +
                    b'3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n')
        assert client.reply()[2] == b'abc0123456789'


def test_later_from_another_thread(serve):
    server = serve()
    with server.client(request('/later')) as one, server.client(request('/later')) as two:
        server.until(parked=2)
        server.text('/release')
        assert one.reply()[2] == two.reply()[2] == b'released'
        one.send(request('/now'))
        assert one.reply()[2] == b'now'


def test_stream(serve):
    server = serve()
    with server.client(request('/stream')) as client:
        status, fields = client.head()
        assert (status, fields['content-type']) == (200, 'text/event-stream')
        assert fields['transfer-encoding'] == 'chunked' and fields['x-accel-buffering'] == 'no'
        for _ in range(3):
            server.text('/tick')
            assert client.chunk() == b'data: tick\n\n'
        server.text('/finish')
        assert client.chunk() == b''


def test_stream_then_the_connection_goes_on(serve):
    server = serve()
    with server.client(request('/stream')) as client:
        server.until(streams=1)
        server.text('/tick')
        server.text('/finish')
        assert client.reply()[2] == b'data: tick\n\n'
        client.send(request('/now'))
        assert client.reply()[2] == b'now'
    assert server.state()['gone'] == 0


def test_stream_keeps_alive_by_comments(serve):
    server = serve()
    with server.client(request('/ping')) as client:
        client.head()
        assert [client.chunk() for _ in range(3)] == [b':\n\n'] * 3


def test_stream_broken_off_is_seen_as_such(serve):
    server = serve()
    with server.client(request('/stream')) as client:
        client.head()
        server.until(streams=1)
        server.text('/abort')
        assert client.is_closed()  # without the last chunk
    assert server.state()['gone'] == 0  # who breaks off need not be told


def test_pieces_leave_at_once(serve):
    """Not when the client has acknowledged the one before: that would take 40 ms a token."""
    server = serve()
    with server.client(request('/stream')) as client:
        client.head()
        state = server.state()
        assert state['undelayed'] == state['conns'] == 2


def test_head_of_a_long_stream(serve):
    """What is not sent is not waited for either."""
    server = serve('--out-max', 100)
    with server.client(request('/stream', method='HEAD')) as client:
        server.until(streams=1)
        for _ in range(30):
            server.text('/tick')
        server.text('/finish')
        client.reply(is_head=True)
        client.send(request('/now'))
        assert client.reply()[2] == b'now'


def test_head_has_the_fields_and_no_body(serve):
    server = serve()
    with server.client(request('/now', method='HEAD')) as client:
        status, fields, _ = client.reply(is_head=True)
        assert (status, fields['content-length']) == (200, '3')
        client.send(request('/stream', method='HEAD'))
        client.reply(is_head=True)
        server.until(streams=1)
        server.text('/tick')
        server.text('/finish')
        client.send(request('/now'))
        assert client.reply()[2] == b'now'


def test_http10_ends_with_the_connection(serve):
    server = serve()
    for keep in ('', 'Connection: keep-alive\r\n'):
        with server.client(f'GET /now HTTP/1.0\r\n{keep}\r\n'.encode()) as client:
            assert client.all().endswith(b'\r\n\r\nnow')
        with server.client(f'GET /stream HTTP/1.0\r\n{keep}\r\n'.encode()) as client:
            server.until(streams=1)
            server.text('/tick')
            server.text('/finish')
            assert client.all().endswith(b'\r\n\r\ndata: tick\n\n')


def test_connection_close_is_met(serve):
    server = serve()
    with server.client(request('/now', 'Connection: close\r\n')) as client:
        assert client.all().endswith(b'now')


def test_expect_continue(serve):
    server = serve()
    with server.client(request('/echo', 'Expect: 100-continue\r\nContent-Length: 3\r\n',
                               'POST')) as client:
        assert client.until(b'\r\n\r\n') == b'HTTP/1.1 100 Continue\r\n\r\n'
        client.send(b'abc')
        assert client.reply()[2] == b'abc'


@pytest.mark.parametrize('method, path, status, allow', [
    ('GET', '/nowhere', 404, None),
    ('POST', '/nowhere', 404, None),
    ('OPTIONS', '/nowhere', 404, None),
    ('GET', '/model/', 404, None),
    ('POST', '/now', 405, 'GET, HEAD, OPTIONS'),
    ('DELETE', '/later', 405, 'GET, HEAD, POST, OPTIONS'),
    ('OPTIONS', '/echo', 204, 'POST, OPTIONS'),
    ('OPTIONS', '*', 404, None),
])
def test_unknown_path_or_method(serve, method, path, status, allow):
    got, fields, body = serve().get(path, method=method)
    assert (got, fields.get('allow')) == (status, allow)
    if status != 204:
        assert json.loads(body)['error']['code'] == status
    assert not [name for name in fields if name.startswith('access-control')]


def test_admission(serve):
    server = serve()
    for status in (429, 503):
        server.text(f'/busy/{status}')
        got, fields, body = server.get('/now')
        assert (got, fields['retry-after']) == (status, '7')
        assert json.loads(body)['error']['code'] == status
    server.text('/busy/0')
    assert server.get('/now')[0] == 200


# broken requests

BIG = 'x' * 40000
FAULTS = [
    (b'\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n', 400),  # TLS
    (b'hello\r\n\r\n', 400),
    (b'\r\n\r\n', 400),
    (b'GET\r\n\r\n', 400),
    (b'GET /now\r\n\r\n', 400),
    (b'GET  /now HTTP/1.1\r\nHost: a\r\n\r\n', 400),
    (b'GET /n ow HTTP/1.1\r\nHost: a\r\n\r\n', 400),
    (b'GET /n\x00w HTTP/1.1\r\nHost: a\r\n\r\n', 400),
    (b'GET /now HTTP/1.1\nHost: a\n\n', 400),
    (b'GET /now HTTP/2.0\r\nHost: a\r\n\r\n', 505),
    (b'GET /now HTTP/1.1x\r\nHost: a\r\n\r\n', 400),
    (b'BREW /now HTTP/1.1\r\nHost: a\r\n\r\n', 501),
    (b'CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n', 501),
    (b'GET /now HTTP/1.1\r\n\r\n', 400),
    (b'GET /now HTTP/1.1\r\nHost: localhost\r\nHost: b\r\n\r\n', 400),
    (request('/now', 'A : b\r\n'), 400),
    (request('/now', ' folded\r\n'), 400),
    (request('/now', ': b\r\n'), 400),
    (request('/now', 'A: b\rc\r\n'), 400),
    (request('/now', 'A: b\nB: c\r\n'), 400),
    (request('/now', 'A: b\0\r\n'), 400),
    (request('/now', 'nothing\r\n'), 400),
    (request('/now', 'A: b\r\n' * 101), 431),
    (request('/now', f'A: {BIG}\r\n'), 431),
    (request('/now', 'A: ' + BIG).rstrip(), 431),  # before it is whole
    (request('/' + BIG[:9000]), 414),
    (b'GET /' + BIG[:9000].encode(), 414),
    (request('/echo', 'Content-Length: 5\r\nContent-Length: 5\r\n', 'POST'), 400),
    (request('/echo', 'Content-Length: 0x5\r\n', 'POST'), 400),
    (request('/echo', 'Content-Length: +5\r\n', 'POST'), 400),
    (request('/echo', 'Content-Length: -5\r\n', 'POST'), 400),
    (request('/echo', 'Content-Length: \r\n', 'POST'), 400),
    (request('/echo', 'Content-Length: 99999999999999999999\r\n', 'POST'), 400),
    (request('/echo', 'Content-Length: 1000001\r\n', 'POST'), 413),
    (request('/echo', 'Content-Length: 5\r\nTransfer-Encoding: chunked\r\n', 'POST'), 400),
    (request('/echo', 'Transfer-Encoding: gzip, chunked\r\n', 'POST'), 501),
    (request('/echo', 'Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n', 'POST'), 400),
    (request('/echo', 'Transfer-Encoding: chunked\r\n', 'POST') + b'0x3\r\nabc\r\n', 400),
    (request('/echo', 'Transfer-Encoding: chunked\r\n', 'POST') + b'\r\n', 400),
    (request('/echo', 'Transfer-Encoding: chunked\r\n', 'POST') + b'3;a=b\r\nabc\r\n', 400),
    (request('/echo', 'Transfer-Encoding: chunked\r\n', 'POST') + b'3\r\nabcd\r\n', 400),
    (request('/echo', 'Transfer-Encoding: chunked\r\n', 'POST') + b'3\nabc\r\n', 400),
    (request('/echo', 'Transfer-Encoding: chunked\r\n', 'POST') + b'0' * 100, 400),
    (request('/echo', 'Transfer-Encoding: chunked\r\n', 'POST') + b'F4241\r\n', 413),
    (request('/echo', 'Transfer-Encoding: chunked\r\n', 'POST') +
     b'F4240\r\n' + b'x' * 1000000 + b'\r\n1\r\n', 413),
    (request('/echo', 'Transfer-Encoding: chunked\r\n', 'POST') + b'0\r\nA: b\r\n\r\n', 400),
    (request('/echo', 'Expect: magic\r\n', 'POST', 'abc'), 417),
    (request('/now', 'Content-Length: 5\r\n', 'HEAD'), 400),
    (b'POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n', 400),
    # read otherwise by libevent: a host, no body, a path without its end
    (request('//localhost/now'), 400),
    (request('/echo', 'Transfer-Encoding:\tchunked\r\n', 'POST') + b'3\r\nabc\r\n0\r\n\r\n', 501),
    (request('/echo', 'Content-Length:\t3\r\n', 'POST') + b'abc', 400),
    (request('/now#part'), 400),
    (request('now'), 400),
    (request('?now'), 400),
    (request('*'), 400),
    (request('http:/now'), 400),
    (request('http:///now'), 400),
    (request('ftp://localhost/now'), 400),
]


def test_broken_requests(serve):
    server = serve('--body-max', 1000000)
    for text, wanted in FAULTS:
        with server.client(text) as client:
            status, fields, body = client.reply()
            assert status == wanted, (text[:200], status, body)
            assert fields['connection'] == 'close' and fields['date'].endswith(' GMT')
            assert json.loads(body)['error']['code'] == wanted
            assert client.is_closed()
    server.until(conns=1)


def test_broken_requests_byte_by_byte(serve):
    server = serve()
    for text, wanted in FAULTS[:12]:
        with server.client() as client:
            client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for byte in text:
                try:
                    client.send(bytes([byte]))
                except OSError:
                    break  # refused before the end, and closed
            assert client.reply()[0] == wanted, text


def test_requests_byte_by_byte(serve):
    server = serve()
    text = request('/echo', method='POST', body='abc') * 2
    text += request('/echo', 'Transfer-Encoding: chunked\r\n', 'POST') + b'3\r\nabc\r\n0\r\n\r\n'
    with server.client() as client:
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in text:
            client.send(bytes([byte]))
        assert [client.reply()[2] for _ in range(3)] == [b'abc'] * 3


def test_refused_while_still_sending(serve):
    """The answer must arrive although the client sends on: no reset before it was read."""
    server = serve('--body-max', 1000000)
    for _ in range(5):
        with server.client(request('/echo', 'Content-Length: 8000000\r\n', 'POST')) as client:
            try:
                client.send(b'x' * 3000000)
            except OSError:
                pass
            assert client.reply()[0] == 413


def test_refused_and_never_reading(serve):
    server = serve('--linger', 50)
    with server.client(b'nonsense\r\n\r\n') as client:
        server.until(conns=1)
        assert client.reply()[0] == 400


# slow clients

def test_slow_head(serve):
    server = serve('--head', 200)
    with server.client() as silent, server.client(b'GET /now HT') as half:
        assert silent.is_closed()
        assert half.reply()[0] == 408
        assert half.is_closed()


@pytest.mark.parametrize('start, byte', [
    (b'GET /now HTTP/1.1\r\nA: ', b'x'),
    (request('/echo', 'Content-Length: 1000\r\n', 'POST'), b'x'),
    (request('/echo', 'Transfer-Encoding: chunked\r\n', 'POST') + b'400\r\n', b'x'),
])
def test_one_byte_at_a_time_does_not_hold_a_connection(serve, start, byte):
    server = serve('--head', 300, '--body', 300, '--linger', 100)
    began = time.monotonic()
    with server.client(start) as client:
        client.socket.settimeout(0.02)
        while time.monotonic() - began < PATIENCE:
            try:
                client.send(byte)
                if client.socket.recv(1000):
                    break
            except socket.timeout:
                continue
            except OSError:
                break
        assert 0.25 < time.monotonic() - began < PATIENCE / 2
    server.until(conns=1)


def test_idle_connection_is_closed(serve):
    server = serve('--idle', 100)
    with server.client(request('/now')) as client:
        assert client.reply()[2] == b'now'
        assert client.is_closed()


def test_waiting_for_an_answer_has_no_deadline(serve):
    server = serve('--idle', 50, '--head', 50, '--body', 50)
    with server.client(request('/later', method='POST', body='abc')) as client:
        with pytest.raises(socket.timeout):
            client.socket.settimeout(0.3)
            client.socket.recv(1)
        client.socket.settimeout(PATIENCE)
        server.text('/release')
        assert client.reply()[2] == b'released'


def test_reader_that_stops_is_cut_off(serve):
    """Too much for it: the writer is told, and the slot comes back; nobody else waits."""
    server = serve()
    with server.client(request('/flood'), buffer=4096):
        server.gone(1)
        state = server.until(conns=1)
        assert state['full'] == 1
        assert server.text('/now') == 'now'


def test_reader_that_stops_is_cut_off_by_time(serve):
    server = serve('--stall', 200)
    with server.client(request('/big/20000000'), buffer=4096) as client:
        client.head()
        server.until(conns=1)


def test_slow_reader_that_reads_is_not_cut_off(serve):
    server = serve('--stall', 500)
    with server.client(request('/big/12000000'), buffer=8192) as client:
        client.head()
        for _ in range(20):
            time.sleep(0.1)  # being slow is what this client is for
            client.exactly(4096)
        assert server.state()['conns'] == 2


# requests ahead of their answer

def test_pipelined_into_a_waiting_one(serve):
    server = serve()
    with server.client(request('/later') + request('/now') + request('/model/x')) as client:
        server.until(parked=1)
        client.send(request('/health') + request('/echo', method='POST', body='abc'))
        server.text('/release')
        assert [client.reply()[2] for _ in range(5)] == [b'released', b'now', b'x', b'ok', b'abc']
    assert server.state()['gone'] == 0


def test_pipelined_into_a_streaming_one(serve):
    server = serve()
    with server.client(request('/stream')) as client:
        client.head()
        client.send(request('/later') + request('/now'))
        server.text('/tick')
        assert client.chunk() == b'data: tick\n\n'
        server.text('/finish')
        assert client.exactly(5) == b'0\r\n\r\n'
        server.until(parked=1)
        server.text('/release')
        assert [client.reply()[2] for _ in range(2)] == [b'released', b'now']


def test_pipelined_rubbish_ends_the_connection(serve):
    server = serve()
    for rubbish in (b'rubbish\r\n\r\n', b'G' * 30000, b'GET /\x00 HTTP/1.1\r\n\r\n'):
        with server.client(request('/later')) as client:
            server.until(parked=1)
            client.send(rubbish)
            server.text('/release')
            assert client.reply()[2] == b'released'
            client.all()  # an end, whether or not a fault is told
    assert server.text('/now') == 'now'


@pytest.mark.parametrize('path', ['/later', '/stream'])
def test_too_much_ahead_is_cut_off(serve, path):
    server = serve()
    with server.client(request(path)) as client:
        server.until(**{'parked' if path == '/later' else 'streams': 1})
        try:
            client.send(b'x' * 10000000)
        except OSError:
            pass
        server.gone(1)


def test_too_much_ahead_is_cut_off_while_answers_grow(serve):
    """What cuts it off must not be lost when its answer grows in the same pass of the loop."""
    server = serve()
    for turn in range(20):
        with server.client(request('/stream')) as client, server.client() as ticker:
            client.head()
            server.until(streams=1)
            ticker.send(request('/tick') * 300)
            try:
                client.send(b'x' * 1000000)
            except OSError:
                pass
            for _ in range(300):
                ticker.reply()
            server.gone(turn + 1)


# clients that go away

@pytest.mark.parametrize('path', ['/later', '/stream'])
@pytest.mark.parametrize('way', ['close', 'reset', 'half', 'close with data', 'reset with data'])
def test_handler_is_told_that_the_client_went(serve, path, way):
    server = serve()
    client = server.client(request(path))
    server.until(**{'parked' if path == '/later' else 'streams': 1})
    if 'data' in way:
        client.send(request('/now'))
        server.text('/now')
    began = time.monotonic()
    if 'reset' in way:
        client.kill()
    elif way == 'half':
        client.socket.shutdown(socket.SHUT_WR)
    else:
        client.socket.close()
    server.gone(1)
    assert time.monotonic() - began < PATIENCE / 4
    state = server.until(conns=1)
    assert (state['gone'], state['parked'], state['streams']) == (1, 0, 0)
    # what is answered afterwards goes nowhere and harms nobody
    server.text('/release')
    server.text('/tick')
    client.socket.close()


def test_gone_clients_cost_no_time(serve):
    """A reset that nobody reads must not make the loop spin."""
    server = serve()
    for path in ('/later', '/stream'):
        for _ in range(20):
            server.client(request(path) + b'GET /x').kill()
    clients = [server.client(request('/later')) for _ in range(20)]
    server.until(parked=20)
    pid = server.process.pid
    with open(f'/proc/{pid}/stat', encoding='ascii') as file:
        before = sum(map(int, file.read().rsplit(') ', 1)[1].split()[11:13]))
    with pytest.raises(socket.timeout):
        clients[0].socket.settimeout(0.5)
        clients[0].socket.recv(1)
    with open(f'/proc/{pid}/stat', encoding='ascii') as file:
        after = sum(map(int, file.read().rsplit(') ', 1)[1].split()[11:13]))
    assert (after - before) / os.sysconf('SC_CLK_TCK') < 0.2
    for client in clients:
        client.socket.close()


def test_client_that_goes_while_sending(serve):
    server = serve()
    for text in (b'GET /n', request('/echo', 'Content-Length: 100\r\n', 'POST') + b'x'):
        server.client(text).kill()
        server.client(text).socket.close()
    server.until(conns=1, gone=0)


def test_half_open_connections_are_closed(serve):
    server = serve('--head', 100)
    clients = [server.client() for _ in range(50)]
    assert all(client.is_closed() for client in clients)
    server.until(conns=1)


# many

def test_many_connections_at_once(serve):
    server = serve()
    faults = []

    def use(n):
        try:
            with server.client() as client:
                for i in range(30):
                    body = f'{n} {i} ' * (n + 1)
                    client.send(request('/echo', method='POST', body=body))
                    assert client.reply()[2] == body.encode()
        except (AssertionError, OSError, EOFError) as fault:
            faults.append(fault)
    threads = [threading.Thread(target=use, args=(n,)) for n in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults
    server.until(conns=1)


def test_many_streams_and_departures(serve):
    server = serve()
    clients = [server.client(request('/stream')) for _ in range(64)]
    server.until(streams=64)
    for client in clients[::2]:
        client.kill()
    server.gone(32)
    server.text('/tick')
    server.text('/finish')
    assert {client.reply()[2] for client in clients[1::2]} == {b'data: tick\n\n'}
    for client in clients[1::2]:
        client.socket.close()


def test_listener_pauses_at_the_limit(serve):
    server = serve('--conns', 3)
    held = [server.client(request('/now')) for _ in range(3)]
    assert [client.reply()[2] for client in held] == [b'now'] * 3
    with server.client(request('/now')) as waiting:
        waiting.socket.settimeout(0.2)
        with pytest.raises(socket.timeout):
            waiting.socket.recv(1)
        waiting.socket.settimeout(PATIENCE)
        held[0].socket.close()
        assert waiting.reply()[2] == b'now'
    for client in held:
        client.socket.close()
    for _ in range(20):
        assert server.text('/now') == 'now'


def test_no_descriptors_left(serve):
    server = serve(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16)))
    clients = [server.client(request('/now')) for _ in range(20)]
    assert clients[0].reply()[2] == b'now'
    for client in clients[:18]:
        client.socket.close()
    assert clients[19].reply()[2] == b'now'
    clients[18].socket.close()
    clients[19].socket.close()
    assert 'cannot accept connections' in server.stop()


# the end

def test_drain_lets_open_requests_end(serve):
    server = serve('--drain', 20000)
    idle = server.client(request('/now'))
    assert idle.reply()[2] == b'now'
    with server.client(request('/stream')) as streaming, server.client(b'GET /no') as sending, \
            server.client(request('/tick')) as control:
        control.reply()
        streaming.head()
        control.send(b'GET /fin')  # a request that has begun may end
        server.until(streams=1)
        server.process.send_signal(signal.SIGTERM)
        assert idle.is_closed()
        with pytest.raises(ConnectionRefusedError):
            server.client()
        control.send(b'ish HTTP/1.1\r\nHost: localhost\r\n\r\n')
        status, fields, _ = control.reply()
        assert (status, fields['connection']) == (503, 'close')
        sending.socket.close()
        streaming.socket.close()
    server.stop()
    idle.socket.close()


def test_drain_cuts_off_what_does_not_end(serve):
    server = serve('--drain', 100)
    with server.client(request('/later')) as client:
        server.until(parked=1)
        server.stop(code=1)
        assert client.is_closed()


def test_second_signal_ends_at_once(serve):
    server = serve('--drain', 1000000)
    with server.client(request('/later')) as client, server.client(request('/now')) as idle:
        idle.reply()
        server.until(parked=1)
        server.process.send_signal(signal.SIGTERM)
        assert idle.is_closed()  # the first has been heard
        server.stop(code=1)
        assert client.is_closed()


def test_two_signals_at_once_tell_what_was_cut_off(serve):
    server = serve('--drain', 1000000)
    with server.client(request('/later')) as client:
        server.until(parked=1)
        for number in (signal.SIGSTOP, signal.SIGTERM, signal.SIGINT, signal.SIGCONT):
            server.process.send_signal(number)
        assert client.is_closed()
        server.process.wait(10)
        server.stop(code=1)


def test_nothing_of_requests_in_the_log(serve):
    server = serve()
    with server.client(request('/now', 'Secret: word\r\n')) as client:
        client.reply()
    server.client(b'secret rubbish\r\n\r\n').kill()
    assert not re.search('secret', server.stop(), re.I)


def resident(server):
    with open(f'/proc/{server.process.pid}/status', encoding='ascii') as file:
        return int(re.search(r'VmRSS:\s+(\d+)', file.read()).group(1))


# what the sanitizer keeps from reuse is no growth of the server
REUSING = dict(os.environ, ASAN_OPTIONS=os.environ.get('ASAN_OPTIONS', '') +
               ':quarantine_size_mb=1')


def test_bodies_are_not_kept_while_answers_are_due(serve):
    server = serve(env=REUSING)
    text = request('/later', method='POST', body='x' * 8000000)
    clients = []
    for n in range(1, 13):
        clients.append(server.client(text))
        server.until(parked=n)
        if n == 2:
            before = resident(server)
    assert resident(server) - before < 40000  # ten more of 8 MB
    for client in clients:
        client.socket.close()


@pytest.mark.skipif(os.environ.get('SL_SANITIZE', 'none') != 'none',
                    reason="a sanitizer's malloc keeps what it has")
def test_memory_of_large_bodies_is_given_back(serve):
    server = serve()
    server.text('/now')
    before = resident(server)
    text = request('/later', method='POST', body='x' * 20000000)
    cut = server.client(text[:15000000])
    small = [server.client(request('/later')) for _ in range(20)]  # they stay, behind the body
    with server.client(text) as client:
        server.until(parked=21)
        client.kill()
    cut.kill()
    end = time.monotonic() + PATIENCE
    while resident(server) - before > 6000:
        assert time.monotonic() < end, (before, resident(server))
        time.sleep(0.05)
    for client in small:
        client.socket.close()


def test_bodies_of_all_together_are_bounded(serve):
    """Room for one and a half: of two that come together one is refused, whichever it is."""
    server = serve('--in-max', 300000)
    text = request('/echo', method='POST', body='x' * 200000)
    for _ in range(5):  # nothing is held for ever
        with server.client(text[:-1]) as one, server.client(text[:-1]) as two:
            ready, _, _ = select.select([one.socket, two.socket], [], [], PATIENCE)
            refused, other = (one, two) if ready[0] is one.socket else (two, one)
            status, _, body = refused.reply()
            assert (status, json.loads(body)['error']['code']) == (503, 503)
            other.send(text[-1:])
            assert other.reply()[2] == b'x' * 200000


def test_memory_stays_flat(serve):
    server = serve('--body-max', 1000000, env=REUSING)

    def round_of_abuse():
        for text, _ in FAULTS:
            server.client(text).kill()
        for path in ('/later', '/stream'):
            server.client(request(path) + b'x' * 60000).kill()
        server.until(conns=1)
    for _ in range(3):
        round_of_abuse()
    before = resident(server)
    for _ in range(10):
        round_of_abuse()
    assert resident(server) - before < 8192
