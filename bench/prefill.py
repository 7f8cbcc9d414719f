#!/usr/bin/env python3
"""Prompts beside what the cores can multiply.

    prefill.py MODEL --build FOLDER [--tokens 128,512,4096] [--rounds 5]

In every round the ceilings of bench/kernels are measured first, then each prompt of random
ids is computed at once, in a sequence of its own. Multiply-adds are those with weights, of
the layers and of the one row of logits; attention is not counted. Share is theirs per
second of the tile ceiling: loops that multiply bytes as a tile kernel must, and do nothing
else.
"""
import argparse
import pathlib
import sys

import benchlib
from benchlib import Table, median, spread


def ceilings(args, level):
    """GMAC/s of all threads: {"dot": .., "tile": .., "fma": ..}, what the level has."""
    found = benchlib.run_json([args.build / 'bench/kernels', '--ceilings', '--level', level,
                               '--threads', args.threads, '--rounds', 3, '--json'])
    row = found['rows'][0]
    return {key: row[f'{key}_gmac_per_s'][1] for key in ('dot', 'tile', 'fma')
            if f'{key}_gmac_per_s' in row}


def measure(args, our):
    rounds = []
    for index in range(-1, args.rounds):  # the first is not timed
        entry = {'ceilings': ceilings(args, our.opened['cpu'])}
        for n in args.tokens:
            phase = our.ask(f'prefill {min(n, 512) if index < 0 else n}')
            del phase['call_ms']
            entry[str(n)] = phase
        if index >= 0:
            rounds.append(entry)
            print(f'prefill: round {index + 1} of {args.rounds}', file=sys.stderr)
    return rounds


def tabulate(args, opened, rounds):
    table = Table(f'Prompts, {args.model.name}, {args.threads} threads, {opened["cpu"]}, '
                  f'kv {args.kv}', 'tokens', 'tokens/s', 'GMAC/s', 'tile ceiling', 'share of it',
                  'major faults')
    for n in args.tokens:
        found = [entry[str(n)] for entry in rounds]
        rates = [phase['tok_per_s'] for phase in found]
        macs = opened['token_macs'] + opened['head_macs'] / n
        tiles = [entry['ceilings'].get('tile') for entry in rounds]
        shares = [r * macs * 1e-9 / t for r, t in zip(rates, tiles) if t]
        table.add(n, spread(rates, 1),
                  f'{median(rates) * macs * 1e-9:.1f}' if opened['token_macs'] else '-',
                  f'{median(tiles):.1f}' if tiles[0] else '-',
                  spread(shares, 3) if shares and opened['token_macs'] else '-',
                  sum(phase['major_faults'] for phase in found))
    return table


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n', maxsplit=1)[0])
    parser.add_argument('model', type=pathlib.Path)
    parser.add_argument('--tokens', default='128,512,4096', help='lengths of prompts')
    parser.add_argument('--chunk', type=int, default=512, help='tokens of a step')
    benchlib.add_common(parser)
    args = parser.parse_args()
    args.tokens = [int(word) for word in args.tokens.split(',')]
    benchlib.warn_if_busy('prefill')
    options = ['--threads', args.threads, '--kv', args.kv, '--cpu', args.cpu, '--seed', args.seed,
               '--ctx', -(-max(args.tokens) // 256) * 256 + 512, '--chunk', args.chunk]
    with benchlib.phases(args.build, args.model, *options) as our:
        args.threads = our.opened['n_threads']
        rounds = measure(args, our)
        opened = our.opened
    table = tabulate(args, opened, rounds)
    faults = sum(entry[str(n)]['major_faults'] for entry in rounds for n in args.tokens)
    if faults:
        table.note(f'{faults} pages were read from the disk while prompts were timed: the file is '
                   f'not all in memory, and these figures are of the disk.')
    return benchlib.finish('prefill', args, table, {'model': args.model.name, 'opened': opened,
                                                    'chunk': args.chunk, 'rounds': rounds},
                           faults == 0)


if __name__ == '__main__':
    sys.exit(benchlib.guard('prefill', main))
