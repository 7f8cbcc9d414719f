#!/usr/bin/env python3
"""llama.cpp as a peer: its CPU library from the npm package node-llama-cpp, through ctypes.

    npm install node-llama-cpp@3.22.1
    export SL_LLAMA_NPM=FOLDER_WITH_node_modules
    llamacpp.py speed MODEL --ids IDS       prefill and decode speed, JSON
    llamacpp.py serve MODEL --seed N < COMMANDS  speeds on request, a line of JSON each, with
                                            the commands and the ids of bench/phases
    llamacpp.py logits MODEL --ids IDS --out OUT.f32 [--window 96]
    llamacpp.py tokenize MODEL [--special]  JSON list of texts in, list of id lists out
    llamacpp.py perplexity MODEL --ids IDS --ctx 256

The structures below are those of that very release; load() refuses any other, and checks
some defaults that would be wrong if a field had moved. KV is f32, flash attention off and
weights are not repacked unless options say otherwise: that is the exact setting, and the
one that leaves the weights where they lie in the file, as Sluice does.
"""
import argparse
import ctypes as c
import glob
import json
import math
import os
import resource
import sys
import time

RELEASE = '0.5.0'
KV_TYPES = {'f32': 0, 'f16': 1, 'q8_0': 8}
FLASH_TYPES = {'auto': -1, 'off': 0, 'on': 1}
# The build of its kernels that has what a CPU level of ours has, and no more
CPU_BUILDS = {'c': 'x64', 'avx2': 'haswell'}


class ModelParams(c.Structure):
    _fields_ = [
        ('devices', c.c_void_p), ('tensor_buft_overrides', c.c_void_p),
        ('n_gpu_layers', c.c_int32), ('split_mode', c.c_int), ('load_mode', c.c_int),
        ('lazy_mode', c.c_int), ('main_gpu', c.c_int32), ('tensor_split', c.c_void_p),
        ('progress_callback', c.c_void_p), ('progress_callback_user_data', c.c_void_p),
        ('kv_overrides', c.c_void_p), ('vocab_only', c.c_bool), ('check_tensors', c.c_bool),
        ('use_extra_bufts', c.c_bool), ('no_host', c.c_bool), ('no_alloc', c.c_bool),
        ('load_mtp', c.c_bool)]


class ContextParams(c.Structure):
    _fields_ = [
        ('n_ctx', c.c_uint32), ('n_batch', c.c_uint32), ('n_ubatch', c.c_uint32),
        ('n_seq_max', c.c_uint32), ('n_rs_seq', c.c_uint32), ('n_outputs_max', c.c_uint32),
        ('n_outputs_max_per_seq', c.c_uint32), ('n_threads', c.c_int32),
        ('n_threads_batch', c.c_int32), ('ctx_type', c.c_int), ('rope_scaling_type', c.c_int),
        ('pooling_type', c.c_int), ('attention_type', c.c_int), ('flash_attn_type', c.c_int),
        ('rope_freq_base', c.c_float), ('rope_freq_scale', c.c_float),
        ('yarn_ext_factor', c.c_float), ('yarn_attn_factor', c.c_float),
        ('yarn_beta_fast', c.c_float), ('yarn_beta_slow', c.c_float),
        ('yarn_orig_ctx', c.c_uint32), ('defrag_thold', c.c_float), ('cb_eval', c.c_void_p),
        ('cb_eval_user_data', c.c_void_p), ('type_k', c.c_int), ('type_v', c.c_int),
        ('abort_callback', c.c_void_p), ('abort_callback_data', c.c_void_p),
        ('embeddings', c.c_bool), ('offload_kqv', c.c_bool), ('no_perf', c.c_bool),
        ('op_offload', c.c_bool), ('swa_full', c.c_bool), ('kv_unified', c.c_bool),
        ('samplers', c.c_void_p), ('n_samplers', c.c_size_t), ('ctx_other', c.c_void_p)]


class Batch(c.Structure):
    _fields_ = [
        ('n_tokens', c.c_int32), ('token', c.POINTER(c.c_int32)), ('embd', c.c_void_p),
        ('pos', c.c_void_p), ('n_seq_id', c.c_void_p), ('seq_id', c.c_void_p),
        ('logits', c.POINTER(c.c_int8))]


LOG_FN = c.CFUNCTYPE(None, c.c_int, c.c_char_p, c.c_void_p)
NO_LOG = LOG_FN(lambda level, text, arg: None)


def find_libraries():
    """The folder with libllama, or None."""
    top = os.environ.get('SL_LLAMA_NPM')
    if not top:
        return None
    tail = '@node-llama-cpp/linux-x64/bins/linux-x64'
    for folder in (os.path.join(top, 'node_modules', tail), os.path.join(top, tail), top):
        if glob.glob(os.path.join(folder, 'libllama*.so')):
            return folder
    return None


def declare(lib):
    pointer = c.c_void_p
    for name, result, arguments in (
            ('llama_version', c.c_char_p, []),
            ('llama_backend_init', None, []),
            ('llama_log_set', None, [LOG_FN, pointer]),
            ('llama_model_default_params', ModelParams, []),
            ('llama_context_default_params', ContextParams, []),
            ('llama_model_load_from_file', pointer, [c.c_char_p, ModelParams]),
            ('llama_model_free', None, [pointer]),
            ('llama_model_get_vocab', pointer, [pointer]),
            ('llama_vocab_n_tokens', c.c_int32, [pointer]),
            ('llama_init_from_model', pointer, [pointer, ContextParams]),
            ('llama_free', None, [pointer]),
            ('llama_get_memory', pointer, [pointer]),
            ('llama_memory_clear', None, [pointer, c.c_bool]),
            ('llama_decode', c.c_int32, [pointer, Batch]),
            ('llama_synchronize', None, [pointer]),
            ('llama_get_logits_ith', c.POINTER(c.c_float), [pointer, c.c_int32]),
            ('llama_get_logits', c.POINTER(c.c_float), [pointer]),
            ('llama_tokenize', c.c_int32, [pointer, c.c_char_p, c.c_int32,
                                           c.POINTER(c.c_int32), c.c_int32, c.c_bool,
                                           c.c_bool])):
        function = getattr(lib, name)
        function.restype = result
        function.argtypes = arguments


def load_kernels(lib, folder, cpu):
    """The build of the kernels that suits the machine best, or that of a CPU level."""
    if cpu == 'auto':
        lib.ggml_backend_load_all_from_path.argtypes = [c.c_char_p]
        lib.ggml_backend_load_all_from_path(folder.encode())
        return
    lib.ggml_backend_load.argtypes = [c.c_char_p]
    lib.ggml_backend_load.restype = c.c_void_p
    path = os.path.join(folder, f'libggml-cpu-{CPU_BUILDS[cpu]}.so')
    if not lib.ggml_backend_load(path.encode()):
        sys.exit(f'llamacpp: {path} cannot be loaded')


def loaded_build():
    """Which build of the kernels this process has: "zen4", "haswell"."""
    with open('/proc/self/maps', encoding='utf-8') as file:
        for line in file:
            if 'libggml-cpu-' in line:
                return line.rsplit('libggml-cpu-', 1)[1].split('.so')[0]
    return 'unknown'


def load(cpu='auto'):
    """The library with its functions declared. Ends the program where there is none."""
    folder = find_libraries()
    if not folder:
        sys.exit('llamacpp: SL_LLAMA_NPM names no folder with node-llama-cpp 3.22.1')
    paths = [sorted(glob.glob(os.path.join(folder, pattern)))
             for pattern in ('libggml-base.so', 'libggml.v*.so', 'libllama.v*.so')]
    libs = [c.CDLL(found[0], mode=c.RTLD_GLOBAL) for found in paths]
    lib = libs[2]
    declare(lib)
    lib.llama_log_set(NO_LOG, None)
    load_kernels(libs[1], folder, cpu)
    lib.llama_backend_init()
    version = lib.llama_version().decode()
    context = lib.llama_context_default_params()
    model = lib.llama_model_default_params()
    if RELEASE not in version and f'.v{RELEASE}.so' not in paths[2][0]:
        sys.exit(f'llamacpp: release {version}, but the structures here are of {RELEASE}')
    if (context.n_ubatch, context.type_k, context.type_v, context.flash_attn_type) != \
            (512, 1, 1, -1) or not model.use_extra_bufts or model.vocab_only:
        sys.exit('llamacpp: the defaults are not those of the release: a field has moved')
    return lib


class Peer:
    """One model and one context; more contexts on request."""

    def __init__(self, path, n_threads=2, n_ctx=1024, kv='f32', repack=False, flash='off',
                 n_batch=512, cpu='auto'):
        self.lib = load(cpu)
        self.path = path
        params = self.lib.llama_model_default_params()
        params.n_gpu_layers = 0
        params.load_mode = 1  # mmap
        params.use_extra_bufts = repack
        began = time.perf_counter()
        self.model = self.lib.llama_model_load_from_file(os.fsencode(path), params)
        if not self.model:
            sys.exit(f'llamacpp: {path}: cannot be loaded')
        self.vocab = self.lib.llama_model_get_vocab(self.model)
        self.n_vocab = self.lib.llama_vocab_n_tokens(self.vocab)
        self.options = {'n_threads': n_threads, 'kv': kv, 'flash': flash, 'n_batch': n_batch}
        self.ctx = self.new_context(n_ctx)
        self.load_s = time.perf_counter() - began

    def new_context(self, n_ctx):
        options = self.options
        params = self.lib.llama_context_default_params()
        params.n_ctx = n_ctx
        params.n_batch = options['n_batch']
        params.n_ubatch = min(options['n_batch'], 512)
        params.n_seq_max = 1
        params.n_threads = params.n_threads_batch = options['n_threads']
        params.type_k = params.type_v = KV_TYPES[options['kv']]
        params.flash_attn_type = FLASH_TYPES[options['flash']]
        params.no_perf = True
        ctx = self.lib.llama_init_from_model(self.model, params)
        if not ctx:
            sys.exit(f'llamacpp: {self.path}: no context')
        return ctx

    def clear(self):
        self.lib.llama_memory_clear(self.lib.llama_get_memory(self.ctx), True)

    def decode(self, ids, all_logits=False):
        """Append ids; logits of the last one, or of all, stay in the context."""
        tokens = (c.c_int32 * len(ids))(*ids)
        wanted = (c.c_int8 * len(ids))(*([int(all_logits)] * (len(ids) - 1) + [1]))
        result = self.lib.llama_decode(self.ctx, Batch(len(ids), tokens, None, None, None,
                                                       None, wanted))
        if result:
            sys.exit(f'llamacpp: llama_decode gives {result}')
        self.lib.llama_synchronize(self.ctx)

    def logits(self, ids, n_batch=512):
        """Rows of logits of ids from position 0, as a list of bytes objects."""
        self.clear()
        rows = []
        for start in range(0, len(ids), n_batch):
            part = ids[start:start + n_batch]
            self.decode(part, all_logits=True)
            for row in range(len(part)):
                pointer = self.lib.llama_get_logits_ith(self.ctx, row)
                rows.append(c.string_at(pointer, 4 * self.n_vocab))
        return rows

    def tokenize(self, text, special):
        data = text.encode('utf-8', 'surrogateescape')
        room = len(data) + 16
        ids = (c.c_int32 * room)()
        count = self.lib.llama_tokenize(self.vocab, data, len(data), ids, room, False, special)
        return list(ids[:count])


def read_ids(path):
    with open(path, encoding='utf-8') as file:
        text = file.read()
    if text.lstrip().startswith(('[', '{')):
        data = json.loads(text)
        return data['tokens'] if isinstance(data, dict) else data
    return [int(word) for word in text.replace(',', ' ').split()]


def speed(args):
    ids = read_ids(args.ids)
    if len(ids) < max(args.prefill, args.decode):
        sys.exit('llamacpp: too few ids')
    peer = Peer(args.model, args.threads, max(args.prefill, args.decode) + 8, args.kv,
                args.repack, args.flash)
    ids = [token % peer.n_vocab for token in ids]
    began = time.perf_counter()
    peer.decode(ids[:16])
    first_s = peer.load_s + time.perf_counter() - began
    result = {'program': 'llama.cpp', 'n_threads': args.threads, 'load_s': peer.load_s,
              'first_token_s': first_s, 'prefill_tok_per_s': [], 'decode_tok_per_s': []}
    for turn in range(args.repeat + 1):  # the first is not timed
        if args.prefill:
            peer.clear()
            began = time.perf_counter()
            peer.decode(ids[:args.prefill])
            took = time.perf_counter() - began
            if turn:
                result['prefill_tok_per_s'].append(args.prefill / took)
        if args.decode:
            peer.clear()
            began = time.perf_counter()
            for token in ids[:args.decode]:
                peer.decode([token])
            took = time.perf_counter() - began
            if turn:
                result['decode_tok_per_s'].append(args.decode / took)
    result['peak_bytes'] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps(result))


class Ids:
    """The random ids that bench/phases draws from the same seed (splitmix64)."""

    def __init__(self, seed, n_vocab):
        self.state = seed
        self.n_vocab = n_vocab

    def take(self, count):
        mask = (1 << 64) - 1
        ids = []
        for _ in range(count):
            self.state = (self.state + 0x9E3779B97F4A7C15) & mask
            z = self.state
            z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & mask
            z = (z ^ z >> 27) * 0x94D049BB133111EB & mask
            ids.append((z ^ z >> 31) % self.n_vocab)
        return ids


def timed(peer, name, parts, n_batch):
    """Append lists of ids, one call each, and print how long that took."""
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_majflt
    began = time.perf_counter()
    for part in parts:
        peer.decode(part)
    took = time.perf_counter() - began
    n_tokens = sum(len(part) for part in parts)
    print(json.dumps({
        'phase': name, 'n_tokens': n_tokens, 'n_batch': n_batch, 'seconds': took,
        'tok_per_s': n_tokens / took,
        'major_faults': resource.getrusage(resource.RUSAGE_SELF).ru_majflt - faults}), flush=True)


def obey(peer, contexts, ids, words):
    """One command; as those of bench/phases, of which batch is for one sequence only."""
    name, counts = words[0], [int(word) for word in words[1:]]
    peer.ctx = contexts['long' if name in ('fill', 'decode', 'restart') else 'short']
    if name not in ('fill', 'decode'):
        peer.clear()
    if name == 'restart':
        print(json.dumps({'phase': name}), flush=True)
        return
    if name in ('fill', 'prefill') and len(counts) == 1:
        tokens = ids.take(counts[0])
        size = peer.options['n_batch']
        timed(peer, name, [tokens[i:i + size] for i in range(0, len(tokens), size)], 1)
    elif name == 'decode' and len(counts) == 1:
        timed(peer, name, [[token] for token in ids.take(counts[0])], 1)
    elif name == 'batch' and len(counts) == 2 and counts[0] == 1:
        peer.decode(ids.take(1))
        timed(peer, name, [[token] for token in ids.take(counts[1])], 1)
    else:
        sys.exit(f'llamacpp: no such command: {" ".join(words)}')


def serve(args):
    peer = Peer(args.model, args.threads, args.ctx, args.kv, args.repack, args.flash,
                min(args.ctx, 4096), args.cpu)
    contexts = {'short': peer.ctx}
    if args.long_ctx:
        contexts['long'] = peer.new_context(args.long_ctx)
    print(json.dumps({'phase': 'open', 'seconds': peer.load_s, 'cpu': loaded_build(),
                      'n_threads': args.threads}), flush=True)
    ids = Ids(args.seed, peer.n_vocab)
    for line in sys.stdin:
        obey(peer, contexts, ids, line.split())


def logits(args):
    ids = read_ids(args.ids)
    window = args.window or len(ids)
    peer = Peer(args.model, args.threads, window + 8, args.kv, args.repack, args.flash,
                n_batch=min(window, 512))
    with open(args.out, 'wb') as file:
        for start in range(0, len(ids), window):
            for row in peer.logits(ids[start:start + window], min(window, 512)):
                file.write(row)


def perplexity(args):
    """As llama-perplexity: BOS before the ids; in windows of ctx, the first id of each
    replaced by BOS; the second half of each window counts."""
    import numpy as np
    ids = ([args.bos] if args.bos >= 0 else []) + read_ids(args.ids)
    peer = Peer(args.model, args.threads, args.ctx + 8, args.kv, args.repack, args.flash,
                n_batch=min(args.ctx, 512))
    total = 0.0
    count = 0
    first = args.ctx // 2
    for start in range(0, len(ids) - args.ctx + 1, args.ctx):
        window = ids[start:start + args.ctx]
        fed = ([args.bos] if args.bos >= 0 else window[:1]) + window[1:]
        rows = peer.logits(fed, min(args.ctx, 512))
        for pos in range(first, args.ctx - 1):
            row = np.frombuffer(rows[pos], np.float32).astype(np.float64)
            top = row.max()
            total += top + math.log(np.exp(row - top).sum()) - row[window[pos + 1]]
            count += 1
    print(json.dumps({'perplexity': math.exp(total / count), 'n_tokens': count}))


def tokenize(args):
    peer = Peer(args.model)
    texts = json.load(sys.stdin)
    json.dump([peer.tokenize(text, args.special) for text in texts], sys.stdout)
    print()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n', maxsplit=1)[0])
    commands = parser.add_subparsers(dest='command', required=True)
    for name, function in (('speed', speed), ('serve', serve), ('logits', logits),
                           ('tokenize', tokenize), ('perplexity', perplexity)):
        command = commands.add_parser(name)
        command.set_defaults(function=function)
        command.add_argument('model')
        command.add_argument('--threads', type=int, default=2)
        command.add_argument('--kv', choices=KV_TYPES, default='f32')
        command.add_argument('--repack', action='store_true', help='a second copy of weights')
        command.add_argument('--flash', choices=FLASH_TYPES, nargs='?', default='off', const='on',
                             help='flash attention')
        if name not in ('serve', 'tokenize'):
            command.add_argument('--ids', required=True, help='file of token ids')
        if name == 'speed':
            command.add_argument('--prefill', type=int, default=512)
            command.add_argument('--decode', type=int, default=64)
            command.add_argument('--repeat', type=int, default=1)
        elif name == 'serve':
            command.add_argument('--cpu', choices=('auto', *CPU_BUILDS), default='auto')
            command.add_argument('--seed', type=int, default=1)
            command.add_argument('--ctx', type=int, default=4608, help='of prefill and batch')
            command.add_argument('--long-ctx', type=int, default=0, help='of fill and decode')
        elif name == 'logits':
            command.add_argument('--out', required=True, help='float32 [n_tokens][n_vocab]')
            command.add_argument('--window', type=int, default=0,
                                 help='each so many ids on their own')
        elif name == 'perplexity':
            command.add_argument('--ctx', type=int, default=512)
            command.add_argument('--bos', type=int, default=1, help='-1: no BOS')
        else:
            command.add_argument('--special', action='store_true')
    args = parser.parse_args()
    args.function(args)


if __name__ == '__main__':
    main()
