#!/usr/bin/env python3
"""Speed of Sluice beside llama.cpp and the memory of this machine, as ratios.

    compare.py [MODEL] --build FOLDER [--tests pp512,tg128,tg128@16384] [--cpu auto,avx2]

pp: a prompt of so many random ids at once; tg: so many one by one, from an empty sequence,
or behind so many others (@). Both programs run as one process each, on the same file, with
the same ids and as many threads, and wait while the other is timed. In every round each
test takes its turn: the read loop over the file, Sluice, llama.cpp. A first round, shorter,
is not timed. Medians over the rounds, with the lowest and highest; a ratio is taken within
a round. Pages that were read from the disk meanwhile are counted: with any, the program
fails, because these would be figures of the disk.

llama.cpp comes from npm (see llamacpp.py; SL_LLAMA_NPM names the folder); without it Sluice
alone is measured.
"""
import argparse
import contextlib
import os
import pathlib
import re
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import benchlib  # noqa: E402  (found through the line above)
from benchlib import ROOT, Failed, Table, median, spread  # noqa: E402

UNTIMED_PROMPT = 512  # tokens, at most: enough to touch every expert
UNTIMED_DECODE = 16
SKIPPED = ('llama.cpp is skipped: SL_LLAMA_NPM names no folder with node_modules '
           '(npm install node-llama-cpp@3.22.1)')
PROGRAMS = ('sluice', 'llama.cpp')


class Test:
    """"pp512", "tg128", "tg128@16384": what to say to a program to run it."""

    def __init__(self, text):
        found = re.fullmatch(r'(?:(pp)(\d+)|(tg)(\d+)(?:@(\d+))?)', text)
        if not found or int(found[2] or found[4]) == 0:
            raise argparse.ArgumentTypeError(f'{text} is no test: pp512, tg128, tg128@16384')
        self.name = text
        self.is_prompt = bool(found[1])
        self.count = int(found[2] or found[4])
        self.depth = int(found[5] or 0)

    def command(self, is_timed):
        if self.is_prompt:
            return f'prefill {self.count if is_timed else min(self.count, UNTIMED_PROMPT)}'
        count = self.count if is_timed else min(self.count, UNTIMED_DECODE)
        return f'decode {count}' if self.depth else f'batch 1 {count}'


def round_up(count):
    return -(-count // 256) * 256


def contexts(args):
    """Positions for what is forgotten after each test, and for the long sequence."""
    short = round_up(max([test.count + 1 for test in args.tests if not test.depth], default=1))
    long = [test.count * (args.rounds + 1) for test in args.tests if test.depth]
    return short, round_up(args.depth + sum(long)) if args.depth else 0


def start_ours(args, cpu):
    short, long = contexts(args)
    return benchlib.phases(args.build, args.model, '--cpu', cpu, '--threads', args.threads,
                           '--kv', args.kv, '--seed', args.seed, '--ctx', short + long + 256,
                           '--seqs', 2, '--chunk', args.chunk)


def start_peer(args, cpu):
    short, long = contexts(args)
    flags = ['--repack'] if args.repack else []
    return benchlib.Talker([sys.executable, HERE / 'llamacpp.py', 'serve', args.model, '--cpu', cpu,
                            '--threads', args.threads, '--kv', args.kv, '--seed', args.seed,
                            '--ctx', max(short, 512), '--long-ctx', long, '--flash', args.flash,
                            *flags])


def measure(args, programs, label):
    """Rounds of {test: {program: phase, "read_bytes_per_s": ..}}."""
    if args.depth:
        for name, program in programs.items():
            print(f'compare: {label}: {name} computes {args.depth} tokens', file=sys.stderr)
            program.ask(f'fill {args.depth}')
    rounds = []
    for index in range(-1, args.rounds):
        entry = {}
        for test in args.tests:
            found = {'read_bytes_per_s': benchlib.read_rate(args.build, args.model, args.threads,
                                                            args.bandwidth_bytes)}
            for name, program in programs.items():
                found[name] = program.ask(test.command(index >= 0))
                found[name].pop('call_ms', None)
            entry[test.name] = found
        if index >= 0:
            rounds.append(entry)
            print(f'compare: {label}: round {index + 1} of {args.rounds}', file=sys.stderr)
    return rounds


def add_rows(args, table, level, opened, rounds):
    """The rows of one CPU level; how many pages were read from the disk."""
    n_faults = 0
    for test in args.tests:
        found = [entry[test.name] for entry in rounds]
        ours = [entry['sluice']['tok_per_s'] for entry in found]
        peer = [entry['llama.cpp']['tok_per_s'] for entry in found if 'llama.cpp' in entry]
        reads = [entry['read_bytes_per_s'] for entry in found]
        shares = [rate * opened['token_bytes'] / read for rate, read in zip(ours, reads)]
        faults = [sum(entry[name]['major_faults'] for entry in found)
                  for name in PROGRAMS if name in found[0]]
        n_faults += sum(faults)
        table.add(test.name, level, spread(ours, 2), spread(peer, 2) if peer else '-',
                  spread([o / p for o, p in zip(ours, peer)], 3) if peer else '-',
                  f'{median(reads) * 1e-9:.1f}', '-' if test.is_prompt else spread(shares, 3),
                  ' + '.join(map(str, faults)))
    return n_faults


def routing(args):
    """What mkmodel --check says of the model: how often experts are chosen again."""
    mkmodel = args.build / 'tools/mkmodel'
    if not args.check or not mkmodel.is_file():
        return ''
    done = subprocess.run([mkmodel, '--check', args.model], capture_output=True, text=True,
                          check=False)
    if done.returncode:
        return f'mkmodel --check failed: {done.stderr.strip().splitlines()[:1]}'
    return '; '.join((done.stdout.strip() or done.stderr.strip()).splitlines())


def run_level(args, table, cpu):
    """All rounds of a CPU level; what goes into the results, and the faults."""
    with contextlib.ExitStack() as stack:
        programs = {'sluice': stack.enter_context(start_ours(args, cpu))}
        opened = programs['sluice'].opened
        args.threads = opened['n_threads']
        if args.peer:
            programs['llama.cpp'] = stack.enter_context(start_peer(args, cpu))
        builds = {name: program.opened['cpu'] for name, program in programs.items()}
        rounds = measure(args, programs, cpu)
    n_faults = add_rows(args, table, builds['sluice'], opened, rounds)
    if args.peer:
        table.note(f'{builds["sluice"]}: llama.cpp runs its build for {builds["llama.cpp"]}.')
    return {'cpu': cpu, 'builds': builds, 'opened': opened, 'rounds': rounds}, n_faults


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.split('\n', maxsplit=1)[0])
    parser.add_argument('model', nargs='?', type=pathlib.Path, default=ROOT / 'models/demo.gguf')
    parser.add_argument('--tests', default='pp128,pp512,pp4096,tg128,tg128@16384')
    benchlib.add_common(parser)
    parser.set_defaults(cpu='auto,avx2')
    parser.add_argument('--chunk', type=int, default=512, help="tokens of a prompt's step; "
                        'llama.cpp has 512')
    parser.add_argument('--flash', choices=('auto', 'off', 'on'), default='auto',
                        help="llama.cpp's flash attention; auto is its default")
    parser.add_argument('--repack', action='store_true', help='let llama.cpp keep a second, '
                        'rearranged copy of the weights')
    parser.add_argument('--bandwidth-bytes', type=int, default=1 << 30)
    parser.add_argument('--no-peer', dest='peer', action='store_false')
    parser.add_argument('--no-check', dest='check', action='store_false',
                        help='leave out what mkmodel --check says of the model')
    args = parser.parse_args()
    try:
        args.tests = [Test(word) for word in args.tests.split(',')]
    except argparse.ArgumentTypeError as error:
        parser.error(str(error))
    depths = {test.depth for test in args.tests if test.depth}
    if len(depths) > 1:
        parser.error('one depth at a time')
    args.depth = depths.pop() if depths else 0
    return args


def main():
    args = parse_args()
    if not args.model.is_file():
        raise Failed(f'{args.model}: no such file')
    is_wanted = args.peer
    if args.peer and not os.environ.get('SL_LLAMA_NPM'):
        print(f'compare: {SKIPPED}', file=sys.stderr)
        args.peer = False
    benchlib.warn_if_busy('compare')
    table = Table(f'Beside llama.cpp, {args.model.name}, kv {args.kv}', 'test', 'level',
                  'Sluice tokens/s', 'llama.cpp tokens/s', 'ratio', 'memory GB/s',
                  'Sluice / memory', 'major faults')
    levels, n_faults, done = [], 0, set()
    text = routing(args)
    for cpu in args.cpu.split(','):
        if cpu in done:
            continue
        data, faults = run_level(args, table, cpu)
        levels.append(data)
        n_faults += faults
        done |= {cpu, data['builds']['sluice']}  # auto may be avx2
    table.note(f'{args.threads} threads, seed {args.seed}, {args.rounds} rounds; llama.cpp: flash '
               f'attention {args.flash}, weights {"repacked" if args.repack else "as in the file"}.'
               if args.peer else f'{args.threads} threads, seed {args.seed}, {args.rounds} rounds; '
               f'{SKIPPED if is_wanted else "without llama.cpp"}.')
    if text:
        table.note(text)
    if n_faults:
        table.note(f'{n_faults} pages were read from the disk while something was timed: the file '
                   f'is not all in memory, and these figures are of the disk.')
    return benchlib.finish('compare', args, table,
                           {'model': args.model.name, 'model_bytes': args.model.stat().st_size,
                            'kv': args.kv, 'flash': args.flash, 'repack': args.repack,
                            'levels': levels}, n_faults == 0)


if __name__ == '__main__':
    sys.exit(benchlib.guard('compare', main))
