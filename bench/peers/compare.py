#!/usr/bin/env python3
"""Speed of Sluice beside llama.cpp and the memory of this machine, as ratios.

    compare.py [MODEL] --build FOLDER [--rounds 5] [--prefill 512] [--decode 64]

In every round each program runs once, by itself, on the same file with the same random ids:
memory bandwidth, Sluice, llama.cpp (when SL_LLAMA_NPM names it, see llamacpp.py). Each
first does everything once untimed. Medians over the rounds, with the lowest and highest;
a ratio's spread is that of the ratios within a round.
"""
import argparse
import json
import os
import pathlib
import platform
import random
import statistics
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
RATES = (('prefill_tok_per_s', 'prefill tokens/s'), ('decode_tok_per_s', 'decode tokens/s'))


def run_json(command):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True,
                          check=False)
    if done.returncode:
        sys.exit(f'compare: {command[0]} failed: {done.stderr.strip()}')
    return json.loads(done.stdout)


def commit():
    done = subprocess.run(['git', '-C', ROOT, 'describe', '--always', '--dirty'],
                          capture_output=True, text=True, check=False)
    return done.stdout.strip() or 'unknown'


def cpu_name():
    with open('/proc/cpuinfo', encoding='utf-8') as file:
        for line in file:
            if line.startswith('model name'):
                return line.split(':', 1)[1].strip()
    return platform.machine()


class Table:
    """Rows of a name and values of every round, for people and as CSV."""

    def __init__(self):
        self.rows = []

    def add(self, name, values):
        self.rows.append((name, min(values), statistics.median(values), max(values)))

    def print(self):
        for name, low, median, high in self.rows:
            print(f'{name:28}{median:10.3f}  [{low:.3f} .. {high:.3f}]')

    def append_to(self, path, case):
        with open(path, 'a', encoding='utf-8') as file:
            for name, *values in self.rows:
                file.write(','.join([*case, name, *(f'{v:.6g}' for v in values)]) + '\n')


def one_round(args, ids):
    shape = ['--ids', ids, '--prefill', args.prefill, '--decode', args.decode, '--repeat',
             args.repeat, '--threads', args.threads, '--kv', args.kv]
    result = {'memory': run_json([args.build / 'bench/bandwidth', '--threads', args.threads,
                                  '--bytes', args.bandwidth_bytes, args.model])}
    result['sluice'] = run_json([args.build / 'bench/decode', args.model, '--cpu', args.cpu,
                                 *shape])
    if args.peer:
        flags = [flag for flag in ('repack', 'flash') if getattr(args, flag)]
        result['llama.cpp'] = run_json([sys.executable, HERE / 'llamacpp.py', 'speed',
                                        args.model, *shape, *[f'--{flag}' for flag in flags]])
    return result


def median_rate(result, key):
    return statistics.median(result[key])


def tabulate(rounds):
    table = Table()
    first = rounds[0]['sluice']
    for key, text in (('buffer_gb_per_s', 'memory GB/s huge pages'),
                      ('file_gb_per_s', 'memory GB/s mapped file')):
        table.add(text, [r['memory'][key] for r in rounds])
    for name in [name for name in ('sluice', 'llama.cpp') if name in rounds[0]]:
        for key, text in RATES:
            if first[key]:
                table.add(f'{name} {text}', [median_rate(r[name], key) for r in rounds])
        table.add(f'{name} first token s', [r[name]['first_token_s'] for r in rounds])
        table.add(f'{name} peak MB', [r[name]['peak_bytes'] * 1e-6 for r in rounds])
    if first['decode_tok_per_s']:
        table.add('decode / memory',
                  [median_rate(r['sluice'], 'decode_tok_per_s') * first['token_bytes'] * 1e-9
                   / r['memory']['file_gb_per_s'] for r in rounds])
    for key, text in RATES:
        if 'llama.cpp' in rounds[0] and first[key]:
            table.add(f'{text.split()[0]} / llama.cpp',
                      [median_rate(r['sluice'], key) / median_rate(r['llama.cpp'], key)
                       for r in rounds])
    return table


def report(args, rounds):
    first = rounds[0]['sluice']
    peer = 'repacked' * args.repack + ' flash' * args.flash
    print(f'machine  {cpu_name()}, {os.cpu_count()} CPUs, {args.threads} threads, '
          f'level {first["cpu"]}')
    print(f'model    {args.model.name}, {args.model.stat().st_size} bytes, '
          f'{first["token_bytes"]} read per token; kv {args.kv}; llama.cpp {peer or "plain"}')
    print(f'commit   {commit()}; seed {args.seed}; {len(rounds)} rounds')
    print('median of the rounds  [lowest .. highest]')
    table = tabulate(rounds)
    table.print()
    if args.csv:
        table.append_to(args.csv, [cpu_name(), commit(), first['cpu'], args.model.name,
                                   args.kv, str(args.threads)])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n', maxsplit=1)[0])
    parser.add_argument('model', nargs='?', type=pathlib.Path, default=ROOT / 'models/demo.gguf')
    parser.add_argument('--build', type=pathlib.Path, default=ROOT / 'build/release')
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--repeat', type=int, default=1, help='timed passes in a round')
    parser.add_argument('--prefill', type=int, default=512)
    parser.add_argument('--decode', type=int, default=64)
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--kv', choices=('f32', 'f16', 'q8_0'), default='f32')
    parser.add_argument('--cpu', default='auto')
    parser.add_argument('--seed', type=int, default=random.SystemRandom().randrange(1 << 31))
    parser.add_argument('--repack', action='store_true', help='let llama.cpp repack weights')
    parser.add_argument('--flash', action='store_true', help="llama.cpp's flash attention")
    parser.add_argument('--bandwidth-bytes', type=int, default=1 << 30)
    parser.add_argument('--no-peer', dest='peer', action='store_false')
    parser.add_argument('--no-check', dest='check', action='store_false',
                        help='leave out what mkmodel --check says of the model')
    parser.add_argument('--csv', help='append lines: machine, commit, level, model, kv, threads, '
                        'name, lowest, median, highest')
    parser.add_argument('--json', type=pathlib.Path, help='every round as it was')
    args = parser.parse_args()
    if args.peer and not os.environ.get('SL_LLAMA_NPM'):
        print('compare: SL_LLAMA_NPM is not set: without llama.cpp', file=sys.stderr)
        args.peer = False
    mkmodel = args.build / 'tools/mkmodel'
    if args.check and mkmodel.is_file():
        done = subprocess.run([mkmodel, '--check', args.model], capture_output=True, text=True,
                              check=False)
        print((done.stdout.strip() or done.stderr.strip()) if done.returncode == 0 else
              f'mkmodel --check failed: {done.stderr.strip().splitlines()[:1]}')
    if os.getloadavg()[0] > 0.5:
        print(f'compare: load average {os.getloadavg()[0]:.1f}: something else runs here',
              file=sys.stderr)
    generator = random.Random(args.seed)
    rounds = []
    with tempfile.TemporaryDirectory() as folder:
        ids = pathlib.Path(folder, 'random.ids')
        count = max(args.prefill, args.decode, 16)
        ids.write_text(' '.join(str(generator.randrange(1 << 24)) for _ in range(count)),
                       encoding='utf-8')
        for index in range(args.rounds):
            rounds.append(one_round(args, ids))
            print(f'compare: round {index + 1} of {args.rounds}', file=sys.stderr)
    report(args, rounds)
    if args.json:
        args.json.write_text(json.dumps(rounds, indent=1), encoding='utf-8')


if __name__ == '__main__':
    main()
