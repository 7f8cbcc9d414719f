"""64 connections for two minutes: no error, replies as ever, /health at once, nothing left.

SL_LOAD_SECONDS sets another time. Clients come by TCP and by a Unix socket, with a key.
"""
import asyncio
import collections
import json
import os
import random
import time

import pytest

import loadserver
import mixture
from loadclient import PATIENCE, Client, ask, connected, text_of

SECONDS = float(os.environ.get('SL_LOAD_SECONDS', '120'))
N_CLIENTS = 64
HEALTH_P99_MS = 20

if not loadserver.SLUICE:
    pytest.skip('SLUICE is not set: run through meson test', allow_module_level=True)


class Load:
    """Clients that ask for the mixture until they are told to end."""

    def __init__(self, server):
        self.server = server
        self.said = {}  # by index of the request
        self.counts = collections.Counter()
        self.is_over = False

    async def client(self, i):
        rng = random.Random(i)
        while not self.is_over:
            client = await Client.open(self.server.address(i))
            for _ in range(rng.randrange(1, 12)):  # then a new connection
                if self.is_over:
                    break
                await self.ask(client, rng.randrange(len(mixture.REQUESTS)))
            client.close()

    async def ask(self, client, i):
        path, body = mixture.REQUESTS[i]
        status, _, reply = await client.ask(path, body=body, headers=self.server.headers())
        said = mixture.check(path, body, status, reply)
        assert self.said.setdefault(i, said) == said, (path, body)
        self.counts[path] += 1

    async def strangers(self):
        """Those who are turned away meanwhile: without a key, by the name of another host."""
        body = mixture.REQUESTS[0][1]
        while not self.is_over:
            for headers, wanted in (({}, 401), ({'Authorization': 'Bearer wrong'}, 401),
                                    ({**self.server.headers(), 'Host': 'evil.example'}, 403),
                                    ({'Host': 'evil.example:8080'}, 403),
                                    ({**self.server.headers(), 'Origin': 'http://evil.example'},
                                     403)):
                status, _, _ = await ask(self.server.port, '/v1/chat/completions', body=body,
                                         headers=headers)
                assert status == wanted, (headers, status)
                self.counts['turned away'] += 1
            status, _, _ = await ask(self.server.unix, '/health', headers={'Host': 'any.example'})
            assert status == 200  # no browser gets here
            await asyncio.sleep(0.1)

    async def run(self, seconds):
        self.is_over = False
        async with asyncio.TaskGroup() as group:
            for i in range(N_CLIENTS):
                group.create_task(self.client(i))
            group.create_task(self.strangers())
            await asyncio.sleep(seconds)
            self.is_over = True


async def settle(server, n_fds):
    free_s = await server.until_free()
    await server.until_fds(n_fds)
    return free_s


async def soak(server):
    n_fds = server.n_fds()
    load = Load(server)
    await load.run(min(20, SECONDS / 4))  # until all has been asked for at least once
    await settle(server, n_fds)
    before_kib = server.rss_kib()
    load.counts.clear()
    probe = loadserver.Probe(server.port)
    start = time.monotonic()
    await load.run(SECONDS)
    took = time.monotonic() - start
    health = probe.end()
    free_s = await settle(server, n_fds)
    p50, p99 = (loadserver.percentile(health, share) for share in (0.5, 0.99))
    grown = server.rss_kib() - before_kib
    print(f'{sum(load.counts.values())} replies in {took:.0f} s by {N_CLIENTS} connections, '
          f'/health p50 {p50:.2f} p99 {p99:.2f} worst {health[-1]:.2f} ms of {len(health)}, '
          f'memory {before_kib} KiB {grown:+} KiB, {n_fds} descriptors before and after, '
          f'slots free after {free_s:.2f} s\n{json.dumps(load.counts)}')
    assert not loadserver.FIGURES_HOLD or grown < loadserver.GROWTH_KIB
    assert free_s < loadserver.SETTLED
    assert await server.metric('sluice_requests_failed_total') == 0
    assert not loadserver.FIGURES_HOLD or p99 < HEALTH_P99_MS


def test_many_clients(tmp_path):
    with loadserver.Server('--parallel', 8, unix=str(tmp_path / 'socket'), key='secret') as server:
        asyncio.run(soak(server))
        assert server.said() == ''


async def overfull(server):
    """More than the queue holds are told to come again, and the rest is served."""
    counts = collections.Counter()

    async def one(i):
        status, fields, reply = await ask(
            server.port, '/completion',
            body={'prompt': f'{i}', 'n_predict': 30, 'ignore_eos': True, 'stream': i % 2 == 0})
        counts[status] += 1
        if status == 200:
            assert b'"stop":true' in reply
        else:
            assert int(fields['retry-after']) > 0
            assert 'busy' in json.loads(reply)['error']['message']
    await asyncio.gather(*(one(i) for i in range(100)))
    print(f'of 100 at once: {dict(counts)}')
    assert set(counts) == {200, 503} and counts[200] >= 3
    assert await server.until_free() < loadserver.SETTLED


def test_queue_limit():
    with loadserver.Server('--parallel', 2, '--queue', 3) as server:
        asyncio.run(overfull(server))


async def crowded(server):
    """Who finds no place for a connection waits until there is one."""
    others = [await Client.open(server.port) for _ in range(8)]
    for other in others:
        assert (await other.ask('/health'))[0] == 200
    async with connected(server.port) as waiting:
        asking = asyncio.create_task(waiting.ask('/health'))
        await asyncio.sleep(0.5)
        assert not asking.done()
        others.pop().kill()
        assert (await asking)[0] == 200
    for other in others:
        assert (await other.ask('/health'))[0] == 200
        other.kill()
    replies = await asyncio.gather(*(ask(server.port, '/health') for _ in range(200)))
    assert {status for status, _, _ in replies} == {200}


def test_connection_limit():
    with loadserver.Server('--connections', 8) as server:
        asyncio.run(crowded(server))


async def refuses(server):
    """Until nobody gets in any more."""
    start = time.monotonic()
    while time.monotonic() - start < 20:
        try:
            (await Client.open(server.port)).kill()
        except ConnectionRefusedError:
            return
        except ConnectionResetError:
            pass  # it was waiting at the very moment
        await asyncio.sleep(0.002)
    pytest.fail('it still accepts connections')


async def drained(server):
    """SIGTERM lets what runs come to its end; nobody else gets in."""
    begun = asyncio.Event()
    n_predict = 400 if loadserver.FIGURES_HOLD else 60  # still there when the signal comes
    body = {'prompt': mixture.VERSE, 'n_predict': n_predict, 'ignore_eos': True, 'seed': 1}
    n_begun = 0

    async def one(i):
        nonlocal n_begun
        async with connected(server.port) as client:
            await client.send(text_of('/completion', body={**body, 'stream': i % 2 == 0}))
            n_begun += 1
            if n_begun == 16:
                begun.set()
            return await client.reply()
    replies = [asyncio.create_task(one(i)) for i in range(16)]
    await begun.wait()
    while await server.busy() < 4:
        await asyncio.sleep(0.01)
    idle = await Client.open(server.port)
    assert (await idle.ask('/health'))[0] == 200
    server.process.terminate()
    await refuses(server)
    assert not all(reply.done() for reply in replies)
    for i, (status, _, reply) in enumerate(await asyncio.gather(*replies)):
        assert status == 200, (i, reply)
        if i % 2 == 0:
            mixture.stream_text('/completion', reply)
        else:
            assert json.loads(reply)['tokens_predicted'] == n_predict
    assert await idle.is_closed(5)


def test_end_in_the_middle():
    with loadserver.Server('--parallel', 4, '--drain', PATIENCE) as server:
        asyncio.run(drained(server))
        server.stop()
        assert server.said() == ''
