"""sluice pull against a hub on this machine: what it gets, what it says, and what it makes of a
server that fails, lies and changes its mind. SL_PULL_RUNS: interruptions of the last test."""
import json
import os
import pty
import random
import resource
import signal
import struct
import subprocess
import time

import pytest

from clitool import DEMO, SLUICE, sluice
from hubserver import Hub, digest
from storeworld import OLDER, World, gguf

REPO = 'user/some-GGUF'
FILE = 'some-Q4_K_M.gguf'
BIG = random.Random(1).randbytes((5 << 20) + 12345)  # 21 chunks of 256 KiB, the head are 16
DATA = BIG[-(1 << 20) - 12345:]
CHUNK = 256 << 10


class PullWorld(World):
    def __init__(self, home):
        super().__init__(home)
        self.hub = Hub()
        for name in ('HF_TOKEN', 'HF_TOKEN_PATH', 'HUGGING_FACE_HUB_TOKEN', 'HF_HUB_OFFLINE',
                     'http_proxy', 'https_proxy', 'all_proxy', 'HTTP_PROXY', 'HTTPS_PROXY',
                     'ALL_PROXY', 'NO_PROXY', 'no_proxy'):
            self.env.pop(name, None)
        self.env['HF_ENDPOINT'] = self.hub.url
        self.env['TMPDIR'] = str(home)
        self.repo = self.hf_root / ('models--' + REPO.replace('/', '--'))

    def run(self, *args, **more):
        args = [a for a in args if a]
        return sluice('pull', '--no-measure', '--wait=1', *args, env=self.env, **more)

    def command(self, *args):
        return [SLUICE, 'pull', '--no-measure', '--wait=1', *args]

    def good(self, *args, **more):
        done = self.run('--yes', *args, **more)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode().strip()

    def json(self, *args):
        return json.loads(self.good('--json', *args))

    def bad(self, *args, code=1, **more):
        done = self.run('--yes', *args, **more)
        assert (done.returncode, done.stdout) == (code, b''), done.stderr.decode()
        return done.stderr.decode()

    def blobs(self):
        return sorted(p.name for p in (self.repo / 'blobs').iterdir())

    def blob(self, data=DATA):
        return self.repo / 'blobs' / digest(data)

    def partial(self, data=DATA):
        return self.repo / 'blobs' / (digest(data) + '.sluice.incomplete')

    def journal(self, data=DATA):
        return self.repo / 'blobs' / (digest(data) + '.sluice.journal')

    def ranges(self, data=DATA):
        """What the journal claims, which must be on the disk: ranges of bytes."""
        if not self.journal(data).exists():
            return []
        raw = self.journal(data).read_bytes()
        if len(raw) < 1024 or not raw.startswith(b'SLPULL1'):
            return []
        chunk, n = struct.unpack_from('<II', raw, 16)
        there = self.partial(data).read_bytes()
        found = []
        for i in range(n):
            _, written = struct.unpack_from('<II', raw, 1024 + 8 * i)
            at = i * chunk
            assert there[at:at + written] == data[at:at + written], f'chunk {i}'
            if written:
                found.append((at, at + written))
        return found

    def is_right(self, data=DATA):
        """Nothing but the whole file, and its name leads to it."""
        assert self.blobs() == [digest(data)]
        assert self.blob(data).read_bytes() == data


N_RUNS = int(os.environ.get('SL_PULL_RUNS', '10'))


@pytest.fixture
def world(tmp_path):
    made = PullWorld(tmp_path)
    made.hub.add(REPO, {FILE: DATA})
    yield made
    made.hub.close()


def once(*faults):
    """Faults for the first requests of data, then none."""
    left = list(faults)
    return lambda request: left.pop(0) if request.is_data and left else None


# What it gets

def test_layout(world):
    demo = open(DEMO, 'rb').read()
    world.hub.add(REPO, {'sub/demo-Q4_K_M.gguf': demo, 'demo-F16.gguf': demo[:-1] + b'x'})
    done = world.run(REPO)
    assert done.returncode == 0, done.stderr
    path = done.stdout.decode().strip()
    snapshot = world.repo / 'snapshots' / world.hub.commits[REPO]
    assert path == str(snapshot / 'sub' / 'demo-Q4_K_M.gguf')
    assert os.readlink(path) == f'../../../blobs/{digest(demo)}'
    assert open(path, 'rb').read() == demo
    assert (world.repo / 'refs' / 'main').read_text() == world.hub.commits[REPO]
    assert world.blobs() == [digest(demo)]
    text = done.stderr.decode()
    for word in ('9.71 MiB to download', 'free in', 'resident', '--ram', 'SHA-256 is right'):
        assert word in text, text
    assert f'{REPO}:Q4_K_M' in world.ls()
    n = len(world.hub.data_requests())
    assert n > 4
    done = world.run(REPO + ':Q4_K_M')
    assert done.stdout.decode().strip() == path and b'there already' in done.stderr
    assert len(world.hub.data_requests()) == n


def test_what_other_tools_got(world):
    """A blob that is there is not fetched, only named; a lock of another program is heeded."""
    world.hf(REPO, {FILE: DATA}, commit=OLDER)
    assert world.good(REPO) == str(world.repo / 'snapshots' / world.hub.commits[REPO] / FILE)
    assert not world.hub.data_requests()
    assert (world.repo / 'refs' / 'main').read_text() == world.hub.commits[REPO]


def test_json_and_list(world):
    listed = json.loads(world.run('--list', '--json', REPO).stdout)
    assert listed['models'] == [{'file': FILE, 'parts': 1, 'bytes': len(DATA),
                                 'quantization': 'Q4_K_M', 'state': 'absent'}]
    got = world.json(REPO)
    assert (got['bytes'], got['fetched_bytes'], got['resumed_bytes']) == (len(DATA), len(DATA), 0)
    assert got['files'] == [{'file': FILE, 'bytes': len(DATA), 'sha256': digest(DATA)}]
    assert got['model'] == REPO + ':Q4_K_M' and got['commit'] == world.hub.commits[REPO]
    table = world.run('--list', REPO).stdout.decode()
    assert 'here' in table and FILE in table
    assert world.json(REPO)['fetched_bytes'] == 0


def test_choice(world):
    small = {name: name.encode() * 9 for name in (
        'a-Q8_0.gguf', 'a-Q6_K.gguf', 'b/a-Q6_K.gguf', 'mmproj-a-F16.gguf', 'readme.txt')}
    world.hub.add(REPO, small)
    assert 'none of type Q4_K_M' in world.bad(REPO)
    assert 'no model that "Q2_K" means' in world.bad(REPO + ':Q2_K')
    assert 'more than one' in world.bad(REPO + ':Q6_K')
    for tag, name in ((':q8_0', 'a-Q8_0.gguf'), (':b/a-Q6_K', 'b/a-Q6_K.gguf'),
                      (':a-Q6_K.gguf', None), (':mmproj-a-F16', 'mmproj-a-F16.gguf')):
        if name:
            assert world.good(REPO + tag).endswith('/' + name)
    world.hub.add(REPO, {'x-Q8_0.gguf': b'x' * 99, 'mmproj-x-F16.gguf': b'y' * 99})
    assert world.good(REPO).endswith('/x-Q8_0.gguf')
    world.hub.add(REPO, {'notes.txt': b'x'})
    assert 'no GGUF files' in world.bad(REPO)


def test_split(world):
    parts = {f'm-Q4_K_M-0000{i + 1}-of-00003.gguf': gguf(split=(i, 3), fill=200000)
             for i in range(3)}
    world.hub.add(REPO, parts)
    got = world.json(REPO)
    assert [f['sha256'] for f in got['files']] == [digest(d) for d in parts.values()]
    for name, data in parts.items():
        assert (world.repo / 'snapshots' / world.hub.commits[REPO] / name).read_bytes() == data
    assert world.ls()[REPO + ':Q4_K_M']['parts'] == 3
    del parts['m-Q4_K_M-00002-of-00003.gguf']
    world.hub.add(REPO, parts)
    assert '2 of 3 parts' in world.bad(REPO)
    assert not [p for p in world.home.iterdir() if p.name.startswith('sluice-pull')]


def test_revision(world):
    world.hub.commits[REPO] = OLDER
    path = world.good(REPO + '@refs/pr/1')
    assert '/snapshots/' + OLDER in path
    assert (world.repo / 'refs' / 'refs' / 'pr' / '1').read_text() == OLDER
    assert not (world.repo / 'refs' / 'main').exists()
    assert any('revision/refs%2Fpr%2F1' in r.target for r in world.hub.log)
    world.good(REPO + '@' + OLDER)
    assert not (world.repo / 'refs' / OLDER).exists()


def test_token_and_proxy(world):
    world.env['HF_TOKEN'] = 'secret'
    world.good(REPO)
    for request in world.hub.log:
        expected = None if request.is_data else 'Bearer secret'
        assert request.headers.get('Authorization') == expected, request
    del world.env['HF_TOKEN']
    token = world.home / '.cache' / 'huggingface' / 'token'
    token.write_text('kept\n')
    world.hub.log.clear()
    world.env['http_proxy'] = world.hub.url
    assert world.run('--list', REPO).returncode == 0
    assert world.hub.n_proxied == 1
    assert world.hub.log[0].headers['Authorization'] == 'Bearer kept'
    token.write_text('two words')
    assert 'without blanks' in world.bad(REPO)


# What it says

def test_names(world):
    for name in ('x', 'a/b/c', '../x', 'a/..', 'a--b/c', 'a/b:', 'a/b@', 'a/b@../c', '/a/b', 'a/'):
        done = world.run(name)
        assert done.returncode == 2 and b'expected' in done.stderr, (name, done.stderr)
    assert not world.hub.log


def test_environment(world):
    for key, value, word in (('HF_ENDPOINT', 'ftp://x', 'HF_ENDPOINT'),
                             ('HF_HUB_OFFLINE', '1', 'HF_HUB_OFFLINE')):
        env = dict(world.env, **{key: value})
        done = sluice('pull', REPO, env=env)
        assert done.returncode == 1 and word.encode() in done.stderr
    env = {k: v for k, v in world.env.items() if k != 'HOME'}
    assert b'no place' in sluice('pull', REPO, env=env).stderr
    env = dict(world.env, LLAMA_CACHE=str(world.home / 'llama'))
    assert str(world.home / 'llama' / 'models--user--some-GGUF').encode() in sluice(
        'pull', '--yes', '--no-measure', REPO, env=env).stdout


@pytest.mark.parametrize('status, token, words', [
    (404, '', ['no such repo']), (401, '', ['HF_TOKEN']), (403, 't', ['token given']),
    (400, '', ['400']), (302, '', ['302']),
])
def test_refusals(world, status, token, words):
    world.hub.fault = lambda request: {'status': status, 'headers': {'X-Error-Message': 'why not'}}
    world.env['HF_TOKEN'] = token
    text = world.bad(REPO)
    for word in words + ['why not']:
        assert word in text, text
    assert len(world.hub.log) == 1


def test_bad_models_are_asked_about(world):
    """Not without a word: a terminal is asked, others need --yes."""
    data = gguf('llama', fill=300000)
    world.hub.add(REPO, {'l-Q4_K_M.gguf': data})
    done = world.run(REPO)
    assert done.returncode == 1 and b'"llama" is not supported' in done.stderr
    assert b'--yes' in done.stderr
    for answer, code in ((b'n\n', 1), (b'y\n', 0)):
        master, slave = pty.openpty()
        running = subprocess.Popen(world.command(REPO), stdin=slave, stdout=subprocess.PIPE,
                                   stderr=slave, env=world.env)
        os.close(slave)
        seen = b''
        while b'[y/N]' not in seen:
            seen += os.read(master, 4096)
        os.write(master, answer)
        out, _ = running.communicate(timeout=20)
        os.close(master)
        assert running.returncode == code, seen
        assert bool(out) == (code == 0)
    world.is_right(data)


def on_terminal(world, *args):
    """What a terminal shows of a run, and its exit code."""
    master, slave = pty.openpty()
    running = subprocess.Popen(world.command('--yes', *args), stdin=slave, stderr=slave,
                               stdout=subprocess.DEVNULL, env=world.env)
    os.close(slave)
    seen = b''
    try:
        while piece := os.read(master, 4096):
            seen += piece
    except OSError:
        pass  # how the end of a terminal shows
    os.close(master)
    return seen.decode(), running.wait(20)


def test_progress(world):
    world.hub.pause_s = 0.05  # after each of 66 pieces, four at a time
    seen, code = on_terminal(world, REPO)
    assert code == 0
    assert 'pulling [#' in seen and ' MB/s, ' in seen and ' s left' in seen, seen
    world.is_right()
    world.hub.add(REPO, {FILE: DATA[1:]})
    world.hub.pause_s = 0
    world.hub.fault = once({'status': 503, 'headers': {'Retry-After': '1'}})
    seen, code = on_terminal(world, '--connections=1', REPO)
    assert code == 0 and 'waiting ' in seen and '503' in seen, seen


def test_an_unfinished_one_is_listed(world):
    """As unfinished, and it is no model for other commands."""
    demo = open(DEMO, 'rb').read()
    world.hub.add(REPO, {FILE: demo})
    world.hub.fault = lambda r: r.is_data and r.range[0] >= 5 << 20 and {'status': 500}
    world.bad('--tries=1', '--connections=1', REPO)
    listed, = world.listing()['models']
    assert (listed['repo'], listed['state']) == (REPO, 'partial')
    done = sluice('run', REPO, 'x', env=world.env)
    assert done.returncode == 1 and b'cannot be used' in done.stderr


def test_space_is_looked_at_first(world):
    world.hub.extra[REPO] = [{'rfilename': 'big-Q8_0.gguf', 'size': 1 << 49,
                              'lfs': {'sha256': 'a' * 64, 'size': 1 << 49}}]
    assert 'not enough space' in world.bad(REPO + ':Q8_0')
    assert not world.hub.data_requests()


def test_a_disk_that_takes_no_more(world):
    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (3 << 18, 3 << 18))
    text = world.bad('--connections=1', REPO, preexec_fn=limit)
    assert 'cannot write' in text and 'the same command goes on' in text
    assert world.ranges() and not world.blob().exists()
    got = world.json(REPO)
    assert got['resumed_bytes'] > 0
    assert got['fetched_bytes'] == len(DATA) - got['resumed_bytes']
    world.is_right()


HOSTILE = [
    {'rfilename': '../../../../evil-Q8_0.gguf'}, {'rfilename': '/tmp/evil-Q8_0.gguf'},
    {'rfilename': 'a//evil-Q8_0.gguf'}, {'rfilename': 'a/./evil-Q8_0.gguf'},
    {'rfilename': 'a\\evil-Q8_0.gguf'}, {'rfilename': 'a\nevil-Q8_0.gguf'},
    {'rfilename': 'x' * 256 + '-Q8_0.gguf'}, {'rfilename': 7}, {},
    {'rfilename': 'evil-Q8_0.gguf', 'lfs': {'sha256': '../' + 'a' * 61, 'size': 9}},
    {'rfilename': 'evil-Q8_0.gguf', 'lfs': {'sha256': 'a' * 64, 'size': -1}},
    {'rfilename': 'evil-Q8_0.gguf', 'lfs': {'sha256': 'a' * 64, 'size': 1 << 60}},
    {'rfilename': 'evil-Q8_0.gguf', 'lfs': {'sha256': 'a' * 64}},
]


def test_hostile_entries(world):
    """Each is left out, and the others count."""
    world.hub.extra[REPO] = [{'lfs': {'sha256': 'a' * 64, 'size': 9}, **e} for e in HOSTILE]
    done = world.run('--list', '--json', REPO)
    assert done.returncode == 0 and f'{len(HOSTILE)} files'.encode() in done.stderr
    assert [m['file'] for m in json.loads(done.stdout)['models']] == [FILE]


@pytest.mark.parametrize('text', [
    b'', b'[]', b'{}', b'{"sha":"x","siblings":[]}', b'{"sha":"' + b'0' * 40 + b'"}', b'\xff',
    b'{"sha":"../../../../../../../../../../tmp/aaaaaa","siblings":[]}', b'[' * 5000,
])
def test_hostile_listings(world, text):
    world.hub.fault = lambda request: {'status': 200, 'text': text.decode('latin-1')}
    assert 'list of files' in world.bad(REPO)
    assert not world.repo.exists()


# A server that fails

DROPS = [{'drop': n} for n in (0, 1, 100, 40000, 70000)]


@pytest.mark.parametrize('name, faults', [
    ('drops', DROPS),
    ('ends early', [{'length': -100}, {'length': -CHUNK + 1}]),
    ('lies about its length', [{'length': 1}, {'length': 10**6}]),
    ('sends more', [{'more': 1}, {'more': 300000}]),
    ('no length', [{'close': True}, {'close': True, 'drop': 50}]),
    ('ignores ranges', [{'whole': True}] * 30),
    ('ignores ranges once', [None, {'whole': True}]),
    ('ignores ranges and drops', [{'whole': True, 'drop': n} for n in (300000, 10, 900000)]),
    ('other ranges', [{'shift': 1}, {'shift': 1000}]),
    ('errors', [{'status': s} for s in (500, 502, 503, 504, 408)]),
    ('too many', [{'status': 429, 'headers': {'Retry-After': '0'}}] * 3),
    ('links expire', [None, None, {'status': 403}, {'status': 404}]),
])
def test_faults(world, name, faults):
    world.hub.fault = once(*faults)
    got = world.json(REPO)
    assert got['fetched_bytes'] == len(DATA)
    world.is_right()


def test_no_store(world):
    """A hub that sends files itself."""
    world.hub.is_direct = True
    world.good(REPO)
    world.is_right()


@pytest.mark.parametrize('faults', [DROPS * 4, [{'whole': True}] * 30, [None] * 18 + [
    {'whole': True}, {'status': 503}, {'drop': 9000}]])
def test_faults_after_the_head(world, faults):
    world.hub.add(REPO, {FILE: BIG})
    world.hub.fault = once(*faults)
    assert world.json(REPO)['fetched_bytes'] == len(BIG)
    world.is_right(BIG)


def test_stall(world):
    world.hub.fault = once({'stall': 5000})
    begin = time.monotonic()
    assert world.json('--stall=1', REPO)['failed_tries'] == 1
    assert time.monotonic() - begin >= 1.0
    world.is_right()


def test_retry_after(world):
    world.hub.fault = once({'status': 503, 'headers': {'Retry-After': '1'}})
    begin = time.monotonic()
    world.good(REPO)
    assert time.monotonic() - begin >= 0.9
    world.is_right()
    world.hub.add(REPO, {FILE: DATA[:-1]})
    world.hub.fault = lambda r: r.is_data and {'status': 429, 'headers': {'Retry-After': '9999'}}
    assert 'come back in 9999 s' in world.bad(REPO)


def test_gives_up_and_goes_on(world):
    world.hub.fault = lambda request: request.is_data and request.range[0] >= 1 << 18 and \
        {'status': 500}
    text = world.bad('--tries=3', '--connections=1', REPO)
    assert 'tried 3 times' in text and 'goes on from there' in text and '500' in text
    had = world.ranges()
    assert sum(b - a for a, b in had) >= 1 << 18
    world.hub.fault = None
    world.hub.log.clear()
    got = world.json(REPO)
    assert got['resumed_bytes'] == sum(b - a for a, b in had)
    assert got['fetched_bytes'] == len(DATA) - got['resumed_bytes']
    world.is_right()
    not_asked_again(world, had)


def not_asked_again(world, had):
    for request in world.hub.data_requests():
        first, last = request.range
        for begin, end in had:
            assert last < begin or first >= end, (request, (begin, end))


def test_listing_is_tried_again(world):
    faults = [{'status': 503}, {'status': 429, 'headers': {'Retry-After': '0'}}, {'status': 500}]
    world.hub.fault = lambda request: faults.pop() if faults else None
    world.good(REPO)
    world.hub.fault = lambda request: {'status': 502}
    assert '502' in world.bad('--tries=2', REPO)


def test_nobody_listens(world):
    env = dict(world.env, HF_ENDPOINT='http://127.0.0.1:1')
    done = sluice('pull', '--wait=1', '--tries=2', REPO, env=env)
    assert done.returncode == 1 and b'tried 2 times' in done.stderr


@pytest.mark.parametrize('to, word', [
    ('file:///etc/passwd', 'file'), ('ftp://127.0.0.1/x', 'ftp'), (None, 'redirects'),
])
def test_redirects(world, to, word):
    world.hub.fault = lambda request: 'resolve' in request.path and {
        'status': 302, 'headers': {'Location': to or request.target}}
    assert word in world.bad('--tries=1', REPO).lower()
    assert not world.blob().exists()


def test_wrong_bytes_get_no_name(world):
    world.hub.fault = lambda request: request.is_data and {'flip': 567890}
    assert 'thrown away' in world.bad(REPO)
    assert world.blobs() == []
    assert not (world.repo / 'snapshots').exists()
    world.hub.fault = None
    world.good(REPO)
    world.is_right()


@pytest.mark.parametrize('fault', [{'total': 5}, {'encoding': 'gzip'},
                                   {'linked_tag': 'c' * 64}, {'linked_size': 4}])
def test_another_file_than_listed(world, fault):
    world.hub.fault = lambda request: fault
    text = world.bad(REPO)
    assert 'serving another file' in text or 'encodes' in text, text
    assert not world.blob().exists()


def test_etags_that_differ(world):
    """Of one file, as servers behind one name may have them: the SHA-256 decides."""
    tags = iter('abcdefghij')
    world.hub.fault = lambda request: request.is_data and {'tag': next(tags, 'z')}
    world.good('--connections=1', REPO)
    world.is_right()
    world.hub.add(REPO, {FILE: DATA[1:]})
    world.hub.fault = lambda request: {'tag': 'b' * 64}  # of a store it may be anything
    world.good(REPO)
    assert world.blob(DATA[1:]).exists()
    world.hub.is_direct = True  # of the hub it is the digest
    world.hub.add(REPO, {FILE: DATA[2:]})
    assert 'serving another file' in world.bad(REPO)


def test_the_file_changes_meanwhile(world):
    newer = random.Random(2).randbytes(len(DATA) + 77)
    seen = []

    def fault(request):
        seen.append(request)
        if request.is_data and sum(r.is_data for r in seen) == 3:
            world.hub.add(REPO, {FILE: newer}, commit=OLDER)
        return None
    world.hub.fault = fault
    done = world.run('--yes', REPO)
    assert done.returncode == 0, done.stderr
    assert b'not the one that it listed' in done.stderr and b'begins anew' in done.stderr
    world.is_right(newer)
    assert (world.repo / 'refs' / 'main').read_text() == OLDER


def test_the_file_changes_between_runs(world):
    world.hub.fault = lambda r: r.is_data and r.range[0] >= 1 << 19 and {'status': 404}
    assert '404' in world.bad('--tries=1', '--connections=1', REPO)
    assert world.ranges()
    newer = DATA[:-100]
    world.hub.add(REPO, {FILE: newer})
    world.hub.fault = None
    done = world.run('--yes', REPO)
    assert done.returncode == 0 and b'begins anew' in done.stderr
    world.is_right(newer)


# What an earlier run left

def cut_off(world):
    """An unfinished download."""
    world.hub.fault = lambda r: r.is_data and r.range[0] >= 3 << 18 and {'status': 500}
    world.bad('--tries=1', '--connections=1', REPO)
    world.hub.fault = None
    world.hub.log.clear()
    return world.ranges()


@pytest.mark.parametrize('what', ['no journal', 'empty', 'cut', 'garbage', 'counts', 'short data',
                                  'no data'])
def test_broken_remains(world, what):
    """Nothing is believed that cannot be."""
    assert cut_off(world)
    raw = world.journal().read_bytes()
    if what == 'no journal':
        world.journal().unlink()
    elif what == 'empty':
        world.journal().write_bytes(b'')
    elif what == 'cut':
        world.journal().write_bytes(raw[:1030])
    elif what == 'garbage':
        world.journal().write_bytes(random.Random(3).randbytes(len(raw)))
    elif what == 'counts':
        world.journal().write_bytes(raw[:1024] + b'\xff' * (len(raw) - 1024))
    elif what == 'short data':
        os.truncate(world.partial(), 1000)
    elif what == 'no data':
        world.partial().unlink()
    assert world.json(REPO)['resumed_bytes'] == 0
    world.is_right()


def test_after_the_power_failed(world):
    """Of another boot only what was flushed counts, though more may be there."""
    assert cut_off(world)
    raw = bytearray(world.journal().read_bytes())
    boot = raw.index(open('/proc/sys/kernel/random/boot_id', 'rb').read().strip())
    raw[boot:boot + 4] = b'gone'
    counts = [list(struct.unpack_from('<II', raw, at)) for at in range(1024, len(raw), 8)]
    begun = next(i for i, (_, written) in enumerate(counts) if written > 1000)
    struct.pack_into('<I', raw, 1024 + 8 * begun, 1000)  # durable
    durable = sum(d for d, _ in counts) - counts[begun][0] + 1000
    world.journal().write_bytes(raw)
    assert world.json(REPO)['resumed_bytes'] == durable
    world.is_right()


def test_damage_in_what_was_there(world):
    """It is read again for the SHA-256, so it is found."""
    assert cut_off(world)
    with open(world.partial(), 'r+b') as file:
        file.seek(100000)
        file.write(b'damage')
    assert 'thrown away' in world.bad(REPO)
    assert world.blobs() == []


def test_a_blob_of_another_size(world):
    world.blob().parent.mkdir(parents=True)
    world.blob().write_bytes(DATA[:1000])
    assert 'remove it' in world.bad(REPO)
    assert world.blob().read_bytes() == DATA[:1000]


def test_two_at_once(world):
    """One works, the other says so."""
    world.hub.fault = once(*[{'stall': 10}] * 4)
    first = subprocess.Popen(world.command('--yes', '--stall=20', REPO), env=world.env,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert world.hub.stalled.wait(20)
    assert 'another program is downloading' in world.bad(REPO)
    world.hub.is_over.set()
    first.communicate(timeout=60)
    assert first.returncode == 0
    world.is_right()


def interrupt(world, rng, is_kill):
    """One run, ended by a signal at some moment. Whether it was done before."""
    running = subprocess.Popen(world.command('--yes', REPO), env=world.env,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        running.wait(timeout=rng.uniform(0.005, 0.15))
    except subprocess.TimeoutExpired:
        running.send_signal(signal.SIGKILL if is_kill else signal.SIGINT)
    _, err = running.communicate(timeout=60)
    if not is_kill and running.returncode:
        assert running.returncode in (130, -signal.SIGINT), err
    return running.returncode == 0


def test_interruptions(world):
    """However it ends: nothing under its name before it is right, all that the journal claims is
    there, nothing that is there is asked for again, and in the end the hash is right."""
    data = random.Random(4).randbytes((8 + N_RUNS // 5 << 20) + 5)
    seed = random.randrange(1 << 30)
    print('seed', seed)
    rng = random.Random(seed)
    world.hub.add(REPO, {FILE: data})
    world.hub.pause_s = 0.004
    had, n_cut = [], 0
    while n_cut < N_RUNS:
        world.hub.log.clear()
        is_done = interrupt(world, rng, rng.random() < 0.6)
        not_asked_again(world, had)
        if is_done:
            world.is_right(data)
            for path in (world.blob(data), *world.repo.glob('snapshots/*/*')):
                path.unlink()
            had = []
            continue
        n_cut += 1
        assert not world.blob(data).exists() or world.blob(data).read_bytes() == data
        now = world.ranges(data)
        if not world.blob(data).exists():
            for begin, end in had:
                assert any(a <= begin and end <= b for a, b in now), (begin, end)
        had = now
    world.hub.pause_s = 0
    world.hub.log.clear()
    world.good(REPO)
    not_asked_again(world, had)
    world.is_right(data)
