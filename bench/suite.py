#!/usr/bin/env python3
"""All measurements of this machine, and what they say: ./dev bench.

    suite.py [MODEL | --make PRESET] --build FOLDER [--parts kernels,peers] [--out FOLDER]

Runs the other programs of this folder one after the other, writes what each found to
FOLDER/PART.json and, for people, FOLDER/PART.md; FOLDER/results.md has all parts that lie
there, so that a long measurement can be made in several goes. --make writes a random model of a
preset's shape (see mkmodel --help) below the build folder, once. What a model's context is
too short for is measured with less.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import time

import benchlib
from benchlib import ROOT, Failed, Table
from kernelrows import kernel_tables

HERE = pathlib.Path(__file__).resolve().parent
PARTS = ('bandwidth', 'kernels', 'attention', 'prefill', 'decode', 'startup', 'peers', 'depth',
         'repacked', 'drafts')
LONG_CTX = 24576  # positions from which on nothing has to be left out


class Suite:
    """What all parts need: options, the model's context, how long contexts may be."""

    def __init__(self, args):
        self.args = args
        info = benchlib.run_json([args.build / 'src/cli/sluice', 'info', '--json', args.model])
        self.threads = args.threads or info['threads']
        self.info = info
        ctx = info['context']
        is_long = ctx >= LONG_CTX
        self.depth = 16384 if is_long else ctx // 4 // 256 * 256
        self.prompts = [n for n in (128, 512, 4096) if is_long or n <= ctx // 4]
        self.tokens = 128 if is_long else max(4, min(128, ctx // 64))
        self.batches = [n for n in (1, 2, 4, 8, 16) if is_long or n * 512 <= ctx]
        if ctx < 1024:
            raise Failed(f'{args.model}: a context of {ctx} is too short, 1024 are needed')

    def script(self, name, path, *options):
        """One of the Python programs, which prints its table: (Markdown, whether all is well)."""
        args = self.args
        command = [sys.executable, HERE / name, args.model, '--build', args.build, '--threads',
                   self.threads, '--kv', args.kv, '--seed', args.seed, '--json', path, *options]
        done = subprocess.run([str(word) for word in command], check=False)
        if done.returncode and not path.is_file():
            raise Failed(f'{name} ended with {done.returncode}')
        print(flush=True)
        return json.loads(path.read_text(encoding='utf-8'))['markdown'], done.returncode == 0

    def rounds(self, usual):
        return ['--rounds', self.args.rounds or usual]

    def program(self, path, name, *options):
        """One of the C programs; its JSON, kept with what machine it is of."""
        found = benchlib.run_json([self.args.build / 'bench' / name, *options])
        data = {'program': name, 'machine': benchlib.machine(), **found}
        path.write_text(json.dumps(data, indent=1) + '\n', encoding='utf-8')
        return found

    def levels(self):
        return ['--cpu', self.args.cpu] if self.args.cpu else []


def show(table):
    print(table.text() + '\n', flush=True)
    return table.markdown()


# The parts: each gives (Markdown, whether all is well), or raises Failed.


def bandwidth(suite, path):
    found = suite.program(path, 'bandwidth', '--each', '--threads', suite.threads,
                          suite.args.model)
    table = Table('Reading memory, GB/s', 'who', 'CPUs', 'huge pages', 'mapped file')

    def add(name, cpus, row):
        text = cpus if isinstance(cpus, str) else ' '.join(map(str, cpus))
        table.add(name, text, f'{row["buffer_gb_per_s"]:.1f}', f'{row["file_gb_per_s"]:.1f}')

    add(f'{suite.threads} threads', 'any', found)
    for key, name in (('cores', 'core'), ('l3_domains', 'L3 domain'), ('nodes', 'node')):
        for index, row in enumerate(found[key]):
            add(f'{name} {index}', row['cpus'], row)
    return show(table), True


def kernels(suite, path):
    found = suite.program(path, 'kernels', '--json', *suite.rounds(3))
    return '\n'.join(show(table) for table in kernel_tables(found)), True


def attention(suite, path):
    found = suite.program(path, 'attention', '--json', *suite.rounds(5))
    table = Table(f'Attention of a decoded token, {found["level"]}, one layer of LFM2-24B-A2B',
                  'KV', 'depth', 'threads', 'us', 'GB/s', 'read loop GB/s', 'share of it')
    for row in found['rows']:
        table.add(row['kv'], row['depth'], row['n_threads'], f'{row["layer_us"]:.1f}',
                  f'{row["gb_per_s"]:.2f} [{row["gb_per_s_low"]:.2f} .. '
                  f'{row["gb_per_s_high"]:.2f}]', f'{row["read_gb_per_s"]:.1f}',
                  f'{row["of_read"]:.2f}')
    return show(table), True


def prefill(suite, path):
    return suite.script('prefill.py', path, *suite.levels(), *suite.rounds(5), '--tokens',
                        ','.join(map(str, suite.prompts)))


def decode(suite, path):
    return suite.script('decode.py', path, *suite.levels(), *suite.rounds(5), '--depth',
                        suite.depth, '--batches', ','.join(map(str, suite.batches)), '--tokens',
                        suite.tokens // 2)


def startup(suite, path):
    n = suite.args.rounds or 3
    return suite.script('startup.py', path, *suite.levels(), '--rounds', n, '--cold-rounds',
                        0 if suite.args.keep_caches else n)


def compare(suite, path, tests, *options):
    return suite.script('peers/compare.py', path, *suite.rounds(5), '--tests', ','.join(tests),
                        *options)


def short_tests(suite):
    return [f'pp{n}' for n in suite.prompts] + [f'tg{suite.tokens}']


def peers(suite, path):
    return compare(suite, path, short_tests(suite), *suite.levels())


def depth(suite, path):
    """llama.cpp computes the long prompt at each level: at one is enough."""
    return compare(suite, path, [f'tg{suite.tokens}@{suite.depth}'], '--cpu',
                   suite.args.cpu or 'auto')


def repacked(suite, path):
    return compare(suite, path, short_tests(suite), '--cpu', suite.args.cpu or 'auto',
                   '--repack', '--apart')


def drafts(suite, path):
    return suite.script('speculation.py', path, *suite.rounds(3), '--parts', 'imposed', '--guesses',
                        '0,80,95,100')


def make_model(args):
    """A random model of a preset's shape, below the build folder, written once."""
    folder = args.build / 'bench-models'
    path = folder / f'{args.make}-{args.type}-{args.routing}.gguf'
    if not path.is_file():
        folder.mkdir(exist_ok=True)
        print(f'bench: making {path}', file=sys.stderr)
        part = path.with_suffix('.part')
        done = subprocess.run([args.build / 'tools/mkmodel', args.make, part, '--type', args.type,
                               '--routing', args.routing], check=False,
                              stdout=subprocess.DEVNULL)
        if done.returncode:
            part.unlink(missing_ok=True)
            raise Failed(f'mkmodel ended with {done.returncode}')
        part.rename(path)
    return path


def parse_args():
    parser = argparse.ArgumentParser(prog='./dev bench',
                                     description=__doc__.split('\n', maxsplit=1)[0])
    parser.add_argument('model', nargs='?', type=pathlib.Path, help='a GGUF file (default: the '
                        'demo model, which caches hold)')
    parser.add_argument('--make', metavar='PRESET', help='make a random model: 24b, 8b-a1b, 2.6b, '
                        '1.2b, 700m, 350m, tiny')
    parser.add_argument('--type', default='q4_k_m', help='of the model that is made')
    parser.add_argument('--routing', choices=('local', 'uniform'), default='local',
                        help='of the model that is made')
    parser.add_argument('--parts', default=','.join(PARTS), help='only these')
    parser.add_argument('--build', type=pathlib.Path, default=ROOT / 'build/release')
    parser.add_argument('--out', type=pathlib.Path, default=HERE / 'results')
    parser.add_argument('--rounds', type=int, default=0, help='of every part (3 or 5)')
    parser.add_argument('--threads', type=int, default=0, help='0: one per core')
    parser.add_argument('--kv', choices=('f16', 'f32', 'q8_0'), default='f16')
    parser.add_argument('--cpu', default='', help='level of the parts with a model (auto; for '
                        'peers auto,avx2)')
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--keep-caches', action='store_true', help='no cold starts, for which '
                        'caches are dropped')
    args = parser.parse_args()
    args.parts = [word for word in args.parts.split(',') if word]
    unknown = set(args.parts) - set(PARTS)
    if unknown:
        parser.error(f'no such part: {", ".join(sorted(unknown))}')
    if args.model and args.make:
        parser.error('a model, or --make')
    return args


def heading(suite):
    facts = benchlib.machine()
    return (f'# Measurements\n\n{facts["cpu"]}, {facts["n_cpus"]} CPUs, {suite.threads} threads, '
            f'{facts["memory_bytes"] / (1 << 30):.1f} GiB, Linux {facts["kernel"]}; '
            f'{suite.args.model.name}, {suite.info["file_bytes"]} bytes, '
            f'{suite.info["token_bytes"]} read for a token.\n\n'
            f'Median [lowest .. highest] of the rounds; doc/benchmarking.md says how to read '
            f'the tables.\n')


def run_part(suite, name):
    """Write a part's files; whether all is well."""
    path = suite.args.out / f'{name}.json'
    path.unlink(missing_ok=True)  # or an older result would be taken for this one's
    facts = benchlib.machine()
    try:
        text, is_well = globals()[name](suite, path)
    except Failed as error:
        print(f'bench: {name}: {error}', file=sys.stderr)
        text, is_well = f'## {name}\n\nFailed: {error}\n', False
    text += f'\n{facts["commit"]}, {facts["date"]}, load average before {facts["load"]:.2f}\n'
    path.with_suffix('.md').write_text(text, encoding='utf-8')
    return is_well


def main():
    args = parse_args()
    args.model = make_model(args) if args.make else args.model or ROOT / 'models/demo.gguf'
    suite = Suite(args)
    args.out.mkdir(parents=True, exist_ok=True)
    benchlib.warn_if_busy('bench')
    failed = []
    for name in args.parts:
        began = time.monotonic()
        print(f'bench: {name}', file=sys.stderr)
        if not run_part(suite, name):
            failed.append(name)
        parts = [args.out / f'{part}.md' for part in PARTS]
        texts = [path.read_text(encoding='utf-8') for path in parts if path.is_file()]
        (args.out / 'results.md').write_text('\n'.join([heading(suite), *texts]),
                                             encoding='utf-8')
        print(f'bench: {name}: {time.monotonic() - began:.0f} s', file=sys.stderr)
    print(f'bench: {args.out / "results.md"}', file=sys.stderr)
    if failed:
        print(f'bench: not in order: {", ".join(failed)}', file=sys.stderr)
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(benchlib.guard('bench', main))
