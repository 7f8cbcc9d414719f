"""sluice ls and MODEL: every store as its program lays it out, every spelling of a name, and
whatever else may lie there."""
import json
import os
import shutil
import subprocess

import pytest

from clitool import DEMO, SLUICE, good, refused, sluice
from storeworld import COMMIT, OLDER, World, digest, gguf, manifest, put

import header_24b  # found by storeworld

REPO = 'LiquidAI/LFM2-24B-A2B-GGUF'
Q4 = 'LFM2-24B-A2B-Q4_K_M.gguf'
Q8 = 'LFM2-24B-A2B-Q8_0.gguf'


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def leads(world, name, path):
    """MODEL called name is the file at path: what is wrong with the file is said of that."""
    text = world.path(name)
    assert str(path) in text and 'block_count is missing' in text, (name, text)


def lost(world, name):
    text = world.path(name)
    assert 'no file and no model is called' in text, text
    return text


def test_nothing_anywhere(world):
    assert 'No models were found' in world.table() and 'SLUICE_MODELS' in world.table()
    found = world.listing()
    assert found['models'] == []
    absent = {p['path'] for p in found['places'] if p['state'] == 'absent'}
    assert {str(world.ollama_root), str(world.hf_root), str(world.lmstudio_root)} <= absent


def test_without_a_home():
    env = {'PATH': os.environ['PATH']}
    assert 'No models' in good('ls', env=env)


# Ollama

def test_ollama_names(world):
    data = gguf()
    blob = world.ollama('lfm2', '24b', data)
    latest = world.ollama('lfm2', 'latest', gguf(fill=65))
    other = world.ollama('LFM2-1.2B-GGUF', 'Q8_0', gguf('lfm2', 7), space='LiquidAI', host='hf.co')
    mine = world.ollama('mine', 'v1', gguf(fill=66), space='me')
    away = world.ollama('far', 'v1', gguf(fill=67), space='team', host='models.example.com:5000')
    found = world.ls()
    assert set(found) == {'lfm2:24b', 'lfm2:latest', 'hf.co/LiquidAI/LFM2-1.2B-GGUF:Q8_0',
                          'me/mine:v1', 'models.example.com:5000/team/far:v1'}
    one = found['lfm2:24b']
    assert one['store'] == 'ollama' and one['state'] == 'ok' and one['supported']
    assert one['architecture'] == 'lfm2moe' and one['quantization'] == 'Q4_K_M'
    assert one['bytes'] == len(data) and one['path'] == str(blob)
    assert one['sha256'] == digest(data) and one['note'] is None
    for name in ('lfm2:24b', 'ollama.com/library/LFM2:24B', f'sha256-{digest(data)}'):
        leads(world, name, blob)
    leads(world, 'lfm2', latest)
    for name in ('hf.co/LiquidAI/LFM2-1.2B-GGUF:Q8_0',
                 'https://huggingface.co/liquidai/lfm2-1.2b-gguf'):
        leads(world, name, other)
    leads(world, 'me/mine', mine)
    leads(world, 'models.example.com:5000/team/far:v1', away)
    for name in ('lfm2:8b', 'team/far:v1'):
        lost(world, name)


def test_ollama_without_latest_but_one_tag(world):
    blob = world.ollama('lfm2', '24b', gguf())
    leads(world, 'lfm2', blob)
    world.ollama('lfm2', '8b', gguf(fill=65))
    text = world.path('lfm2')
    assert 'may mean any of 2' in text and 'lfm2:24b' in text and 'lfm2:8b' in text


def test_ollama_of_newer_versions(world):
    blob = world.ollama_v2('lfm2', '24b', gguf())
    world.ollama('lfm2', '24b', gguf(fill=65))  # left from before: the newer place counts
    inner = gguf(fill=66)
    world.blob(inner)
    child = world.blob(manifest(inner))
    kind = 'application/vnd.docker.distribution.manifest.v2+json'
    both = {'schemaVersion': 2, 'mediaType': 'application/vnd.ollama.manifest.list.v2+json',
            'manifests': [{'mediaType': kind, 'digest': 'sha256:' + '7' * 64, 'runner': 'mlx',
                           'format': 'safetensors'},
                          {'mediaType': kind, 'digest': child.name.replace('-', ':', 1),
                           'runner': 'ollama', 'format': 'gguf'}]}
    world.ollama_v2('both', 'latest', inner, text=json.dumps(both).encode())
    found = world.ls()
    assert set(found) == {'lfm2:24b', 'both:latest'}
    assert found['lfm2:24b']['path'] == str(blob)
    assert found['both:latest']['sha256'] == digest(inner)


def test_ollama_elsewhere(world, tmp_path):
    world.ollama_root = tmp_path / 'big disk' / 'ollama'
    blob = world.ollama('lfm2', '24b', gguf())
    assert not world.ls()
    world.env['OLLAMA_MODELS'] = str(world.ollama_root)
    leads(world, 'lfm2:24b', blob)


@pytest.mark.parametrize('text, note', [
    (b'', 'malformed'), (b'{', 'malformed'), (b'[]', 'no list of layers'),
    (b'{"layers": 5}', 'no list of layers'), (b'{"layers": []}', 'no GGUF'),
    (b'\x00\xff' * 99, 'malformed'), (b'[' * 5000, 'malformed'), (b'{' * (2 << 20), 'malformed'),
    (b'{"layers":[{"mediaType":"application/vnd.ollama.image.tensor","digest":"x"}]}', 'no GGUF'),
    (b'{"layers":[{"mediaType":"application/vnd.ollama.image.model"}]}', 'no digest'),
    (b'{"layers":[{"mediaType":"application/vnd.ollama.image.model","digest":"sha256:../x"}]}',
     'no digest'),
    (manifest(b'not here'), 'blob is missing'),
], ids=range(12))
def test_ollama_broken_manifests(world, text, note):
    world.ollama('good', 'latest', gguf())
    put(world.ollama_root / 'manifests' / 'registry.ollama.ai' / 'library' / 'bad' / '1', text)
    found = world.ls()
    assert found['good:latest']['state'] == 'ok'
    bad = found['bad:1']
    assert bad['state'] == 'broken' and note in bad['note'], bad
    assert note in world.path('bad:1')


def test_ollama_partial_downloads(world):
    data = gguf(fill=100)
    blob = world.ollama('cut', 'latest', data)
    blob.write_bytes(data[:-7])
    going = gguf(fill=101)
    blob = world.ollama('going', 'latest', going)
    blob.rename(str(blob) + '-partial')
    nameless = 'sha256-' + 'a' * 64
    put(world.ollama_root / 'blobs' / (nameless + '-partial'), b'GGUF' + b'\0' * 9000)
    put(world.ollama_root / 'blobs' / (nameless + '-partial-0'),
        b'{"N":0,"Offset":0,"Size":100,"Completed":50}')
    found = world.ls()
    assert found['cut:latest']['state'] == 'partial' and '-7' not in found['cut:latest']['note']
    assert f'{len(data) - 7} bytes of {len(data)}' in found['cut:latest']['note']
    assert found['going:latest']['state'] == 'partial'
    assert found[nameless]['state'] == 'partial' and found[nameless]['path'] is None
    assert found[nameless]['bytes'] >= 9004
    assert len(found) == 3 or 'sha256-' + digest(going) in found
    assert 'is not finished' in world.path('going')


def test_ollama_what_is_left_out_is_said(world):
    world.ollama('adapted', 'latest', gguf(), more=[('adapter', b'x' * 10)])
    assert 'adapter' in world.ls()['adapted:latest']['note']


# Hugging Face

def test_hf_names(world):
    snapshot = world.hf(REPO, {Q4: gguf(), Q8: gguf(quant=7), 'README.md': b'# LFM2',
                               '.gitattributes': b'*'})
    found = world.ls()
    assert set(found) == {f'{REPO}:Q4_K_M', f'{REPO}:Q8_0'}
    one = found[f'{REPO}:Q4_K_M']
    assert one['store'] == 'huggingface' and one['repo'] == REPO and one['tag'] == 'Q4_K_M'
    assert one['path'] == str(snapshot / Q4) and one['sha256'] == digest(gguf())
    for name in (f'{REPO}:Q4_K_M', f'https://huggingface.co/{REPO.lower()}:q4_k_m',
                 f'{REPO}:{Q4}', f'{REPO}@main:Q4_K_M', f'{REPO}@{COMMIT[:10]}:{Q4[:-5]}', Q4[:-5],
                 f'{COMMIT}/{Q4}'):
        leads(world, name, snapshot / Q4)
    text = world.path(REPO)
    assert 'may mean any of 2' in text and f'{REPO}:Q8_0' in text and str(snapshot / Q8) in text
    for name in (f'{REPO}:K_M.gguf', f'ollama.com/{REPO}'):
        lost(world, name)


def test_hf_one_file_needs_no_type(world):
    snapshot = world.hf(REPO, {Q4: gguf(), 'mmproj-LFM2-F16.gguf': gguf('clip', 1)})
    leads(world, REPO, snapshot / Q4)
    assert not world.ls()[f'{REPO}:F16']['supported']


def test_hf_split_files(world):
    parts = {f'Q8_0/LFM2-Q8_0-0000{i + 1}-of-00003.gguf': gguf(quant=7, split=(i, 3))
             for i in range(3)}
    snapshot = world.hf(REPO, parts)
    found = world.ls()[f'{REPO}:Q8_0']
    assert found['parts'] == 3 and found['bytes'] == sum(map(len, parts.values()))
    assert found['state'] == 'ok' and found['path'].endswith('-00001-of-00003.gguf')
    first = snapshot / next(iter(parts))
    for name in (REPO, f'{REPO}:Q8_0/{first.name}', f'{REPO}:LFM2-Q8_0', 'Q8_0/LFM2-Q8_0'):
        leads(world, name, first)
    last = snapshot / list(parts)[2]
    last.unlink()
    found = world.ls()[f'{REPO}:Q8_0']
    assert found['state'] == 'partial' and 'part 3 of 3' in found['note']
    first.unlink()
    assert 'part 1 of 3' in world.ls()[f'{REPO}:Q8_0']['note']


def test_hf_revisions(world):
    old, new = gguf(fill=65), gguf(fill=66)
    before = world.hf(REPO, {Q4: old, Q8: gguf(quant=7)}, commit=OLDER, ref='refs/pr/1')
    snapshot = world.hf(REPO, {Q4: new, Q8: gguf(quant=7)})
    other = world.hf('a/b', {Q4: gguf()}, ref=None)
    found = world.ls()
    assert set(found) == {f'{REPO}:Q4_K_M', f'{REPO}:Q8_0', f'{REPO}@refs/pr/1:Q4_K_M',
                          'a/b:Q4_K_M'}
    leads(world, f'{REPO}:Q4_K_M', snapshot / Q4)
    leads(world, f'{REPO}@refs/pr/1:Q4_K_M', before / Q4)
    leads(world, f'{REPO}@{OLDER}:Q4_K_M', before / Q4)
    leads(world, 'a/b', other / Q4)
    lost(world, f'{REPO}@v2:Q4_K_M')


def test_hf_places(world, tmp_path):
    for i, (key, below) in enumerate([('LLAMA_CACHE', ''), ('HF_HUB_CACHE', ''),
                                      ('HUGGINGFACE_HUB_CACHE', ''), ('HF_HOME', 'hub'),
                                      ('XDG_CACHE_HOME', 'huggingface/hub')]):
        env = dict(world.env)
        root = tmp_path / f'place{i}'
        world.hf(f'user/r{i}', {Q4: gguf()}, root=root / below)
        world.env[key] = str(root)
        assert f'user/r{i}:Q4_K_M' in world.ls(), key
        world.env = env


def test_hf_unfinished_downloads(world):
    snapshot = world.hf(REPO, {Q4: gguf()})
    blobs = snapshot.parent.parent / 'blobs'
    link = snapshot / Q8
    link.symlink_to('../../blobs/' + 'b' * 64)
    assert 'link to nothing' in world.ls()[f'{REPO}:Q8_0']['note']
    put(blobs / ('b' * 64 + '.incomplete'), gguf()[:50])
    assert world.ls()[f'{REPO}:Q8_0']['state'] == 'partial'
    leads(world, REPO, snapshot / Q4)  # the other cannot be meant
    assert 'is not finished' in world.path(f'{REPO}:Q8_0')
    put(world.hf_root / 'models--x--y' / 'blobs' / ('c' * 64 + '.incomplete'), gguf())
    put(world.hf_root / 'models--x--z' / 'blobs' / ('c' * 64 + '.incomplete'), b'not a GGUF')
    put(world.hf_root / 'models--x--w' / 'blobs' / ('c' * 64 + '.downloadInProgress'), gguf())
    found = world.ls()
    assert found['x/y']['state'] == found['x/w']['state'] == 'partial' and 'x/z' not in found


# LM Studio

def test_lmstudio_names(world):
    world.lmstudio(REPO, {Q4: gguf(), Q8: gguf(quant=7)})
    world.lmstudio('infra-ai/ocelot-v1', {'ocelot-v1-instruct-q4_0.gguf': gguf('lfm2', 2)})
    found = world.ls()
    assert set(found) == {f'{REPO}:Q4_K_M', f'{REPO}:Q8_0', 'infra-ai/ocelot-v1:q4_0'}
    ocelot = world.lmstudio_root / 'infra-ai' / 'ocelot-v1' / 'ocelot-v1-instruct-q4_0.gguf'
    for name in ('infra-ai/ocelot-v1:q4_0', 'ocelot-v1/' + ocelot.name,
                 'infra-ai/ocelot-v1:ocelot-v1-instruct-q4_0.gguf'):
        leads(world, name, ocelot)
    leads(world, f'{REPO}:{Q8}', world.lmstudio_root / REPO / Q8)
    lost(world, 'hf.co/infra-ai/ocelot-v1')


def test_lmstudio_places(world, tmp_path):
    home = tmp_path / 'moved'
    put(home / 'models' / 'a' / 'b' / Q4, gguf())
    put(tmp_path / '.lmstudio-home-pointer', f'{home}\n'.encode())
    assert 'a/b:Q4_K_M' in world.ls()
    put(tmp_path / '.lmstudio-home-pointer', f'{tmp_path}/gone\n'.encode())
    put(tmp_path / '.cache' / 'lm-studio' / 'models' / 'c' / 'd' / Q4, gguf())
    assert set(world.ls()) == {'c/d:Q4_K_M'}
    world.lmstudio('e/f', {Q4: gguf()})
    assert set(world.ls()) == {'e/f:Q4_K_M'}
    put(tmp_path / '.lmstudio' / 'settings.json',
        json.dumps({'downloadsFolder': str(home / 'models')}).encode())
    assert set(world.ls()) == {'a/b:Q4_K_M'}
    put(tmp_path / '.lmstudio' / 'settings.json', b'{"downloadsFolder": 7')
    assert set(world.ls()) == {'e/f:Q4_K_M'}


def test_lmstudio_unfinished_downloads(world):
    world.lmstudio('a/b', {f'{Q4}.part': b'GGUF', f'downloading_{Q8}.part': b''})
    assert [m['state'] for m in world.ls().values()] == ['partial', 'partial']


# folders

def test_folders(world, tmp_path):
    one, two = tmp_path / 'one', tmp_path / 'two'
    put(one / 'deep' / 'er' / Q4, gguf())
    put(two / Q8, gguf(quant=7))
    put(two / 'X.SLPACK', b'what')
    put(two / 'notes.txt', b'no model')
    world.env['SLUICE_MODELS'] = f'{one}::{two}:{tmp_path}/none'
    found = world.ls()
    assert set(found) == {Q4, Q8, 'X.SLPACK'}
    assert found['X.SLPACK']['state'] == 'broken' and 'GGUF' in found['X.SLPACK']['note']
    for name in (Q4.lower(), f'deep/er/{Q4[:-5]}'):
        leads(world, name, one / 'deep' / 'er' / Q4)
    lost(world, f'eper/{Q4}')
    put(two / Q4, gguf(fill=65))
    text = world.path(Q4)
    assert 'may mean any of 2' in text and str(two / Q4) in text
    assert {str(two / Q4), str(one / 'deep' / 'er' / Q4), Q8, 'X.SLPACK'} == set(world.ls())


def test_the_folder_of_ones_own(world, tmp_path):
    put(tmp_path / '.local' / 'share' / 'sluice' / 'models' / Q4, gguf())
    put(tmp_path / '.cache' / 'llama.cpp' / 'LiquidAI_LFM2-8B.gguf', gguf())
    assert set(world.ls()) == {Q4, 'LiquidAI_LFM2-8B.gguf'}
    world.env['XDG_DATA_HOME'] = str(tmp_path / 'data')
    assert set(world.ls()) == {'LiquidAI_LFM2-8B.gguf'}


def test_loops_links_and_strange_files(world, tmp_path):
    root = tmp_path / 'm'
    put(root / 'a' / Q4, gguf())
    (root / 'a' / 'up').symlink_to('..')
    (root / 'self').symlink_to('self')
    (root / 'nothing.gguf').symlink_to('nowhere.gguf')
    (root / 'round.gguf').symlink_to('round.gguf')
    os.mkfifo(root / 'pipe.gguf')
    (root / 'folder.gguf').mkdir()
    put(root / 'empty.gguf', b'')
    put(root / 'short.gguf', b'GGU')
    put(root / 'zip.gguf', b'PK\3\4' * 10)
    put(root / 'cut.gguf', gguf(fill=1000)[:-5])
    put(root / 'head.gguf', gguf()[:60])
    put(root / 'llama.gguf', gguf('llama', 2))
    put(root / ('d/' * 20) / 'too-deep.gguf', gguf())
    world.env['SLUICE_MODELS'] = f'{root}:{root}/a'
    found = world.ls()
    assert found[Q4]['state'] == 'ok'
    states = {name: (m['state'], m['note']) for name, m in found.items()}
    assert states.pop(Q4) == ('ok', None) and states.pop('llama.gguf') == ('ok', None)
    assert found['llama.gguf']['architecture'] == 'llama' and not found['llama.gguf']['supported']
    for name, state, note in [('nothing.gguf', 'broken', 'link to nothing'),
                              ('round.gguf', 'unreadable', 'symbolic links'),
                              ('pipe.gguf', 'broken', 'regular'), ('empty.gguf', 'broken', 'empty'),
                              ('short.gguf', 'broken', 'header'), ('zip.gguf', 'broken', 'GGUF'),
                              ('cut.gguf', 'partial', 'cut short'),
                              ('head.gguf', 'broken', 'only 36 bytes')]:
        got, text = states.pop(name)
        assert got == state and note in text, (name, got, text)
    assert not states
    assert 'llama' in world.path('llama.gguf')


def as_user(*args):
    """A command that may read no more than its files' modes say, also for root."""
    drop = ['setpriv', '--bounding-set=-dac_override,-dac_read_search']
    return (drop if os.geteuid() == 0 else []) + [SLUICE, *args]


def test_no_permission(world, tmp_path):
    def run(*args):
        return subprocess.run(as_user(*args), env=world.env, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=20)

    if os.geteuid() == 0 and (not shutil.which('setpriv') or run('--version').returncode):
        pytest.skip('root may read everything, and setpriv cannot take that away')
    root = tmp_path / 'm'
    put(root / Q4, gguf()).chmod(0)
    put(root / 'closed' / Q8, gguf())
    (root / 'closed').chmod(0)
    world.ollama('lfm2', '24b', gguf())
    world.ollama_root.chmod(0)
    world.env['SLUICE_MODELS'] = str(root)
    try:
        found = json.loads(run('ls', '--json').stdout)
        assert [m['state'] for m in found['models']] == ['unreadable']
        notes = {p['path']: p['note'] for p in found['places'] if p['state'] == 'unreadable'}
        assert 'closed: Permission denied' in notes[str(root)]
        assert 'may not read' in notes[str(world.ollama_root)]
        done = run('info', 'lfm2:24b')
        assert done.returncode == 1 and b'may not read' in done.stderr
        assert b'may not read' in run('ls').stdout
        world.ollama_root.chmod(0o700)
        (world.ollama_root / 'blobs').chmod(0)
        found = json.loads(run('ls', '--json').stdout)['models']
        assert [m['note'] for m in found if m['store'] == 'ollama'] == ['Permission denied']
    finally:
        (root / 'closed').chmod(0o700)
        world.ollama_root.chmod(0o700)
        (world.ollama_root / 'blobs').chmod(0o700)


def test_hostile_names(world, tmp_path):
    root = tmp_path / 'm'
    root.mkdir()
    names = [b'a\x1b]0;x\x07b.gguf', b'line\nend.gguf', b'\xff\xfe.gguf', '\u202egnp.gguf'.encode(),
             b'back\\slash.gguf', '日本語.gguf'.encode(), b'a"b.gguf', b'%s%n.gguf']
    for name in names:
        with open(os.path.join(os.fsencode(root), name), 'wb') as file:
            file.write(gguf())
    world.hf('x/\x1b[2J', {Q4: gguf()})
    library = world.ollama_root / 'manifests' / 'registry.ollama.ai' / 'library'
    put(library / 'e\x1b[2J' / 't\n', b'')
    world.env['SLUICE_MODELS'] = str(root)
    world.env['LC_ALL'] = 'C.UTF-8'
    table = world.table()
    assert all(line.isprintable() for line in table.split('\n')), table
    for shown in ('a\\x1b]0;x\\x07b.gguf', 'line\\x0aend.gguf', '\\xff\\xfe.gguf',
                  '\\xe2\\x80\\xaegnp.gguf', 'back\\\\slash.gguf', '日本語.gguf', 'a"b.gguf',
                  '%s%n.gguf', 'x/\\x1b[2J:Q4_K_M', 'e\\x1b[2J:t\\x0a'):
        assert shown in table, shown
    assert len(world.listing()['models']) == len(names) + 2
    for name in names[:2]:
        text = sluice('tokenize', name + b'x', env=world.env).stderr.decode()
        assert all(line.isprintable() for line in text.split('\n')), text
    leads(world, b'line\nend.gguf', '')


# choosing

def test_paths_come_first(world, tmp_path):
    put(tmp_path / 'lfm2:24b', gguf(fill=70))
    world.ollama('lfm2', '24b', gguf())
    assert digest(gguf()) in world.path('lfm2:24b')
    text = world.path('lfm2:24b', cwd=tmp_path)
    assert 'lfm2:24b' in text and 'sha256' not in text
    (tmp_path / 'lfm2').mkdir()
    assert digest(gguf()) in world.path('lfm2', cwd=tmp_path)
    assert 'directory' in world.path('m', cwd=put(tmp_path / 'm' / 'x', b'').parent.parent)
    for path in (tmp_path / 'none.gguf', './none.gguf', '../none.gguf'):
        assert 'No such file' in world.path(path)


def test_copies_are_one_model(world):
    data = gguf()
    snapshot = world.hf(REPO, {Q4: data})
    world.lmstudio(REPO, {Q4: data})
    world.ollama(REPO.split('/')[1], 'Q4_K_M', data, space='LiquidAI', host='hf.co')
    leads(world, f'{REPO}:Q4_K_M', snapshot / Q4)
    leads(world, f'hf.co/{REPO}:Q4_K_M', snapshot / Q4)
    leads(world, Q4, snapshot / Q4)
    put(world.lmstudio_root / REPO / Q4, gguf(fill=99))
    text = world.path(f'{REPO}:Q4_K_M')
    assert 'may mean any of 2' in text and 'Hugging Face' in text and 'LM Studio' in text


def test_what_can_be_run_is_meant(world, tmp_path):
    world.env['SLUICE_MODELS'] = str(tmp_path / 'm')
    put(tmp_path / 'm' / 'a' / 'model.gguf', gguf('llama'))
    put(tmp_path / 'm' / 'b' / 'model.gguf', gguf(fill=500)[:-9])
    good_one = put(tmp_path / 'm' / 'c' / 'model.gguf', gguf())
    leads(world, 'model.gguf', good_one)


def test_suggestions(world):
    world.ollama('lfm2', '24b', gguf())
    world.hf(REPO, {Q4: gguf(fill=65)})
    for typed, near in [('lfm2:24', 'lfm2:24b'), ('lfm:24b', 'lfm2:24b'),
                        ('LiquidAI/LFM2-24B-A2B:Q4_K_M', f'{REPO}:Q4_K_M'),
                        ('LFM2-24B-A2B-Q4_K_S.gguf', f'{REPO}:Q4_K_M')]:
        text = lost(world, typed)
        assert 'Did you mean' in text and near in text, text
        assert str(world.ollama_root) in text and str(world.hf_root) in text
    assert 'Did you mean' not in lost(world, 'something-else-entirely')


def test_nothing_is_written(world, tmp_path):
    world.ollama('lfm2', '24b', gguf())
    world.hf(REPO, {Q4: gguf(fill=65)})
    world.lmstudio('a/b', {Q4: gguf(fill=66)})

    def state():
        return sorted((str(p), p.lstat().st_mtime_ns, p.lstat().st_size)
                      for p in tmp_path.rglob('*'))

    before = state()
    world.table()
    world.path('lfm2:24b')
    world.path('nothing')
    assert state() == before


# the commands

@pytest.fixture(scope='module')
def demo(tmp_path_factory):
    """The demo model in Ollama's store, under two names."""
    world = World(tmp_path_factory.mktemp('demo'))
    with open(DEMO, 'rb') as file:
        data = file.read()
    world.ollama('demo', 'q4', data)
    world.hf('a/demo-GGUF', {'demo-Q4_K_M.gguf': data})
    return world


@pytest.mark.parametrize('name', ['demo:q4', 'a/demo-GGUF:Q4_K_M', 'demo-Q4_K_M'])
def test_commands_take_names(demo, name):
    ids = good('tokenize', name, stdin=b'In the beginning', env=demo.env)
    assert ids == good('tokenize', DEMO, stdin=b'In the beginning')


def test_all_commands_take_names(demo, tmp_path):
    good('run', 'demo:q4', 'hi', '-n', '1', env=demo.env)
    info = json.loads(good('info', 'demo:q4', '--json', env=demo.env))
    assert info['path'] == demo.ls()['demo:q4']['path']
    good('plan', 'demo:q4', '--disk', '1', '--memory', '10', env=demo.env)
    good('pack', 'demo:q4', tmp_path / 'demo.slpack', env=demo.env)
    good('eval', 'demo:q4', '--tokens', '-', stdin=b'1 2', env=demo.env)
    rows = json.loads(good('bench', '-m', f'demo:q4,{DEMO}', '-p', '0', '-n', '1', '-r', '1',
                           '-o', 'json', env=demo.env))
    assert [r['model_filename'] for r in rows] == [info['path'], DEMO]
    demo.env['SLUICE_MODELS'] = str(tmp_path)
    found = demo.ls()
    assert found['demo.slpack']['supported'] and found['demo.slpack']['quantization'] == 'Q4_K_M'
    for args in (['run', 'none', 'hi'], ['bench', 'none'], ['pack', 'none', 'x'],
                 ['eval', 'none', '--tokens', '-'], ['serve', 'none']):
        done = sluice(*args, env=demo.env)
        assert done.returncode == 1 and b'no model is called none' in done.stderr, done
    refused(2, 'exclude', 'run', 'none', 'hi', '-f', 'x', env=demo.env)


def test_how_they_would_run(demo, tmp_path):
    """As sluice plan says: the demo model fits anywhere, a 100 GB one streams or is too big."""
    header_24b.write(tmp_path / 'x-Q4_K_M.gguf')
    with open(tmp_path / 'x-Q4_K_M.gguf', 'r+b') as file:
        file.truncate(15 << 30)  # a hole: as large as the model, for its header alone
    env = dict(demo.env, SLUICE_MODELS=str(tmp_path))
    found = {m['name']: m for m in json.loads(good('ls', '--json', env=env))['models']}
    assert found['demo:q4']['memory'] == 'resident'
    big = json.loads(good('plan', tmp_path / 'x-Q4_K_M.gguf', '--json', '--no-measure', env=env))
    want = 'too big' if 'error' in big['here'] else {'streaming': 'streams'}.get(
        big['here']['experts'], big['here']['experts'])
    assert found['x-Q4_K_M.gguf']['memory'] == want
    assert found['x-Q4_K_M.gguf']['bytes'] == 15 << 30
    assert want in good('ls', env=env)
