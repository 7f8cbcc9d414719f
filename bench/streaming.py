#!/usr/bin/env python3
"""Streaming in bounded memory against what the disk allows, as one table.

    streaming.py MODEL... --build FOLDER [--parts curve,predict,io,prefill,llama,user]

Every row is a process of its own in a memory cgroup of its budget and 2 %, after dropping
caches: untimed tokens, then rounds of timed ones with random ids, with measurements of the
disk and of memory before and after each round. How to read the table: doc/benchmarking.md.
"""
import argparse
import json
import math
import os
import pathlib
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time

from limited import Cgroup, Denied, drop_caches
from benchlib import ROOT, commit, cpu_name

GIB = 1 << 30
UNITS = {'K': 1 << 10, 'M': 1 << 20, 'G': 1 << 30}
PARTS = ('curve', 'predict', 'io', 'policy', 'prefill', 'llama', 'user', 'before')
DEFAULT_PARTS = 'curve,predict,io,prefill,llama,user'
USER = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups']
USER_LOCK_BYTES = 8192 << 10
COLUMNS = (('tok/s', 7), ('[low .. high]', 16), ('L', 7), ('share', 6), ('disk', 6), ('mem', 5),
           ('hit%', 6), ('cover%', 6), ('use MB', 7), ('waste', 6), ('stall', 7), ('p99', 7),
           ('cpu ms', 7), ('majflt', 7), ('peak', 7), ('killed', 6))
NAME_WIDTH = 26
MEMORY_BYTES = 256 << 20
WARM_UP_STEP = 32


class Failed(Exception):
    """A run that did not get to its end; the text says why."""


def size_of(text):
    """Bytes of "8G", "700M"."""
    return int(float(text[:-1]) * UNITS[text[-1]]) if text[-1] in UNITS else int(text)


def per_token(phase, key):
    return phase['experts'][key] / phase['n_tokens']


def median(values):
    return statistics.median(values) if values else math.nan


class Run:
    """A process of bench/phases in its cgroup; commands in, phases out."""

    def __init__(self, bench, model, budget, *options, user=False, chunk=512):
        self.bench = bench
        self.model = model
        args = bench.args
        limit = None if budget is None else int(size_of(budget) * 1.02) // 4096 * 4096
        residency = ['--residency', 'resident'] if budget is None else \
            ['--residency', 'stream', '--ram', budget]
        self.command = [*(USER if user else []), str(args.build / 'bench/phases'), str(model),
                        *residency, '--threads', str(args.threads), '--ctx', str(args.ctx),
                        '--seed', str(args.seed), '--chunk', str(chunk), *options]
        self.user = user
        self.cgroup = None if args.no_cgroup else Cgroup(limit)
        self.process = None
        self.stderr = tempfile.TemporaryFile('w+')  # closed in __exit__
        self.killed = 0
        self.n_warm = 0
        self.peak_bytes = 0

    def _in_child(self):
        if self.cgroup:
            self.cgroup.join()
        if self.user:
            resource.setrlimit(resource.RLIMIT_MEMLOCK, (USER_LOCK_BYTES, USER_LOCK_BYTES))

    def __enter__(self):
        drop_caches([self.model])
        # Nothing else runs in this process: its lines may be executed between fork and exec.
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=self.stderr, text=True,
                                        preexec_fn=self._in_child)
        try:
            self.opened = self._answer()
        except Failed:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, *exception):
        if exception[0]:
            self.process.kill()
        self.process.stdin.close()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.stderr.close()
        if self.cgroup:
            self.peak_bytes = self.cgroup.peak_bytes()
            self.killed = self.cgroup.n_kills()
            self.cgroup.__exit__(*exception)

    def _answer(self):
        line = self.process.stdout.readline()
        if line:
            return json.loads(line)
        code = self.process.wait()
        self.stderr.seek(0)
        text = self.stderr.read().strip().splitlines()
        if self.cgroup and self.cgroup.n_kills():
            raise Failed('killed for memory')
        raise Failed(text[-1] if text else f'ended with {code}')

    def tell(self, command):
        try:
            self.process.stdin.write(command + '\n')
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # the answer says why
        return self._answer()

    def warm_up(self, n_warm=None):
        """Other tokens until the cache is full, or so many, then the untimed ones. On virtual
        machines, memory touched for the first time may cost more than what is read into it."""
        args = self.bench.args
        while self.n_warm < (args.warm if n_warm is None else n_warm):
            experts = self.tell(f'warm {WARM_UP_STEP}')['experts']
            self.n_warm += WARM_UP_STEP
            if n_warm is None and experts['n_ready'] >= 0.99 * experts['n_slots']:
                break
        self.tell(f'decode {args.untimed}')

    def rounds(self, command, count):
        """Phases of the same command, each with 'disk' and 'memory': bytes/s around it."""
        phases = []
        before = self.bench.speeds(self.model)
        for _ in range(count):
            phase = self.tell(command)
            after = self.bench.speeds(self.model)
            for key in ('disk', 'memory'):
                phase[key] = (before[key] + after[key]) / 2
            before = after
            phases.append(phase)
        return phases


class Bench:
    """What has been measured so far, and the table that is printed as it grows."""

    def __init__(self, args):
        self.args = args
        self.began = time.monotonic()
        self.resident = {}  # model -> tokens per byte that memory could give
        self.resident_prefill = {}  # (model, n) -> tokens/s
        self.hashes = {}  # (model, commands) -> {hash: [names]}
        self.raw = []
        self.longest = 60.0
        self.notes = []

    def measure(self, program, *arguments):
        done = subprocess.run([self.args.build / 'bench' / program, *map(str, arguments)],
                              capture_output=True, text=True, check=False)
        if done.returncode:
            raise Failed(done.stderr.strip())
        return json.loads(done.stdout)

    def speeds(self, model):
        """Bytes/s of random direct reads, and of reading memory with all threads."""
        args = self.args
        disk = self.measure('disk', model, '--read-bytes', args.read_bytes, '--depth',
                            args.depth, '--seconds', args.disk_seconds)
        memory = self.measure('bandwidth', '--threads', args.threads, '--bytes', MEMORY_BYTES)
        return {'disk': disk['bytes_per_s'], 'memory': memory['buffer_gb_per_s'] * 1e9}

    def note(self, text):
        if text not in self.notes:
            self.notes.append(text)

    def minutes(self):
        return (time.monotonic() - self.began) / 60

    def row(self, name, cells):
        line = f'{name:{NAME_WIDTH}}'
        for (_, width), cell in zip(COLUMNS, cells):
            line += f' {cell:>{width}}'
        print(line.rstrip(), flush=True)

    def heading(self, model):
        print(f'\n{model.name}, {model.stat().st_size} bytes')
        self.row('', [name for name, _ in COLUMNS])

    def attempt(self, name, function, *arguments, **options):
        """Run one row; print why where there is none. Returns its result or None."""
        began = time.monotonic()
        if self.minutes() + self.longest / 60 > self.args.minutes:
            print(f'{name:{NAME_WIDTH}} skipped: no time left of {self.args.minutes:g} minutes',
                  flush=True)
            return None
        try:
            return function(name, *arguments, **options)
        except (Failed, Denied) as error:
            print(f'{name:{NAME_WIDTH}} failed: {error}', flush=True)
            return None
        finally:
            self.longest = max(self.longest, time.monotonic() - began)

    def remember_hashes(self, name, model, phases):
        key = (model, phases[0]['phase'], tuple(phase['n_tokens'] for phase in phases))
        found = ' '.join(phase['logits_hash'] for phase in phases)
        self.hashes.setdefault(key, {}).setdefault(found, []).append(name)

    def finish(self, run, name, phases, goal):
        """Print a row; goal: tokens/s that the phase can at best reach, by phase."""
        rates = [phase['tok_per_s'] for phase in phases]
        limits = [min(goal(phase), self.goal_resident(run.model, phase)) for phase in phases]
        missed = [phase['experts']['covered'] + phase['experts']['covered_late'] +
                  phase['experts']['misses'] for phase in phases]
        calls = sorted(ms for phase in phases for ms in phase['call_ms'])
        total = {key: sum(phase['experts'][key] for phase in phases)
                 for key in phases[0]['experts']}
        n_tokens = sum(phase['n_tokens'] for phase in phases)
        streams = run.opened['is_streaming']
        cpu = sum(phase['user_s'] + phase['system_s'] for phase in phases)
        shares = [rate / limit for rate, limit in zip(rates, limits)]
        ceilings = [goal(phase) for phase in phases]
        self.row(name, [
            f'{median(rates):.2f}', f'[{min(rates):.2f} .. {max(rates):.2f}]',
            f'{median(ceilings):.2f}' if streams and median(ceilings) < math.inf else '-',
            f'{median(shares):.3f}' if streams else '-',
            f'{median([phase["disk"] for phase in phases]) * 1e-9:.2f}',
            f'{median([phase["memory"] for phase in phases]) * 1e-9:.1f}',
            f'{100 * total["hits"] / total["requests"]:.1f}' if total['requests'] else '-',
            f'{100 * (total["covered"] + total["covered_late"]) / sum(missed):.1f}'
            if sum(missed) else '-',
            f'{total["used_bytes"] * 1e-6 / n_tokens:.1f}',
            f'{total["wasted_bytes"] * 1e-6 / n_tokens:.1f}',
            f'{total["stall_ns"] * 1e-6 / n_tokens:.1f}',
            f'{calls[min(len(calls) - 1, int(len(calls) * 0.99))]:.0f}',
            f'{cpu * 1e3 / n_tokens:.1f}',
            f'{sum(phase["major_faults"] for phase in phases) / n_tokens:.2f}',
            f'{run.peak_bytes / GIB:.2f}' if run.peak_bytes else '-',
            'yes' if run.killed else 'no' if run.cgroup else '-'])
        least = min(phase['experts']['slot_bytes'] for phase in phases)
        if least < run.opened['slot_bytes']:
            print(f'{"":{NAME_WIDTH}} under pressure the cache shrank from '
                  f'{run.opened["slot_bytes"] / GIB:.3f} to {least / GIB:.3f} GiB')
        for line in run.opened['notes'].splitlines():
            self.note(f'{name}: {line}')
        self.remember_hashes(name, run.model, phases)
        self.raw.append({'name': name, 'model': str(run.model), 'opened': run.opened,
                         'n_warm': run.n_warm,
                         'phases': phases, 'peak_bytes': run.peak_bytes,
                         'killed': run.killed})
        return median(rates)

    def goal_resident(self, model, phase):
        if phase['phase'] == 'prefill':
            return self.resident_prefill.get((model, phase['n_tokens']), math.inf)
        return self.resident.get(model, math.inf) * phase['memory']

    def decode(self, name, model, budget, *options, user=False, n_warm=None):
        args = self.args

        def goal(phase):
            used = per_token(phase, 'used_bytes')
            return phase['disk'] / used if used else math.inf

        with Run(self, model, budget, *options, user=user) as run:
            run.warm_up(n_warm)
            phases = run.rounds(f'decode {args.tokens // args.rounds}', args.rounds)
        rate = self.finish(run, name, phases, goal)
        if budget is None:
            self.resident.setdefault(model, median([phase['tok_per_s'] / phase['memory']
                                                    for phase in phases]))
        return rate

    def prefill(self, name, model, budget, n_tokens, chunk, rounds):
        def goal(phase):
            read = phase['experts']['demand_bytes'] + phase['experts']['guess_bytes']
            return phase['n_tokens'] * phase['disk'] / read if read else math.inf

        with Run(self, model, budget, chunk=chunk) as run:
            run.tell('decode 16' if budget is None else f'decode {self.args.untimed}')
            if budget is None:
                run.tell(f'prefill {n_tokens}')  # the file is cold, and some experts are rare
            phases = run.rounds(f'prefill {n_tokens}', rounds)
        rate = self.finish(run, name, phases, goal)
        experts = run.opened['weight_bytes'] - run.opened['pinned_bytes']
        read = median([(phase['experts']['demand_bytes'] + phase['experts']['guess_bytes'])
                       / math.ceil(n_tokens / chunk) for phase in phases])
        if run.opened['is_streaming']:
            print(f'{"":{NAME_WIDTH}} read per chunk: {read / experts:.3f} of all experts')
        return rate


def curve(bench, model):
    bench.attempt('resident', bench.decode, model, None)
    for budget in bench.args.budgets:
        bench.attempt(budget, bench.decode, model, budget)
    bench.attempt('resident again', bench.decode, model, None)


def predict(bench, model):
    """Guesses, none, and perfect ones."""
    with tempfile.TemporaryDirectory() as folder:
        for budget in bench.args.predict_budgets:
            path = pathlib.Path(folder, f'{budget}.trace')
            rates = {}
            rates['off'] = bench.attempt(f'{budget} guesses off', bench.decode, model, budget,
                                         '--predict', 'off', '--trace', str(path))
            n_warm = bench.raw[-1]['n_warm'] if bench.raw else None  # the same steps again
            rates['on'] = bench.attempt(f'{budget} guesses on', bench.decode, model, budget)
            if path.exists() and rates['off']:
                rates['replay'] = bench.attempt(f'{budget} guesses perfect', bench.decode,
                                                model, budget, '--replay', str(path),
                                                n_warm=n_warm)
            if all(rates.get(key) for key in ('off', 'on', 'replay')):
                gap = rates['replay'] - rates['off']
                text = (f'{(rates["on"] - rates["off"]) / gap:.2f} of the gap to perfect ones'
                        if gap > 0 else 'perfect ones are no faster')
                print(f'{"":{NAME_WIDTH}} on / off {rates["on"] / rates["off"]:.3f}; {text}')


def io(bench, model):
    for backend in ('uring', 'pread', 'buffered'):
        bench.attempt(f'{bench.args.ram} {backend}', bench.decode, model, bench.args.ram,
                      '--io', backend)


def policy(bench, model):
    for name in ('default', 'lru', 'lfu'):
        bench.attempt(f'{bench.args.ram} policy {name}', bench.decode, model, bench.args.ram,
                      '--policy', name, '--predict', 'off')


def prefill(bench, model):
    for n_tokens in bench.args.prefill:
        chunk = min(n_tokens, 2048)
        rate = bench.attempt(f'resident prefill {n_tokens}', bench.prefill, model, None,
                             n_tokens, chunk, 1)
        if rate:
            bench.resident_prefill[model, n_tokens] = rate
        bench.attempt(f'{bench.args.ram} prefill {n_tokens}', bench.prefill, model,
                      bench.args.ram, n_tokens, chunk, 2)


def user(bench, model):
    test = subprocess.run([*USER, 'test', '-x', bench.args.build / 'bench/phases', '-a', '-r',
                           model], capture_output=True, text=True, check=False)
    if test.returncode:
        print(f'{"user":{NAME_WIDTH}} skipped: another user cannot be had, or may not read '
              f'the build or the model {test.stderr.strip()}')
        return
    for budget in bench.args.user_budgets:
        root = bench.attempt(f'{budget} root', bench.decode, model, budget)
        other = bench.attempt(f'{budget} user, 8 MiB locked', bench.decode, model, budget,
                              user=True)
        if root and other:
            print(f'{"":{NAME_WIDTH}} user / root {other / root:.3f}')


def llama_row(name, bench, model, program):
    args = bench.args
    limit = int(size_of(args.ram) * 1.02)
    drop_caches([model])
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [program, '-m', model, '-p', '0', '-n', str(args.llama_tokens), '-r', '1', '-t',
               str(args.threads), '-lm', 'mmap', '-o', 'jsonl']
    with Cgroup(limit) as cgroup:
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False,
                                  preexec_fn=cgroup.join, timeout=600)
        except subprocess.TimeoutExpired as error:
            raise Failed('not at its end after 10 minutes') from error
        peak, killed = cgroup.peak_bytes(), cgroup.n_kills()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if killed:
        raise Failed('killed for memory')
    if done.returncode:
        raise Failed((done.stderr.strip().splitlines() or [f'ended with {done.returncode}'])[-1])
    result = json.loads(done.stdout.splitlines()[-1])
    n_tokens = args.llama_tokens + 1  # and one to warm up
    cells = ['-'] * len(COLUMNS)
    cells[0] = f'{result["avg_ts"]:.2f}'
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    cells[12] = f'{cpu * 1e3 / n_tokens:.1f}'
    cells[13] = f'{(after.ru_majflt - before.ru_majflt) / n_tokens:.2f}'
    cells[14] = f'{peak / GIB:.2f}'
    cells[15] = 'no'
    bench.row(name, cells)
    bench.raw.append({'name': name, 'model': str(model), 'llama': result, 'peak_bytes': peak})
    return result['avg_ts']


def llama(bench, model):
    program = os.environ.get('SL_LLAMA_BENCH')
    name = f'{bench.args.ram} llama.cpp'
    if not program:
        print(f'{name:{NAME_WIDTH}} skipped: SL_LLAMA_BENCH is not set (doc/benchmarking.md)')
        return
    ours = [row for row in bench.raw if row['model'] == str(model) and
            row['name'] == bench.args.ram]
    rate = bench.attempt(name, llama_row, bench, model, program)
    if rate and ours:
        rates = [phase['tok_per_s'] for phase in ours[-1]['phases']]
        print(f'{"":{NAME_WIDTH}} ours / llama.cpp {median(rates) / rate:.1f}')


def before(bench, model):
    """Resident decoding against bench/decode of an older build, interleaved."""
    old = bench.args.before
    if not old or not (old / 'bench/decode').is_file():
        print(f'{"before":{NAME_WIDTH}} skipped: --before names no older build')
        return
    rates = {'old': [], 'new': []}
    with tempfile.NamedTemporaryFile('w', suffix='.ids') as ids:
        ids.write(' '.join(str(7919 * i % (1 << 24)) for i in range(128)))
        ids.flush()
        for turn in range(10):
            name, build = (('old', old), ('new', bench.args.build))[(turn + turn // 2) % 2]
            done = subprocess.run([build / 'bench/decode', model, '--ids', ids.name,
                                   '--prefill', '0', '--decode', '48', '--threads',
                                   str(bench.args.threads), '--kv', 'f16'],
                                  capture_output=True, text=True, check=False)
            if done.returncode:
                print(f'{"before":{NAME_WIDTH}} failed: {done.stderr.strip()}')
                return
            rates[name].append(json.loads(done.stdout)['decode_tok_per_s'][0])
    for name, values in rates.items():
        bench.row(f'resident, {name} build', [f'{median(values):.2f}',
                                              f'[{min(values):.2f} .. {max(values):.2f}]'])
    print(f'{"":{NAME_WIDTH}} new / old {max(rates["new"]) / max(rates["old"]):.3f} of the best, '
          f'{median(rates["new"]) / median(rates["old"]):.3f} of the medians')


def report_logits(bench):
    for (model, phase, counts), found in bench.hashes.items():
        names = [name for group in found.values() for name in group]
        if len(names) < 2:
            continue
        text = 'equal in all' if len(found) == 1 else 'DIFFER: ' + '; '.join(
            ', '.join(group) for group in found.values())
        print(f'{model.name}: logits of {sum(counts)} tokens ({phase}), {len(names)} runs: '
              f'{text}')
    return all(len(found) == 1 for found in bench.hashes.values())


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.split('\n', maxsplit=1)[0])
    parser.add_argument('models', nargs='+', type=pathlib.Path, metavar='MODEL')
    parser.add_argument('--build', type=pathlib.Path, default=ROOT / 'build/release')
    parser.add_argument('--parts', default=DEFAULT_PARTS, help=f'of {",".join(PARTS)}')
    parser.add_argument('--budgets', default='3G,4G,6G,8G,10G,12G,14G', help='of the curve')
    parser.add_argument('--predict-budgets', default='10G,12G')
    parser.add_argument('--user-budgets', default='8G')
    parser.add_argument('--ram', default='8G', help='budget of the other parts')
    parser.add_argument('--prefill', default='512,2048', help='numbers of tokens')
    parser.add_argument('--untimed', type=int, default=64)
    parser.add_argument('--warm', type=int, default=256, help='most tokens to fill the cache')
    parser.add_argument('--tokens', type=int, default=128, help='timed ones')
    parser.add_argument('--rounds', type=int, default=4, help='that they are divided into')
    parser.add_argument('--ctx', type=int, default=4096)
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--read-bytes', type=int, default=1 << 20)
    parser.add_argument('--depth', type=int, default=16)
    parser.add_argument('--disk-seconds', type=float, default=0.5)
    parser.add_argument('--llama-tokens', type=int, default=32)
    parser.add_argument('--minutes', type=float, default=40, help='start nothing that would '
                        'end later')
    parser.add_argument('--before', type=pathlib.Path, help='build folder of an older version')
    parser.add_argument('--no-cgroup', action='store_true', help='without limits: no row then '
                        'says anything about memory')
    parser.add_argument('--json', type=pathlib.Path, help='every phase as it was')
    args = parser.parse_args()
    for name in ('budgets', 'predict_budgets', 'user_budgets', 'parts', 'prefill'):
        setattr(args, name, [word for word in getattr(args, name).split(',') if word])
    args.prefill = [int(word) for word in args.prefill]
    unknown = set(args.parts) - set(PARTS)
    if unknown:
        parser.error(f'no such part: {", ".join(sorted(unknown))}')
    if args.tokens % args.rounds:
        parser.error('--tokens must be a multiple of --rounds')
    return args


def main():
    args = parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # not without tidying up
    bench = Bench(args)
    if not args.no_cgroup:
        try:
            with Cgroup(None) as cgroup:
                kind = 'v1' if cgroup.is_v1 else 'v2'
        except Denied as error:
            print(f'skipped: {error} (as root, or with --no-cgroup)')
            return 77
    dropped = drop_caches(args.models)
    print(f'machine  {cpu_name()}, {os.cpu_count()} CPUs, {args.threads} threads, '
          f'{os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB:.1f} GiB, Linux '
          f'{os.uname().release}')
    print(f'memory   {"no limit" if args.no_cgroup else f"cgroup {kind}, budget + 2 %"}; '
          f'caches dropped: {dropped}')
    print(f'tokens   {args.untimed} untimed (before them at most {args.warm} to fill the cache), '
          f'{args.tokens} timed in {args.rounds} rounds, ctx '
          f'{args.ctx}, seed {args.seed}')
    print(f'disk     random direct reads of {args.read_bytes} bytes, depth {args.depth}, '
          f'{args.disk_seconds} s around each round')
    print(f'commit   {commit()}')
    print('Per token: use and waste in MB read, stall and CPU in ms, major faults. Disk and memory'
          ' in GB/s, peak in GiB.')
    for model in args.models:
        bench.heading(model)
        for part in args.parts:
            globals()[part](bench, model)
    print()
    exact = report_logits(bench)
    for text in bench.notes:
        print(text)
    print(f'{bench.minutes():.1f} minutes')
    if args.json:
        args.json.write_text(json.dumps(bench.raw, indent=1), encoding='utf-8')
    return 0 if exact else 1


if __name__ == '__main__':
    sys.exit(main())
