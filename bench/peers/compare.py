#!/usr/bin/env python3
"""Speed of Sluice beside llama.cpp and the memory of this machine, as ratios.

    compare.py [MODEL] --build FOLDER [--tests pp512,tg128,tg128@16384] [--cpu auto,avx2]
    compare.py MODEL --build FOLDER --repack --apart

pp: a prompt of so many random ids at once; tg: so many one by one, from an empty sequence,
or behind so many others (@). Each program is a process on the same file, with the same ids
and as many threads, and waits while another is timed. Decoding goes in slices of a few
tokens, the programs in turn, with the read loop in between. Prompts are taken whole. A first round,
shorter, is not timed. Medians over the rounds, with the lowest and highest; a ratio is
taken within a round. Pages that were read from the disk meanwhile are counted: with any,
the program fails, because these would be figures of the disk.

--apart opens one program at a time, anew in every round, where memory cannot hold both: as
with --repack, which lets llama.cpp keep a second, rearranged copy of the weights. What memory
gave may then have changed between the two, so the ratio of decoding is that of their shares
of the read loop's speed.

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
from benchlib import ROOT, Failed, ReadLoop, Sliced, Table, median, spread  # noqa: E402

UNTIMED_PROMPT = 512  # tokens, at most: enough to touch every expert
UNTIMED_DECODE = 16
SKIPPED = ('llama.cpp is skipped: SL_LLAMA_NPM names no folder with node_modules '
           '(npm install node-llama-cpp@3.22.1)')


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

    def begin(self):
        """The command before the slices, or None."""
        return None if self.is_prompt or self.depth else 'restart'

    def commands(self, size, is_timed):
        if self.is_prompt:
            return [f'prefill {self.count if is_timed else min(self.count, UNTIMED_PROMPT)}']
        count = self.count if is_timed else min(self.count, UNTIMED_DECODE)
        return [f'decode {n}' for n in benchlib.slices(count, size)]


class Program:
    """One of those that are compared. kind: "sluice" or "llama.cpp"; cpu: as for --cpu."""

    def __init__(self, kind, cpu):
        self.kind = kind
        self.cpu = cpu
        self.talker = None
        self.name = f'{kind} {cpu}'
        self.opened = None

    def start(self, args):
        short, long = contexts(args)
        if self.kind == 'sluice':
            self.talker = benchlib.phases(
                args.build, args.model, '--cpu', self.cpu, '--threads', args.threads, '--kv',
                args.kv, '--seed', args.seed, '--ctx', short + long + 256, '--seqs', 2, '--chunk',
                args.chunk)
        else:
            flags = ['--repack'] if args.repack else []
            self.talker = benchlib.Talker(
                [sys.executable, HERE / 'llamacpp.py', 'serve', args.model, '--cpu', self.cpu,
                 '--threads', args.threads, '--kv', args.kv, '--seed', args.seed, '--ctx',
                 max(short, 512), '--long-ctx', long, '--flash', args.flash, *flags])
        self.opened = self.talker.opened
        args.threads = self.opened['n_threads']
        self.name = f'{self.kind} {self.opened["cpu"]}'
        return self.talker


def round_up(count):
    return -(-count // 256) * 256


def contexts(args):
    """Positions for what is forgotten after each prompt, and for the sequence that decodes."""
    short = round_up(max([test.count + 1 for test in args.tests if test.is_prompt], default=1))
    behind = [test.count for test in args.tests if test.depth]
    fresh = [test.count for test in args.tests if not test.is_prompt and not test.depth]
    return short, round_up(max(args.depth + sum(behind) * (args.rounds + 1),
                               max(fresh, default=1)))


def run_test(args, test, programs, loop, is_timed):
    """{program: Sliced}, the programs in turn, each in front once."""
    found = {program: Sliced() for program in programs}
    if test.begin():
        for program in programs:
            program.talker.ask(test.begin())
    before = loop.rates()
    for index, command in enumerate(test.commands(args.slice, is_timed)):
        first = index % len(programs)
        for program in programs[first:] + programs[:first]:
            phase, after = program.talker.ask(command), loop.rates()
            found[program].add(phase, before, after)
            before = after
    return found


def fill(args, programs):
    for program in programs:
        print(f'compare: {program.name} computes {args.depth} tokens', file=sys.stderr)
        program.talker.ask('restart')
        program.talker.ask(f'fill {args.depth}')


def measure_together(args, programs, loop):
    """Rounds of {test: {program: Sliced}}."""
    rounds = [{} for _ in range(args.rounds)]
    for is_deep in (False, True):
        tests = [test for test in args.tests if bool(test.depth) == is_deep]
        if is_deep and tests:
            fill(args, programs)
        for index in range(-1 if tests else args.rounds, args.rounds):
            for test in tests:
                found = run_test(args, test, programs, loop, index >= 0)
                if index >= 0:
                    rounds[index][test] = found
            if index >= 0:
                print(f'compare: round {index + 1} of {args.rounds}', file=sys.stderr)
    return rounds


def measure_apart(args, programs, loop):
    """The same, one program open at a time."""
    rounds = []
    for index in range(args.rounds):
        entry = {test: {} for test in args.tests}
        for program in programs:
            with program.start(args):
                for test in args.tests:
                    if not test.depth:
                        run_test(args, test, [program], loop, False)
                for test in sorted(args.tests, key=lambda test: test.depth):
                    if test.depth:
                        fill(args, [program])
                        run_test(args, test, [program], loop, False)
                    entry[test].update(run_test(args, test, [program], loop, True))
            print(f'compare: round {index + 1} of {args.rounds}: {program.name}', file=sys.stderr)
        rounds.append(entry)
    return rounds


def ratios(args, test, rounds, one, other, token_bytes):
    """one ÷ other, of each round."""
    if args.apart and not test.is_prompt:
        return [a / b for a, b in zip(shares(test, rounds, one, token_bytes),
                                      shares(test, rounds, other, token_bytes))]
    return [entry[test][one].rate / entry[test][other].rate for entry in rounds]


def shares(test, rounds, program, token_bytes):
    """Of what memory allows, in each round."""
    return [row.share([token_bytes * phase['n_tokens'] for phase in row.phases])
            for row in (entry[test][program] for entry in rounds)]


def add_rows(args, table, programs, rounds):
    """A row for each test and program; how many pages were read from the disk."""
    token_bytes = programs[0].opened['token_bytes']
    n_faults = 0

    def ratio(test, one, other):
        if other in (None, one):
            return '-'
        return spread(ratios(args, test, rounds, one, other, token_bytes), 3)

    for test in args.tests:
        for program in programs:
            rows = [entry[test][program] for entry in rounds]
            peer = next((p for p in programs if p.cpu == program.cpu and p.kind != 'sluice'), None)
            faults = sum(row.total('major_faults') for row in rows)
            n_faults += faults
            table.add(test.name, program.name, spread([row.rate for row in rows], 2),
                      ratio(test, program, peer),
                      ratio(test, program, programs[0]) if program.kind == 'sluice' else '-',
                      '-' if test.is_prompt
                      else spread(shares(test, rounds, program, token_bytes), 3), faults)
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


def run(args):
    """All rounds; the programs without those that turned out to be the same level twice."""
    kinds = ['sluice', 'llama.cpp'] if args.peer else ['sluice']
    programs = [Program(kind, cpu) for cpu in args.cpu.split(',') for kind in kinds]
    with contextlib.ExitStack() as stack:
        if args.apart:
            with programs[0].start(args):
                pass  # says how many threads, and reads the file
        else:
            opened = []
            for program in programs:
                if program.kind == 'sluice' or program.cpu in [p.cpu for p in opened]:
                    stack.enter_context(program.start(args))
                    if program.name not in [p.name for p in opened]:  # auto may be avx2
                        opened.append(program)
            programs = opened
        loop = stack.enter_context(ReadLoop(args.build, args.model, args.threads,
                                            args.bandwidth_bytes))
        return programs, (measure_apart if args.apart else measure_together)(args, programs, loop)


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.split('\n', maxsplit=1)[0])
    parser.add_argument('model', nargs='?', type=pathlib.Path, default=ROOT / 'models/demo.gguf')
    parser.add_argument('--tests', default='pp128,pp512,pp4096,tg128,tg128@16384')
    benchlib.add_common(parser)
    parser.set_defaults(cpu='auto,avx2')
    parser.add_argument('--chunk', type=int, default=512, help="tokens of a prompt's step; "
                        'llama.cpp has 512')
    parser.add_argument('--slice', type=int, default=8, help='tokens decoded between two read '
                        'loops')
    parser.add_argument('--flash', choices=('auto', 'off', 'on'), default='auto',
                        help="llama.cpp's flash attention; auto is its default")
    parser.add_argument('--repack', action='store_true', help='let llama.cpp keep a second, '
                        'rearranged copy of the weights')
    parser.add_argument('--apart', action='store_true', help='one program at a time')
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
    programs, rounds = run(args)
    table = Table(f'Beside llama.cpp, {args.model.name}, kv {args.kv}', 'test', 'program',
                  'tokens/s', 'times llama.cpp', f'times {programs[0].name}', 'of memory',
                  'major faults')
    n_faults = add_rows(args, table, programs, rounds)
    table.note(f'{args.threads} threads, seed {args.seed}, {args.rounds} rounds, '
               f'{"one program open at a time" if args.apart else "all programs open"}.')
    if args.peer:
        table.note(f'llama.cpp: flash attention {args.flash}, weights '
                   f'{"repacked" if args.repack else "as in the file"}.')
    elif is_wanted:
        table.note(SKIPPED)
    table.note(benchlib.loops_note([row for entry in rounds for test in entry.values()
                                    for row in test.values()]))
    text = routing(args)
    if text:
        table.note(text)
    if n_faults:
        table.note(f'{n_faults} pages were read from the disk while something was timed: the file '
                   f'is not all in memory, and these figures are of the disk.')
    data = [{test.name: {program.name: row.data() for program, row in found.items()}
             for test, found in entry.items()} for entry in rounds]
    return benchlib.finish('compare', args, table,
                           {'model': args.model.name, 'model_bytes': args.model.stat().st_size,
                            'kv': args.kv, 'flash': args.flash, 'repack': args.repack,
                            'apart': args.apart,
                            'opened': {program.name: program.opened for program in programs},
                            'rounds': data}, n_faults == 0)


if __name__ == '__main__':
    sys.exit(benchlib.guard('compare', main))
