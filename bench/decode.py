#!/usr/bin/env python3
"""Decoding beside what memory allows: one sequence, several at once, and a long context.

    decode.py MODEL --build FOLDER [--batches 1,2,4,8,16] [--depth 16384] [--rounds 5]

In every round each row takes its turn, a read loop over the file first: so many sequences,
which have just begun, are fed one random id each per step; and one sequence behind so many
ids goes on. Tokens that choose the same expert read it once, so a step reads the union of
what its tokens chose: the table has it, and the time that its bytes take at the loop's speed
is what memory allows.
"""
import argparse
import pathlib
import sys

import benchlib
from benchlib import Table, median, spread


def commands(args):
    """(name, command) of each row."""
    rows = [(f'{n} at once', f'batch {n} {max(args.tokens // n, 4)}') for n in args.batches]
    if args.depth:
        rows.append((f'behind {args.depth}', f'decode {args.tokens}'))
    return rows


def context(args):
    """Positions for all sequences: blocks of 256 for each, the long one in front."""
    n_long = args.depth + args.tokens * (args.rounds + 2)
    n_short = max(args.batches, default=1) * (-(-(args.tokens + 1) // 256) * 256)
    return -(-n_long // 256) * 256 + n_short + 256


def measure(args, our):
    rounds = []
    for index in range(-1, args.rounds):  # the first is not timed
        entry = {}
        for name, command in commands(args):
            read = benchlib.read_rate(args.build, args.model, args.threads)
            entry[name] = {**our.ask(command), 'read_bytes_per_s': read}
            del entry[name]['call_ms']
        if index >= 0:
            rounds.append(entry)
            print(f'decode: round {index + 1} of {args.rounds}', file=sys.stderr)
    return rounds


def n_union(opened, phase, n_steps):
    """Experts of a layer that a step's tokens chose, all together; None for dense models."""
    if not opened['n_moe_layers'] or phase['phase'] != 'batch':
        return None
    return phase['n_chosen'] / n_steps / opened['n_moe_layers']


def tabulate(args, opened, rounds):
    table = Table(f'Decoding, {args.model.name}, {args.threads} threads, {opened["cpu"]}, '
                  f'kv {args.kv}', 'sequences', 'tokens/s', 'ms/step', 'experts/layer',
                  'MB/step', 'memory allows', 'share of it', 'major faults')
    for name, _ in commands(args):
        found = [entry[name] for entry in rounds]
        n_batch = found[0]['n_batch']
        steps = found[0]['n_tokens'] // n_batch
        step_bytes = [phase['weight_bytes'] / steps for phase in found]
        allowed = [phase['read_bytes_per_s'] / size * n_batch
                   for phase, size in zip(found, step_bytes)]
        rates = [phase['tok_per_s'] for phase in found]
        union = n_union(opened, found[0], steps)
        table.add(name, spread(rates, 2), f'{median([n_batch / r for r in rates]) * 1e3:.1f}',
                  '-' if union is None else f'{union:.1f} of {opened["n_experts"]}',
                  f'{median(step_bytes) * 1e-6:.0f}', f'{median(allowed):.2f}',
                  spread([r / a for r, a in zip(rates, allowed)], 3),
                  sum(phase['major_faults'] for phase in found))
    return table


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n', maxsplit=1)[0])
    parser.add_argument('model', type=pathlib.Path)
    parser.add_argument('--batches', default='1,2,4,8,16', help='sequences at once')
    parser.add_argument('--depth', type=int, default=16384, help='of the long one; 0: none')
    parser.add_argument('--tokens', type=int, default=64, help='decoded in a round and row')
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
        rounds = measure(args, our)
        opened = our.opened
    table = tabulate(args, opened, rounds)
    faults = sum(phase['major_faults'] for entry in rounds for phase in entry.values())
    if faults:
        table.note(f'{faults} pages were read from the disk while decoding was timed: the file is '
                   f'not all in memory, and these figures are of the disk.')
    return benchlib.finish('decode', args, table, {'model': args.model.name, 'opened': opened,
                                                   'rounds': rounds}, faults == 0)


if __name__ == '__main__':
    sys.exit(benchlib.guard('decode', main))
