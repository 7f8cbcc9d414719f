"""sluice serve with the demo model, and what the system tells of it.

SLUICE names the program (meson sets it).
"""
import asyncio
import os
import re
import signal
import subprocess
import sys
import tempfile
import time

from loadclient import PATIENCE, good

SLUICE = os.environ.get('SLUICE')
HERE = os.path.dirname(os.path.abspath(__file__))
DEMO = os.path.join(HERE, '..', '..', '..', 'models', 'demo.gguf')
SETTLED = 1.0  # seconds in which slots and connections must be free again
FIGURES_HOLD = os.environ.get('SL_SANITIZE', 'none') == 'none'  # times and memory
GROWTH_KIB = 8 << 10  # what memory may grow by


class Server:
    def __init__(self, *args, unix=None, key=None):
        self.errors = tempfile.TemporaryFile()
        self.key = key
        self.unix = unix
        command = [SLUICE, 'serve', DEMO, '--port', '0', *map(str, args),
                   *(['--unix', unix] if unix else []), *(['--api-key', key] if key else [])]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.errors)
        line = self.process.stdout.readline().decode()
        assert line.startswith('listening on '), (line, self.said())
        self.port = int(re.search(r':(\d+)$', line.strip()).group(1))

    def __enter__(self):
        return self

    def __exit__(self, kind, *what):
        if self.process.returncode is None:
            if kind:
                self.process.kill()
                self.process.wait()
            else:
                self.stop()

    def said(self):
        self.errors.seek(0)
        return self.errors.read().decode()

    def stop(self, code=0):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(PATIENCE) == code, self.said()
        self.process.stdout.close()

    def headers(self):
        return {'Authorization': f'Bearer {self.key}'} if self.key else {}

    def address(self, i):
        """Every fourth client comes by the Unix socket, if there is one."""
        return self.unix if self.unix and i % 4 == 0 else self.port

    def proc(self, name):
        return f'/proc/{self.process.pid}/{name}'

    def rss_kib(self):
        with open(self.proc('status'), encoding='ascii') as file:
            return int(re.search(r'^RssAnon:\s+(\d+)', file.read(), re.M).group(1))

    def n_fds(self):
        return len(os.listdir(self.proc('fd')))

    async def metric(self, name):
        text = (await good(self.port, '/metrics', headers=self.headers())).decode()
        return float(re.search(rf'^{re.escape(name)} (\S+)$', text, re.M).group(1))

    async def busy(self):
        slots = await good(self.port, '/slots', headers=self.headers())
        return sum(slot['is_processing'] for slot in slots)

    async def until_free(self):
        """Nobody runs and nobody waits; how long it took."""
        start = time.monotonic()
        while await self.busy() or await self.metric('llamacpp:requests_deferred'):
            assert time.monotonic() - start < PATIENCE, 'slots are not free again'
            await asyncio.sleep(0.01)
        return time.monotonic() - start

    async def until_small(self, before_kib):
        """Memory is what it was: large bodies are given back a little after they went."""
        start = time.monotonic()
        while FIGURES_HOLD and self.rss_kib() - before_kib >= GROWTH_KIB:
            assert time.monotonic() - start < 5, (before_kib, self.rss_kib())
            await asyncio.sleep(0.05)

    async def until_fds(self, n):
        """No more descriptors than so many are open."""
        start = time.monotonic()
        while self.n_fds() > n:
            assert time.monotonic() - start < PATIENCE, (self.n_fds(), n)
            await asyncio.sleep(0.05)


class Probe:
    """Asks for /health again and again, from a process of its own; times in ms."""

    def __init__(self, port):
        self.process = subprocess.Popen([sys.executable, os.path.join(HERE, 'probe.py'), str(port)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def end(self):
        out, _ = self.process.communicate(timeout=PATIENCE)
        assert self.process.returncode == 0
        return sorted(map(float, out.split()))


def percentile(times, share):
    return times[min(len(times) - 1, int(len(times) * share))]
