"""A running echo_server, and raw sockets to it.

ECHO_SERVER names the program (meson sets it). A server is stopped by SIGTERM and must then
end with exit code 0, unless the test says otherwise; under sanitizers that tells of leaks
and races too.
"""
import os
import signal
import socket
import struct
import subprocess
import time

import pytest

PROGRAM = os.environ.get('ECHO_SERVER')
PATIENCE = 20  # seconds, for what must come at once

if not PROGRAM:
    pytest.skip('ECHO_SERVER is not set: run through meson test', allow_module_level=True)


class Server:
    def __init__(self, *args, hand_over=None, **more):
        command = [PROGRAM, *map(str, args)]
        if hand_over:  # as descriptor 3, by a shell that turns into the server
            command = ['sh', '-c', 'export LISTEN_PID=$$; exec "$@" 3<&0', 'sh',
                       *command]
            more['stdin'] = hand_over
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, **more)
        line = self.process.stdout.readline().split()
        assert line[:1] == [b'port'], self.process.communicate()[1]
        self.address = ('127.0.0.1', int(line[1]))

    def client(self, text=None, buffer=None):
        return Client(self.address, text, buffer)

    def get(self, path, headers='', method='GET'):
        """One request on a connection of its own: status, fields, body."""
        with self.client(request(path, headers, method)) as client:
            return client.reply(method == 'HEAD')

    def text(self, path):
        status, _, body = self.get(path)
        assert status == 200, (path, status, body)
        return body.decode()

    def state(self):
        words = self.text('/state').split()
        return dict(zip(words[::2], map(int, words[1::2])))

    def gone(self, count):
        """Wait until so many clients were reported as gone."""
        assert self.text(f'/gone/{count}') == 'gone'

    def until(self, **wanted):
        """Wait until the state is so, without which the rest of a test has no sense."""
        end = time.monotonic() + PATIENCE
        while True:
            state = self.state()
            if all(state[key] == value for key, value in wanted.items()):
                return state
            assert time.monotonic() < end, (state, wanted)

    def stop(self, code=0):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            _, errors = self.process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        assert self.process.returncode == code, errors.decode()
        return errors.decode()


def request(path, headers='', method='GET', body=''):
    length = f'Content-Length: {len(body)}\r\n' if body else ''
    return f'{method} {path} HTTP/1.1\r\nHost: localhost\r\n{length}{headers}\r\n{body}'.encode()


class Client:
    def __init__(self, address, text=None, buffer=None):
        self.socket = socket.socket(socket.AF_UNIX if isinstance(address, str)
                                    else socket.AF_INET)
        if buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(address)
        self.rest = b''
        if text:
            self.send(text)

    def __enter__(self):
        return self

    def __exit__(self, *what):
        self.socket.close()

    def send(self, text):
        self.socket.sendall(text)

    def kill(self):
        """Go away as a crashed client does: with a reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        self.socket.close()

    def more(self):
        try:
            data = self.socket.recv(65536)
        except ConnectionResetError:
            data = b''
        self.rest += data
        return data

    def until(self, mark):
        """What comes up to mark and with it; an EOFError if the end comes first."""
        while mark not in self.rest:
            if not self.more():
                raise EOFError(self.rest)
        end = self.rest.index(mark) + len(mark)
        text, self.rest = self.rest[:end], self.rest[end:]
        return text

    def exactly(self, count):
        while len(self.rest) < count:
            if not self.more():
                raise EOFError(self.rest)
        text, self.rest = self.rest[:count], self.rest[count:]
        return text

    def head(self):
        first, *lines = self.until(b'\r\n\r\n').decode().split('\r\n')[:-2]
        fields = {}
        for line in lines:
            name, value = line.split(': ', 1)
            fields[name.lower()] = value
        version, status, _ = first.split(' ', 2)
        assert version in ('HTTP/1.1', 'HTTP/1.0')
        return int(status), fields

    def chunk(self):
        size = int(self.until(b'\r\n'), 16)
        data = self.exactly(size)
        assert self.exactly(2) == b'\r\n'
        return data

    def reply(self, is_head=False):
        status, fields = self.head()
        body = b''
        if is_head or status == 204:
            return status, fields, body
        if fields.get('transfer-encoding') == 'chunked':
            while piece := self.chunk():
                body += piece
        elif 'content-length' in fields:
            body = self.exactly(int(fields['content-length']))
        else:
            body = self.all()
        return status, fields, body

    def all(self):
        while self.more():
            pass
        text, self.rest = self.rest, b''
        return text

    def is_closed(self):
        """Whether the server ends the connection, with nothing more said."""
        return self.all() == b''


@pytest.fixture(name='serve')
def make_serve():
    servers = []

    def serve(*args, **more):
        servers.append(Server(*args, **more))
        return servers[-1]
    yield serve
    for server in servers:
        if server.process.returncode is None:
            server.stop()
