#!/usr/bin/env python3
"""What drafts of repeated text cost and bring; fails if they change a logit or an answer.

    speculation.py [MODEL] --build FOLDER [--parts imposed,text,answers]

imposed: a text is imposed, with guesses of which a chosen share is right. text: the same with
guesses as sluice makes them, for a text that quotes its prompt and for one that does not.
answers: what sluice run answers, with and without --draft lookup. How to read the table:
doc/benchmarking.md.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import benchlib
from benchlib import ROOT, Failed, Table, median, spread

PARTS = ('imposed', 'text', 'answers')
WAYS = {'greedy, without penalty': ['--temp', '0', '--repeat-penalty', '1'],
        'as the model wants it': [],
        'temperature 1': ['--temp', '1']}


def output(*command, stdin=''):
    done = subprocess.run([str(word) for word in command], input=stdin, capture_output=True,
                          text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f'{command[0]} ended with {done.returncode}']
        raise Failed(lines[-1])
    return done.stdout


def memory_options(args):
    return ['--ram', args.ram] if args.ram else []


def texts(args):
    """Name -> (prompt, what follows it). The quotation leaves out every fifth line."""
    prompt = (args.prompt_file or ROOT / 'doc/concurrency.md').read_text(encoding='utf-8')
    other = (ROOT / 'src/model/forward.c').read_text(encoding='utf-8')
    quotation = ''.join(line for i, line in enumerate(prompt.splitlines(True)) if i % 5 != 4)
    return {'quotes its prompt': (prompt, quotation), 'does not': (prompt, other)}


def tokenize(args, text):
    return output(args.build / 'src/cli/sluice', 'tokenize', args.model, stdin=text).split()


def impose(args, folder, prompt, rest, guesses):
    """bench/speculation's pairs of passes for ids, as dictionaries."""
    path = pathlib.Path(folder) / 'ids'
    path.write_text(' '.join(prompt + rest), encoding='ascii')
    lines = output(args.build / 'bench/speculation', args.model, '--ids', path, '--prompt',
                   len(prompt), '--tokens', len(rest), '--guess', guesses, '--repeat', args.rounds,
                   '--threads', args.threads, '--kv', args.kv, '--cpu', args.cpu,
                   *memory_options(args))
    return [json.loads(line) for line in lines.splitlines()]


def part_imposed(args, folder):
    ids = tokenize(args, texts(args)['does not'][0])
    ids *= (args.prompt + args.tokens) // len(ids) + 1
    pairs = impose(args, folder, ids[:args.prompt],
                   ids[args.prompt:args.prompt + args.tokens], args.guesses)
    return {f'imposed, {guess} % right': [p for p in pairs if p['guess'] == int(guess)]
            for guess in args.guesses.split(',')}


def part_text(args, folder):
    found = {}
    for name, (prompt, rest) in texts(args).items():
        found[f'text that {name}'] = impose(args, folder, tokenize(args, prompt)[:args.prompt],
                                            tokenize(args, rest)[:args.tokens], 'lookup')
    return found


def answer(args, path, *options):
    more = ['-t', args.threads] if args.threads else []
    return json.loads(output(
        args.build / 'src/cli/sluice', 'run', args.model, '-f', path, '--raw', '--json',
        '--ignore-eos', '-n', args.tokens, '--seed', args.seed, '--kv', args.kv, '--cpu', args.cpu,
        *more, *memory_options(args), *options))


def part_answers(args, folder):
    path = pathlib.Path(folder) / 'prompt'
    path.write_text(texts(args)['does not'][0][:4 * args.prompt], encoding='utf-8')
    found = {}
    for name, options in WAYS.items():
        rows = found[f'answer, {name}'] = []
        for _ in range(args.rounds):
            plain = answer(args, path, *options)
            drafted = answer(args, path, *options, '--draft', 'lookup')
            if plain['ids'] != drafted['ids']:
                raise Failed(f'{name}: the answer is another one with drafts')
            rate = drafted['answer_tokens_per_s']
            rows.append({**drafted['drafts'], 'tokens_per_s': rate,
                         'gain': rate / plain['answer_tokens_per_s'],
                         'costs': drafted['drafts']['step_costs']})
    return found


def costs_of(rows):
    costs = {}
    for row in rows:
        for size, cost in row['costs'].items():
            costs.setdefault(int(size), []).append(cost)
    return ' '.join(f'{size}:{median(costs[size]):.2f}' for size in sorted(costs)) or '-'


def tabulate(args, found):
    table = Table(f'Drafts, {args.model.name}, {args.tokens} tokens after {args.prompt}', 'text',
                  'tokens/s', 'times plain', 'steps', 'drafted', 'accepted', 'a step takes')
    for name, rows in found.items():
        drafted = sum(row['drafted'] for row in rows)
        accepted = sum(row['accepted'] for row in rows)
        table.add(name, spread([row['tokens_per_s'] for row in rows]),
                  spread([row['gain'] for row in rows], 2),
                  f'{median([row["steps"] for row in rows]):.0f}',
                  f'{median([row["drafted"] for row in rows]):.0f}',
                  f'{100 * accepted / drafted:.0f} %' if drafted else '-', costs_of(rows))
    table.note('Equal with and without drafts: every logit that was drawn from, and every answer.')
    return table


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n', maxsplit=1)[0])
    parser.add_argument('model', nargs='?', type=pathlib.Path, default=ROOT / 'models/demo.gguf')
    parser.add_argument('--parts', default=','.join(PARTS))
    parser.add_argument('--guesses', default='0,80,95,100', help='per cent right, for imposed')
    parser.add_argument('--prompt', type=int, default=512, help='tokens before what is measured')
    parser.add_argument('--tokens', type=int, default=256)
    parser.add_argument('--ram', help='memory for everything, as 8G')
    parser.add_argument('--prompt-file', type=pathlib.Path, help='a text in place of our own')
    benchlib.add_common(parser)
    args = parser.parse_args()
    parts = args.parts.split(',')
    if set(parts) - set(PARTS):
        parser.error(f'--parts: {", ".join(PARTS)} expected, found "{args.parts}"')
    benchlib.warn_if_busy('speculation')
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, part in zip(PARTS, (part_imposed, part_text, part_answers)):
            if name in parts:
                found.update(part(args, folder))
                print(f'speculation: {name} done', file=sys.stderr)
    return benchlib.finish('speculation', args, tabulate(args, found),
                           {'model': args.model.name, 'rows': found})


if __name__ == '__main__':
    sys.exit(benchlib.guard('speculation', main))
