"""Clients of a server under load: HTTP by hand over asyncio, so that they can misbehave.

An address is a port of 127.0.0.1 or the path of a Unix socket.
"""
import asyncio
import contextlib
import json
import socket
import struct

PATIENCE = 120  # seconds, for what must come


class Broken(Exception):
    """The connection ended where something was to come."""


def text_of(path, body=None, method=None, headers=None):
    """A request's bytes. body: something to be written as JSON, bytes, or None."""
    data = json.dumps(body).encode() if isinstance(body, (dict, list)) else body or b''
    fields = {'Host': 'localhost', **(headers or {})}
    if data:
        fields['Content-Length'] = len(data)
    lines = [f'{method or ("POST" if data else "GET")} {path} HTTP/1.1',
             *(f'{name}: {value}' for name, value in fields.items())]
    return '\r\n'.join(lines).encode() + b'\r\n\r\n' + data


class Client:
    """One connection."""

    def __init__(self, reader, writer):
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, address, receive_bytes=None):
        kind = socket.AF_INET if isinstance(address, int) else socket.AF_UNIX
        mine = socket.socket(kind)
        mine.setblocking(False)
        if receive_bytes:
            mine.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        where = ('127.0.0.1', address) if isinstance(address, int) else address
        await asyncio.get_running_loop().sock_connect(mine, where)
        return cls(*await asyncio.open_connection(sock=mine, limit=1 << 22))

    async def send(self, data):
        self.writer.write(data)
        await self.writer.drain()

    async def line(self):
        line = await self.reader.readline()
        if not line.endswith(b'\n'):
            raise Broken(line)
        return line

    async def head(self):
        """Status and fields."""
        first = (await self.line()).decode().split(' ', 2)
        fields = {}
        while (line := (await self.line()).decode().rstrip()):
            name, value = line.split(': ', 1)
            fields[name.lower()] = value
        return int(first[1]), fields

    async def pieces(self, fields):
        """The body as it comes."""
        try:
            if fields.get('transfer-encoding') != 'chunked':
                yield await self.reader.readexactly(int(fields.get('content-length', 0)))
                return
            while (n := int(await self.line(), 16)):
                yield await self.reader.readexactly(n)
                await self.line()
            await self.line()
        except asyncio.IncompleteReadError as error:
            raise Broken(error.partial[:200]) from None

    async def reply(self):
        """Status, fields, body."""
        async with asyncio.timeout(PATIENCE):
            status, fields = await self.head()
            return status, fields, b''.join([piece async for piece in self.pieces(fields)])

    async def ask(self, *request, **more):
        await self.send(text_of(*request, **more))
        return await self.reply()

    async def is_closed(self, seconds):
        """Whether the server ends the connection by then, whatever it says before."""
        try:
            async with asyncio.timeout(seconds):
                await self.reader.read()
                return True
        except ConnectionError:
            return True
        except TimeoutError:
            return False

    def kill(self):
        """Go as a program does that crashes: with a reset."""
        mine = self.writer.get_extra_info('socket')
        if mine.family == socket.AF_INET:
            mine.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        self.writer.transport.abort()

    def close(self):
        self.writer.close()


@contextlib.asynccontextmanager
async def connected(address, **more):
    client = await Client.open(address, **more)
    try:
        yield client
    finally:
        client.kill()


async def ask(address, *request, **more):
    """Status, fields, body, on a connection of its own."""
    async with connected(address) as client:
        return await client.ask(*request, **more)


async def good(address, *request, **more):
    """The body of an answer that must be good, JSON parsed."""
    status, fields, body = await ask(address, *request, **more)
    assert status == 200, (request[0], status, body)
    return json.loads(body) if 'json' in fields.get('content-type', '') else body
