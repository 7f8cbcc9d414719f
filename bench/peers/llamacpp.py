#!/usr/bin/env python3
"""llama.cpp as a peer: its CPU library from the npm package node-llama-cpp, through ctypes.

    npm install node-llama-cpp@3.22.1
    export SL_LLAMA_NPM=FOLDER_WITH_node_modules
    llamacpp.py speed MODEL --ids IDS       prefill and decode speed, JSON
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


def load():
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
    libs[1].ggml_backend_load_all_from_path.argtypes = [c.c_char_p]
    libs[1].ggml_backend_load_all_from_path(folder.encode())
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
    """One model and one context."""

    def __init__(self, path, n_threads=2, n_ctx=1024, kv='f32', repack=False, flash=False,
                 n_batch=512):
        self.lib = load()
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
        params = self.lib.llama_context_default_params()
        params.n_ctx = n_ctx
        params.n_batch = params.n_ubatch = n_batch
        params.n_seq_max = 1
        params.n_threads = params.n_threads_batch = n_threads
        params.type_k = params.type_v = KV_TYPES[kv]
        params.flash_attn_type = 1 if flash else 0
        params.no_perf = True
        self.ctx = self.lib.llama_init_from_model(self.model, params)
        if not self.ctx:
            sys.exit(f'llamacpp: {path}: no context')
        self.load_s = time.perf_counter() - began

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
    for name, function in (('speed', speed), ('logits', logits), ('tokenize', tokenize),
                           ('perplexity', perplexity)):
        command = commands.add_parser(name)
        command.set_defaults(function=function)
        command.add_argument('model')
        command.add_argument('--threads', type=int, default=2)
        command.add_argument('--kv', choices=KV_TYPES, default='f32')
        command.add_argument('--repack', action='store_true', help='a second copy of weights')
        command.add_argument('--flash', action='store_true', help='flash attention')
        if name != 'tokenize':
            command.add_argument('--ids', required=True, help='file of token ids')
        if name == 'speed':
            command.add_argument('--prefill', type=int, default=512)
            command.add_argument('--decode', type=int, default=64)
            command.add_argument('--repeat', type=int, default=1)
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
