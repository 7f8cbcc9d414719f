#!/usr/bin/env python3
"""Decoding beside what memory allows: one sequence, several at once, and a long context.

    decode.py MODEL --build FOLDER [--batches 1,2,4,8,16] [--depth 16384] [--rounds 5]

In every round each row takes its turn, in slices of some steps with the read loop before
each: so many sequences, which have just begun, are fed one random id each per step; and one
sequence behind so many ids goes on. Tokens that choose the same expert read it once, so a
step reads the union of what its tokens chose: the table has it, and the time that its bytes
take at the loop's speed is what memory allows.
"""
import argparse
import pathlib
import sys

import benchlib
from benchlib import ReadLoop, Sliced, Table, median, spread


def commands(args):
    """(name, commands) of each row: its slices."""
    rows = [(f'{n} at once', [f'batch {n} {steps}' for steps in
                              benchlib.slices(max(args.tokens // n, 4), args.slice)])
            for n in args.batches]
    if args.depth:
        rows.append((f'behind {args.depth}',
                     [f'decode {n}' for n in benchlib.slices(args.tokens, args.slice)]))
    return rows


def context(args):
    """Positions for all sequences: blocks of 256 for each, the long one in front."""
    n_long = args.depth + args.tokens * (args.rounds + 2)
    n_short = max(args.batches, default=1) * (-(-(args.tokens + 1) // 256) * 256)
    return -(-n_long // 256) * 256 + n_short + 256


def measure(args, our, loop):
    rounds = []
    for index in range(-1, args.rounds):  # the first is not timed
        entry = {}
        for name, words in commands(args):
            entry[name] = Sliced()
            before = loop.rates()
            for command in words:
                phase, after = our.ask(command), loop.rates()
                entry[name].add(phase, before, after)
                before = after
        if index >= 0:
            rounds.append(entry)
            print(f'decode: round {index + 1} of {args.rounds}', file=sys.stderr)
    return rounds


def n_union(opened, row, n_steps):
    """Experts of a layer that a step's tokens chose, all together; None for dense models."""
    if not opened['n_moe_layers'] or row.phases[0]['phase'] != 'batch':
        return None
    return row.total('n_chosen') / n_steps / opened['n_moe_layers']


def tabulate(args, opened, rounds):
    table = Table(f'Decoding, {args.model.name}, {args.threads} threads, {opened["cpu"]}, '
                  f'kv {args.kv}', 'sequences', 'tokens/s', 'ms/step', 'experts/layer',
                  'MB/step', 'memory allows', 'share of it', 'major faults')
    for name, _ in commands(args):
        found = [entry[name] for entry in rounds]
        n_batch = found[0].phases[0]['n_batch']
        steps = found[0].total('n_tokens') // n_batch
        rates = [row.rate for row in found]
        shares = [row.share([phase['weight_bytes'] for phase in row.phases]) for row in found]
        union = n_union(opened, found[0], steps)
        table.add(name, spread(rates, 2), f'{median([n_batch / r for r in rates]) * 1e3:.1f}',
                  '-' if union is None else f'{union:.1f} of {opened["n_experts"]}',
                  f'{median([row.total("weight_bytes") for row in found]) / steps * 1e-6:.0f}',
                  f'{median([r / s for r, s in zip(rates, shares)]):.2f}', spread(shares, 3),
                  sum(row.total('major_faults') for row in found))
    table.note(benchlib.loops_note([row for entry in rounds for row in entry.values()]))
    return table


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n', maxsplit=1)[0])
    parser.add_argument('model', type=pathlib.Path)
    parser.add_argument('--batches', default='1,2,4,8,16', help='sequences at once')
    parser.add_argument('--depth', type=int, default=16384, help='of the long one; 0: none')
    parser.add_argument('--tokens', type=int, default=64, help='decoded in a round and row')
    parser.add_argument('--slice', type=int, default=8, help='steps between two read loops')
    benchlib.add_common(parser)
    args = parser.parse_args()
    args.batches = [int(word) for word in args.batches.split(',') if word]
    benchlib.warn_if_busy('decode')
    options = ['--threads', args.threads, '--kv', args.kv, '--cpu', args.cpu, '--seed', args.seed,
               '--ctx', context(args), '--seqs', max(args.batches, default=1) + 1]
    with benchlib.phases(args.build, args.model, *options) as our:
        args.threads = our.opened['n_threads']
        if args.depth:
            print(f'decode: computing {args.depth} tokens', file=sys.stderr)
            our.ask(f'fill {args.depth}')
        with ReadLoop(args.build, args.model, args.threads) as loop:
            rounds = measure(args, our, loop)
        opened = our.opened
    table = tabulate(args, opened, rounds)
    faults = sum(row.total('major_faults') for entry in rounds for row in entry.values())
    if faults:
        table.note(f'{faults} pages were read from the disk while decoding was timed: the file is '
                   f'not all in memory, and these figures are of the disk.')
    data = [{name: row.data() for name, row in entry.items()} for entry in rounds]
    return benchlib.finish('decode', args, table, {'model': args.model.name, 'opened': opened,
                                                   'rounds': data}, faults == 0)


if __name__ == '__main__':
    sys.exit(benchlib.guard('decode', main))
