"""Stores of models in a temporary home, laid out as the programs lay them out that own them.

    world = World(tmp_path)
    world.ollama('lfm2', '24b', world.gguf(quant=15))
    world.hf('LiquidAI/LFM2-24B-A2B-GGUF', {'LFM2-24B-A2B-Q4_K_M.gguf': data})
    world.ls()          the objects of sluice ls --json, by name
"""
import hashlib
import json
import os
import sys

from clitool import ENV, good, sluice

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
import gguf_writer as g  # noqa: E402

COMMIT = '0123456789abcdef0123456789abcdef01234567'
OLDER = 'fedcba9876543210fedcba9876543210fedcba98'
OURS = ('HOME', 'XDG_CACHE_HOME', 'XDG_CONFIG_HOME', 'XDG_DATA_HOME', 'HF_HOME', 'HF_HUB_CACHE',
        'HUGGINGFACE_HUB_CACHE', 'LLAMA_CACHE', 'OLLAMA_MODELS', 'SLUICE_MODELS')


def gguf(architecture='lfm2moe', quant=15, fill=64, split=None):
    """A header with what a listing reads, and one tensor. quant: general.file_type, or None."""
    w = g.Writer()
    w.add('general.architecture', 'str', architecture)
    w.add('general.name', 'str', 'a test')
    if quant is not None:
        w.add('general.file_type', 'u32', quant)
    if split:
        w.add('split.no', 'u16', split[0])
        w.add('split.count', 'u16', split[1])
        w.add('split.tensors.count', 'i32', split[1])
    name = f'output_norm{split[0] if split else ""}.weight'
    w.add_tensor(name, [fill], g.F32, b'\0' * (4 * fill))
    return w.to_bytes()


def digest(data):
    return hashlib.sha256(data).hexdigest()


def put(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def manifest(model, more=()):
    """As Ollama writes them: one line of JSON, no blanks."""
    kind = 'application/vnd.ollama.image.'
    config = b'{"model_format":"gguf","model_family":"lfm2moe","file_type":"Q4_K_M"}'
    layers = [{'mediaType': kind + 'model', 'digest': 'sha256:' + digest(model),
               'size': len(model)}]
    layers += [{'mediaType': kind + name, 'digest': 'sha256:' + digest(data), 'size': len(data)}
               for name, data in more]
    return json.dumps({
        'schemaVersion': 2,
        'mediaType': 'application/vnd.docker.distribution.manifest.v2+json',
        'config': {'mediaType': 'application/vnd.docker.container.image.v1+json',
                   'digest': 'sha256:' + digest(config), 'size': len(config)},
        'layers': layers,
    }, separators=(',', ':')).encode()


class World:
    def __init__(self, home):
        self.home = home
        self.env = {k: v for k, v in ENV.items() if k not in OURS}
        self.env['HOME'] = str(home)
        self.ollama_root = home / '.ollama' / 'models'
        self.hf_root = home / '.cache' / 'huggingface' / 'hub'
        self.lmstudio_root = home / '.lmstudio' / 'models'

    # the stores

    def blob(self, data):
        return put(self.ollama_root / 'blobs' / f'sha256-{digest(data)}', data)

    def ollama(self, model, tag, data, space='library', host='registry.ollama.ai',
               more=(('params', b'{"temperature":0.1}'), ('template', b'{{ .Prompt }}'))):
        """A pulled model; returns its blob."""
        for _, layer in more:
            self.blob(layer)
        put(self.ollama_root / 'manifests' / host / space / model / tag, manifest(data, more))
        return self.blob(data)

    def ollama_v2(self, model, tag, data, space='library', host='ollama.com', text=None):
        """The layout of newer versions: the name is a link to a manifest among the blobs."""
        to = self.blob(text or manifest(data))
        name = self.ollama_root / 'manifests-v2' / host / space / model / tag
        name.parent.mkdir(parents=True, exist_ok=True)
        name.symlink_to(os.path.relpath(to, name.parent))
        return self.blob(data)

    def hf(self, repo, files, commit=COMMIT, ref='main', root=None):
        """A downloaded snapshot; returns its folder."""
        top = (root or self.hf_root) / ('models--' + repo.replace('/', '--'))
        snapshot = top / 'snapshots' / commit
        snapshot.mkdir(parents=True)
        (top / 'blobs').mkdir(exist_ok=True)
        if ref:
            put(top / 'refs' / ref, commit.encode())
        for name, data in files.items():
            blob = put(top / 'blobs' / digest(data), data)
            link = snapshot / name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(os.path.relpath(blob, link.parent))
        return snapshot

    def lmstudio(self, repo, files):
        for name, data in files.items():
            put(self.lmstudio_root / repo / name, data)

    # what sluice makes of them

    def listing(self):
        return json.loads(good('ls', '--json', env=self.env))

    def ls(self):
        models = self.listing()['models']
        found = {m['name']: m for m in models}
        assert len(found) == len(models), models
        return found

    def table(self, **more):
        return good('ls', env=self.env, **more)

    def path(self, name, **more):
        """Where MODEL leads: the file that a command then complains about, for these are not
        whole models; or the text of the error about the name."""
        done = sluice('tokenize', name, env=self.env, **more)
        assert done.returncode == 1 and not done.stdout, (done.args, done.stderr)
        return done.stderr.decode()
