#!/usr/bin/env python3
"""How long it takes until a model is ready: with the file in memory, and from the disk.

    startup.py MODEL --build FOLDER [--rounds 3] [--cold-rounds 3]

Warm: a process is started again and again. Cold: before each start what is cached of the
file is forgotten (all caches as root), and the disk is measured by random direct reads,
which pass by the caches. Ready is when the model is open and its session made; the first
token is that of a prompt of 16 random ids. A cold start cannot be faster than the file's
bytes at the disk's speed: the shares are that time's part of the time until the model is ready,
and until the first token.
"""
import argparse
import pathlib
import sys
import time

import benchlib
from benchlib import Table, median, spread
from limited import drop_caches


def start(args):
    """One process: seconds to ready and to the first token, and what it is."""
    options = ['--threads', args.threads, '--kv', args.kv, '--cpu', args.cpu, '--seed', args.seed,
               '--ctx', 512]
    with benchlib.phases(args.build, args.model, *options) as our:
        ready = time.monotonic() - our.started
        args.threads = our.opened['n_threads']
        phase = our.ask('prefill 16')
        first = time.monotonic() - our.started
        return {'ready_s': ready, 'first_token_s': first, 'open_s': our.opened['seconds'],
                'major_faults': phase['major_faults'], 'file_bytes': our.opened['file_bytes']}


def disk_rate(args):
    found = benchlib.run_json([args.build / 'bench/disk', args.model, '--seconds',
                               args.disk_seconds, '--depth', args.depth])
    return found['bytes_per_s']


def measure(args):
    start(args)  # not timed: the file may be cold
    warm = [start(args) for _ in range(args.rounds)]
    print(f'startup: {args.rounds} warm starts', file=sys.stderr)
    cold = []
    for index in range(args.cold_rounds):
        disk = [disk_rate(args)]
        dropped = drop_caches([args.model])
        entry = start(args)
        disk.append(disk_rate(args))
        cold.append({**entry, 'dropped': dropped, 'disk_bytes_per_s': sum(disk) / 2})
        print(f'startup: cold start {index + 1} of {args.cold_rounds}', file=sys.stderr)
    return warm, cold


def tabulate(args, warm, cold):
    table = Table(f'Start, {args.model.name}, {warm[0]["file_bytes"] * 1e-9:.2f} GB', 'start',
                  'ready s', 'first token s', 'disk GB/s', 'the disk allows s', 'share: ready',
                  'first token')
    table.add('warm', spread([e['ready_s'] for e in warm], 3),
              spread([e['first_token_s'] for e in warm], 3), '-', '-', '-', '-')
    if cold:
        allowed = [e['file_bytes'] / e['disk_bytes_per_s'] for e in cold]
        table.add('cold', spread([e['ready_s'] for e in cold], 3),
                  spread([e['first_token_s'] for e in cold], 3),
                  spread([e['disk_bytes_per_s'] for e in cold], 2, 1e-9), f'{median(allowed):.3f}',
                  *(spread([a / e[key] for a, e in zip(allowed, cold)], 3)
                    for key in ('ready_s', 'first_token_s')))
        table.note(f'Cold: caches {cold[0]["dropped"]} were dropped.')
    return table


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n', maxsplit=1)[0])
    parser.add_argument('model', type=pathlib.Path)
    parser.add_argument('--cold-rounds', type=int, default=3)
    parser.add_argument('--depth', type=int, default=16, help='direct reads in flight')
    parser.add_argument('--disk-seconds', type=float, default=1)
    benchlib.add_common(parser, rounds=3)
    args = parser.parse_args()
    benchlib.warn_if_busy('startup')
    warm, cold = measure(args)
    return benchlib.finish('startup', args, tabulate(args, warm, cold),
                           {'model': args.model.name, 'warm': warm, 'cold': cold})


if __name__ == '__main__':
    sys.exit(benchlib.guard('startup', main))
