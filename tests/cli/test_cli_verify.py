"""sluice verify: files named by their SHA-256 in the stores of several programs, packs, and
files of which nothing is known; whole, damaged, cut."""
import json
import os
import shutil

import pytest

from clitool import DEMO, ENV, good, refused, sluice
from storeworld import World, digest, gguf

REPO = 'user/some-GGUF'
NOT_BUILT = b'built without' in sluice('verify', DEMO).stderr
needs_it = pytest.mark.skipif(NOT_BUILT, reason='built without libcrypto')
DATA = gguf(fill=100000)


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def verify(world, *args, **more):
    done = sluice('verify', '--json', *args, env=world.env, **more)
    said = json.loads(done.stdout)
    assert done.returncode == (0 if said['ok'] else 1), done.stderr
    return said


def flip(path, at):
    with open(path, 'r+b') as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1]))


@pytest.mark.skipif(not NOT_BUILT, reason='built with libcrypto')
def test_builds_without():
    refused(1, 'built without libcrypto', 'verify', DEMO)
    refused(1, 'built without libcurl', 'pull', REPO)


@needs_it
def test_usage():
    refused(2, 'no model', 'verify')
    refused(2, 'too many', 'verify', 'a', 'b')
    refused(2, '64 hexadecimal', 'verify', DEMO, '--sha256', 'f' * 63)
    refused(1, 'cannot read', 'verify', './nothing.gguf')
    refused(1, 'it is no file', 'verify', '/')
    assert 'SHA-256' in good('verify', '--help')


@needs_it
def test_a_file(world, tmp_path):
    """Nothing says what it should be, but a person may."""
    path = tmp_path / 'some.gguf'
    path.write_bytes(DATA)
    assert f'SHA-256 is {digest(DATA)}' in good('verify', path)
    said = verify(world, path)
    assert said['ok'] and said['files'] == [{
        'path': str(path), 'bytes': len(DATA), 'state': 'unknown', 'sha256': digest(DATA),
        'expected': ''}]
    assert 'is right' in good('verify', path, '--sha256', digest(DATA).upper())
    done = sluice('verify', path, '--sha256', 'f' * 64)
    assert done.returncode == 1 and b'is wrong: expected ffff' in done.stdout
    assert b'is damaged' in done.stderr
    path.write_bytes(DATA[:-4])  # its last tensor is not whole
    assert not verify(world, path)['ok']


@needs_it
@pytest.mark.parametrize('store', ['huggingface', 'ollama'])
def test_stores(world, store):
    if store == 'ollama':
        blob, name = world.ollama('some', 'q4', DATA), 'some:q4'
    else:
        name = REPO + ':Q4_K_M'
        blob = (world.hf(REPO, {'some-Q4_K_M.gguf': DATA}) / 'some-Q4_K_M.gguf').resolve()
    said = verify(world, name)
    assert said['ok'] and said['files'][0]['state'] == 'ok'
    assert said['files'][0]['expected'] == digest(DATA)
    flip(blob, len(DATA) - 1)
    said = verify(world, name)
    assert not said['ok'] and said['files'][0]['state'] == 'damaged'
    assert said['files'][0]['sha256'] != digest(DATA)
    done = sluice('verify', name, env=world.env)
    assert done.returncode == 1 and b'pull it again' in done.stderr


@needs_it
def test_split(world):
    parts = {f'm-Q4_K_M-0000{i + 1}-of-00003.gguf': gguf(split=(i, 3), fill=1000 + i)
             for i in range(3)}
    snapshot = world.hf(REPO, parts)
    said = verify(world, REPO)
    assert said['ok'] and [f['sha256'] for f in said['files']] == [digest(d)
                                                                  for d in parts.values()]
    refused(1, '3 parts', 'verify', snapshot / 'm-Q4_K_M-00001-of-00003.gguf', '--sha256',
            'f' * 64, env=world.env)
    flip((snapshot / 'm-Q4_K_M-00002-of-00003.gguf').resolve(), 2000)
    said = verify(world, REPO)
    assert [f['state'] for f in said['files']] == ['ok', 'damaged', 'ok'] and not said['ok']


@needs_it
def test_pack(world, tmp_path):
    path = tmp_path / 'demo.slpack'
    good('pack', DEMO, path)
    assert 'checksums are right' in good('verify', path)
    size = os.path.getsize(path)
    for at in (size // 2, size - 4096):
        shutil.copy(path, tmp_path / 'bad.slpack')
        flip(tmp_path / 'bad.slpack', at)
        said = verify(world, tmp_path / 'bad.slpack')
        assert not said['ok'] and said['why'], at


@needs_it
def test_unreadable_output():
    """Nobody reads any more: no failure of ours; a full disk is one."""
    with open('/dev/full', 'wb') as full:
        done = sluice('verify', DEMO, env=ENV, stdout=full)
    assert done.returncode == 1 and b'cannot write' in done.stderr
