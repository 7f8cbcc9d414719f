"""A running sluice serve with the demo model, and clients of it.

SLUICE names the program (meson sets it); SLUICE_TEST_CPU holds it to one CPU level.
"""
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import time

import pytest

SLUICE = os.environ.get('SLUICE')
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DEMO = os.path.join(ROOT, 'models', 'demo.gguf')
PATIENCE = 60  # seconds, for what must come soon

if not SLUICE:
    pytest.skip('SLUICE is not set: run through meson test', allow_module_level=True)


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__('localhost', timeout=PATIENCE)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(self.path)


class Server:
    def __init__(self, *args, unix=None, env=None, model=DEMO):
        cpu = os.environ.get('SLUICE_TEST_CPU')
        self.unix = unix
        where = ['--unix', unix] if unix else ['--port', '0']
        command = [SLUICE, 'serve', model, *where, *([f'--cpu={cpu}'] if cpu else []),
                   *map(str, args)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        env={**os.environ, **(env or {})})
        line = self.process.stdout.readline().decode()
        assert line.startswith('listening on '), (line, self.process.communicate())
        self.port = None if unix else int(re.search(r':(\d+)$', line.strip()).group(1))

    def connect(self):
        if self.unix:
            return UnixConnection(self.unix)
        return http.client.HTTPConnection('127.0.0.1', self.port, timeout=PATIENCE)

    def ask(self, path, body=None, method=None, headers=None, connection=None):
        """Status and body; JSON is parsed."""
        mine = connection or self.connect()
        data = json.dumps(body) if isinstance(body, dict) else body
        mine.request(method or ('GET' if body is None else 'POST'), path, data, headers or {})
        reply = mine.getresponse()
        text = reply.read()
        if not connection:
            mine.close()
        if reply.headers.get('Content-Type', '').startswith('application/json'):
            text = json.loads(text)
        return reply.status, text

    def good(self, path, body=None, **more):
        status, reply = self.ask(path, body, **more)
        assert status == 200, (path, status, reply)
        return reply

    def begin(self, path, body):
        """A request whose reply is left to come: the connection."""
        mine = self.connect()
        mine.request('POST', path, json.dumps(body))
        return mine

    def anonymous_kib(self):
        with open(f'/proc/{self.process.pid}/status', encoding='ascii') as file:
            return int(re.search(r'^RssAnon:\s+(\d+)', file.read(), re.M).group(1))

    def metric(self, name):
        text = self.good('/metrics').decode()
        return float(re.search(rf'^{re.escape(name)} (\S+)$', text, re.M).group(1))

    def until(self, what, condition):
        end = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < end, what
            time.sleep(0.005)

    def busy(self):
        return sum(slot['is_processing'] for slot in self.good('/slots'))

    def stop(self, code=0, number=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            _, errors = self.process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        assert self.process.returncode == code, (self.process.returncode, errors.decode())
        return errors.decode()


def events(text):
    """The JSON texts of a stream of server-sent events, without its end mark."""
    lines = [line[6:] for line in text.decode().split('\n') if line.startswith('data: ')]
    return [json.loads(line) for line in lines if line != '[DONE]']


def chat_text(text):
    return ''.join(choice['delta'].get('content') or ''
                   for event in events(text) for choice in event['choices'])


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
