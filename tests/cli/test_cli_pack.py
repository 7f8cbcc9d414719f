"""sluice pack: what it writes is whole, equal and takes the model's place in every command;
whatever stops it, nothing half-done is left."""
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time

import pytest

from clitool import DEMO, ENV, SLUICE, good, refused, shared

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
import gguf_writer  # noqa: E402


def pack(*args, **more):
    return subprocess.run([SLUICE, 'pack', *map(str, args)], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=100, env=ENV, **more)


def packed(*args):
    done = pack(*args, '--json')
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def files(folder):
    return sorted(os.listdir(folder))


@pytest.fixture(scope='module')
def bf16(tmp_path_factory):
    path = tmp_path_factory.mktemp('packs') / 'bf16.slpack'
    packed(shared('models', 'tiny-bf16.gguf'), path, '--zstd', 3)
    return path


def test_a_plain_pack_is_a_little_larger(tmp_path):
    out = tmp_path / 'a.slpack'
    report = packed(DEMO, out, '--verify')
    assert report['verified'] and report['file_bytes'] == os.path.getsize(out)
    assert report['source_bytes'] == os.path.getsize(DEMO)
    assert 1 < report['ratio'] < 1.05 and list(report['encodings']) == ['plain']
    assert 'decode_bytes_per_s' not in report
    assert files(tmp_path) == ['a.slpack']


def test_bf16_shrinks(tmp_path):
    out = tmp_path / 'a.slpack'
    report = packed(shared('models', 'tiny-bf16.gguf'), out, '--zstd', 1, '--verify', '-t', 1)
    assert report['ratio'] <= 0.73
    assert report['decode_bytes_per_s'] > report['break_even_bytes_per_s'] > 1e7
    text = pack(shared('models', 'tiny-bf16.gguf'), out, '--zstd', 1, '--verify').stdout.decode()
    assert 'zstd-bf16' in text and 'every tensor is equal' in text and 'disks slower' in text


def test_quantised_weights_stay_plain(tmp_path):
    report = packed(DEMO, tmp_path / 'a.slpack', '--zstd', 19)
    plain = report['encodings']['plain']
    assert plain['number'] > 100 and report['ratio'] < 1.05


@pytest.mark.parametrize('args', [[], ['--zstd', '1']])
def test_every_command_takes_a_pack(tmp_path, args):
    model = shared('models', 'types', 'types-f16.gguf')
    out = tmp_path / 'a.slpack'
    packed(model, out, *args)
    ids = tmp_path / 'ids'
    ids.write_text(' '.join(str(i * 37 % 4000) for i in range(40)))
    logits = []
    for path in (model, out):
        file = tmp_path / 'logits'
        good('eval', path, '--tokens', ids, '--logits', file)
        logits.append(file.read_bytes())
    assert logits[0] == logits[1]
    assert good('tokenize', out, stdin=b'In the beginning') == \
        good('tokenize', model, stdin=b'In the beginning')


@pytest.mark.parametrize('args', [[], ['--zstd', '3']])
def test_info_shows_the_pack(tmp_path, args):
    model = shared('models', 'tiny-bf16.gguf')
    out = tmp_path / 'a.slpack'
    packed(model, out, *args)
    text = good('info', out)
    assert 'pack of a GGUF 3' in text and 'records       64 experts' in text
    assert ('zstd-bf16' in text) == bool(args)
    a, b = json.loads(good('info', model, '--json')), json.loads(good('info', out, '--json'))
    assert 'pack' not in a and b['pack']['file_bytes'] == os.path.getsize(out)
    for key in ('metadata', 'tensors', 'architecture', 'weight_bytes', 'token_bytes'):
        assert a[key] == b[key], key


def test_a_pack_is_replaced_when_the_new_one_is_whole(tmp_path):
    out = tmp_path / 'a.slpack'
    out.write_bytes(b'old')
    packed(DEMO, out)
    assert os.path.getsize(out) > 1e6 and files(tmp_path) == ['a.slpack']
    os.chmod(out, 0o600)
    packed(DEMO, out, '--zstd', 1)
    assert files(tmp_path) == ['a.slpack']


def test_senseless_arguments(tmp_path, bf16):
    out = tmp_path / 'a'
    model = tmp_path / 'model.gguf'
    shutil.copy(DEMO, model)
    os.link(model, tmp_path / 'other')
    for code, word, args in [
            (2, 'no model', []), (2, 'no name', [DEMO]), (2, 'too many', [DEMO, out, 'x']),
            (2, '--zstd', [DEMO, out, '--zstd', 20]), (2, '--zstd', [DEMO, out, '--zstd', 0]),
            (1, 'already', [bf16, out]), (1, 'model itself', [model, model]),
            (1, 'model itself', [model, tmp_path / 'other']), (1, 'regular', [DEMO, '/dev/null']),
            (1, 'nowhere', [DEMO, tmp_path / 'nowhere' / 'a']), (1, 'regular', [DEMO, tmp_path]),
            (1, 'nothing', [tmp_path / 'nothing', out])]:
        done = pack(*args)
        line = done.stderr.decode().splitlines()[0]
        assert (done.returncode, done.stdout) == (code, b'') and word in line, (args, line)
    assert files(tmp_path) == ['model.gguf', 'other']
    assert model.read_bytes() == open(DEMO, 'rb').read()


def test_damage_is_named(tmp_path, bf16):
    data = bytearray(bf16.read_bytes())
    data[-100000] ^= 1
    bad = tmp_path / 'bad.slpack'
    bad.write_bytes(data)
    line = refused(1, 'damaged', 'run', bad, 'x', '-n', 1)
    assert 'expert' in line
    bad.write_bytes(data[:-4096])
    refused(1, 'cut short', 'info', bad)
    data[300] ^= 1
    bad.write_bytes(data)
    refused(1, 'checksum', 'info', bad)


def test_a_write_that_fails_leaves_nothing(tmp_path):
    """The limit on file sizes gives EFBIG in the middle of the work."""
    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))

    done = pack(DEMO, tmp_path / 'a', preexec_fn=limit)
    assert done.returncode == 1 and b'too large' in done.stderr and not files(tmp_path)


def mount(folder, size):
    if os.geteuid() != 0:
        pytest.skip('mounting a small file system takes root')
    done = subprocess.run(['mount', '-t', 'tmpfs', '-o', f'size={size}', 'tmpfs', folder],
                          stderr=subprocess.PIPE)
    if done.returncode:
        pytest.skip(f'cannot mount: {done.stderr.decode().strip()}')


def test_a_full_disk_is_seen_before_the_start(tmp_path):
    mount(tmp_path, '4m')
    try:
        done = pack(DEMO, tmp_path / 'a')
        line = done.stderr.decode()
        assert done.returncode == 1 and 'not enough space' in line and '4.0 MiB are free' in line
        assert 'needs 9.' in line and not files(tmp_path)
        done = pack(shared('models', 'tiny-bf16.gguf'), tmp_path / 'a', '--zstd', 1)
        assert b'about 21.' in done.stderr and not files(tmp_path)
    finally:
        subprocess.run(['umount', tmp_path], check=True)


def test_killed_at_any_moment(tmp_path):
    """Nothing, or the whole pack; and never what was there before, half overwritten."""
    seed = int(os.environ.get('SL_SEED', time.time_ns() % 10 ** 6))
    print(f'SL_SEED={seed}')
    rng = random.Random(seed)
    model = shared('models', 'tiny-bf16.gguf')
    whole = tmp_path / 'whole'
    start = time.monotonic()
    packed(model, whole, '--zstd', 1)
    longest = time.monotonic() - start
    want = whole.read_bytes()
    for old in [None] * 5 + [b'old'] * 4:
        folder = tmp_path / f'{rng.random()}'
        folder.mkdir()
        out = folder / 'a.slpack'
        if old:
            out.write_bytes(old)
        process = subprocess.Popen([SLUICE, 'pack', model, out, '--zstd', '1'],
                                   stdout=subprocess.DEVNULL)
        time.sleep(rng.random() * longest * 1.1)
        process.kill()
        process.wait()
        if old or files(folder):
            assert out.read_bytes() in (old, want)
        others = [name for name in files(folder) if name != 'a.slpack']
        assert all(name.startswith('a.slpack.') for name in others), others
        shutil.rmtree(folder)


def test_ctrl_c_leaves_nothing(tmp_path):
    model = shared('models', 'tiny-bf16.gguf')
    process = subprocess.Popen([SLUICE, 'pack', model, tmp_path / 'a', '--zstd', '19', '-t', '1'],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    time.sleep(0.15)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode in (0, 130, -signal.SIGINT)
    assert files(tmp_path) == (['a'] if process.returncode == 0 else [])


def test_a_split_model_becomes_one_file(tmp_path):
    parts = []
    for i in range(2):
        w = gguf_writer.Writer(alignment=32)
        w.add('split.no', 'u16', i)
        w.add('split.count', 'u16', 2)
        w.add('split.tensors.count', 'i32', 2)
        w.add('general.name', 'str', 'split')
        w.add_tensor(f'part{i}.weight', [64, 640], gguf_writer.F32, os.urandom(4 * 64 * 640))
        parts.append(tmp_path / f'm-0000{i + 1}-of-00002.gguf')
        w.write(parts[i])
    first = packed(parts[0], tmp_path / 'a', '--verify')
    assert first['source_bytes'] == sum(os.path.getsize(p) for p in parts)
    packed(parts[1], tmp_path / 'b', '--verify')
    assert (tmp_path / 'a').read_bytes() == (tmp_path / 'b').read_bytes()
    os.remove(parts[1])
    done = pack(parts[0], tmp_path / 'c')
    assert done.returncode == 1 and b'part 2 of 2 is missing' in done.stderr
