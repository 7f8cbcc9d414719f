"""What the benchmarks in Python share: programs that answer in JSON, spreads, tables, results.

Imported by decode.py, prefill.py, startup.py, streaming.py, suite.py and peers/compare.py.
"""
import json
import math
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUSY_LOAD = 0.5


class Failed(Exception):
    """A program that did not do what it was asked for; the text says why."""


def run_json(command):
    """The JSON that a program prints."""
    command = [str(word) for word in command]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise Failed(f'{command[0]}: {error.strerror}') from error
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f'{command[0]} ended with {done.returncode}']
        raise Failed(lines[-1])  # begins with the program's name
    return json.loads(done.stdout)


class Talker:
    """A program that answers each line with a line of JSON, as bench/phases does. Its first
    line, which it prints unasked, is `opened`; `started` is when it was started."""

    def __init__(self, command):
        self.name = pathlib.Path(str(command[0])).name
        self.stderr = tempfile.TemporaryFile('w+')
        self.started = time.monotonic()
        try:
            self.process = subprocess.Popen([str(word) for word in command],
                                            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                            stderr=self.stderr, text=True)
        except OSError as error:
            self.stderr.close()
            raise Failed(f'{self.name}: {error.strerror}') from error
        try:
            self.opened = self._answer()
        except Failed:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        if exception[0]:
            self.process.kill()
        self.close()

    def _answer(self):
        line = self.process.stdout.readline()
        if line:
            return json.loads(line)
        code = self.process.wait()
        self.stderr.seek(0)
        lines = self.stderr.read().strip().splitlines()
        raise Failed(lines[-1] if lines else f'{self.name} ended with {code}')

    def ask(self, line):
        try:
            self.process.stdin.write(line + '\n')
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended: _answer says why
        return self._answer()

    def close(self):
        if self.process.stdin:
            try:
                self.process.stdin.close()
            except BrokenPipeError:
                pass
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.stderr.close()


def phases(build, model, *options):
    """bench/phases with a resident model."""
    return Talker([build / 'bench/phases', model, '--residency', 'resident', *options])


class ReadLoop(Talker):
    """The read loop, held open: bytes/s through huge pages and through the file's mapping."""

    def __init__(self, build, model, threads, n_bytes=1 << 30):
        super().__init__([build / 'bench/bandwidth', '--serve', '--threads', threads, '--bytes',
                          n_bytes, model])

    def rates(self):
        """{(memory, loop): bytes/s}"""
        found = self.ask('')
        return {(memory, loop): rate * 1e9 for memory in ('buffer', 'file')
                for loop, rate in zip(('plain', 'ahead'), found[f'{memory}_gb_per_s'])}


def slices(count, size):
    """count in parts of size, the last one maybe shorter."""
    return [min(size, count - at) for at in range(0, count, size)]


class Sliced:
    """Phases of a program that were taken in slices, each between two turns of the read loop:
    memory's speed changes within seconds on some machines, so only slices can be compared."""

    def __init__(self):
        self.phases = []
        self.reads = []

    def add(self, phase, before, after):
        """A slice, and what the read loop gave on both sides of it: their harmonic mean, which
        is the speed of having read as much before as after."""
        phase.pop('call_ms', None)
        self.phases.append(phase)
        self.reads.append({key: 2 / (1 / before[key] + 1 / after[key]) for key in before})

    def total(self, key):
        return sum(phase[key] for phase in self.phases)

    @property
    def rate(self):
        return self.total('n_tokens') / self.total('seconds')

    def share(self, slice_bytes):
        """Of the time, the part that reading so many bytes in each slice takes at the speed that
        the read loop had beside it: that of the loops that was best over all slices. (The best
        in each slice would be the luckiest one.)"""
        allowed = min(sum(size / read[key] for size, read in zip(slice_bytes, self.reads))
                      for key in self.reads[0])
        return allowed / self.total('seconds')

    def data(self):
        reads = [{' '.join(key): rate for key, rate in read.items()} for read in self.reads]
        return {'phases': self.phases, 'reads': reads}


def loops_note(sliceds):
    """What the read loop gave beside them, for below a table."""
    reads = [read for sliced in sliceds for read in sliced.reads]
    both = []
    for memory, name in (('buffer', 'huge pages'), ('file', 'the mapped file')):
        loops = [[read[key] for read in reads] for key in reads[0] if key[0] == memory]
        both.append(f'{name} {spread(max(loops, key=median), 1, 1e-9)}')
    return f'The read loop, GB/s: {", ".join(both)}.'


def token_ids(path, seed, count):
    """Random ids, drawn from a seed; programs wrap them around at their vocabulary."""
    state = seed
    words = []
    for _ in range(count):
        state = (state * 6364136223846793005 + 1442695040888963407) % (1 << 64)
        words.append(str(state >> 40))
    pathlib.Path(path).write_text(' '.join(words), encoding='ascii')


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


def machine():
    """What results are of."""
    pages = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
    return {'cpu': cpu_name(), 'n_cpus': len(os.sched_getaffinity(0)), 'memory_bytes': pages,
            'kernel': os.uname().release, 'commit': commit(),
            'date': time.strftime('%Y-%m-%d'), 'load': os.getloadavg()[0]}


def warn_if_busy(name):
    load = os.getloadavg()[0]
    if load > BUSY_LOAD:
        print(f'{name}: load average {load:.1f}: something else runs here', file=sys.stderr)
    return load > BUSY_LOAD


def median(values):
    return statistics.median(values) if values else math.nan


def spread(values, digits=1, scale=1):
    """"12.3 [11.9 .. 12.8]" """
    low, high = min(values) * scale, max(values) * scale
    return f'{median(values) * scale:.{digits}f} [{low:.{digits}f} .. {high:.{digits}f}]'


class Table:
    """Rows of text under a heading, for a terminal and for Markdown."""

    def __init__(self, title, *heading):
        self.title = title
        self.rows = [heading]
        self.notes = []

    def add(self, *cells):
        self.rows.append(tuple(str(cell) for cell in cells))

    def note(self, text):
        self.notes.append(text)

    def text(self):
        widths = [max(len(row[i]) for row in self.rows) for i in range(len(self.rows[0]))]
        lines = [self.title]
        for row in self.rows:
            cells = [row[0].ljust(widths[0])] + [c.rjust(w) for c, w in zip(row[1:], widths[1:])]
            lines.append('  '.join(cells).rstrip())
        return '\n'.join(lines + self.notes)

    def markdown(self):
        lines = [f'## {self.title}', '', '| ' + ' | '.join(self.rows[0]) + ' |',
                 '|' + '---|' * len(self.rows[0])]
        lines += ['| ' + ' | '.join(row) + ' |' for row in self.rows[1:]]
        for text in self.notes:
            lines += ['', text]
        return '\n'.join(lines) + '\n'


def add_common(parser, rounds=5):
    """The options that all of these programs have."""
    parser.add_argument('--build', type=pathlib.Path, default=ROOT / 'build/release')
    parser.add_argument('--rounds', type=int, default=rounds)
    parser.add_argument('--threads', type=int, default=0, help='0: one per core')
    parser.add_argument('--kv', choices=('f16', 'f32', 'q8_0'), default='f16')
    parser.add_argument('--cpu', default='auto', help='auto, c, avx2 or avx512')
    parser.add_argument('--seed', type=int, default=1, help='of the random ids')
    parser.add_argument('--json', type=pathlib.Path, help='every round as it was')


def finish(name, args, table, data, ok=True):
    """Print the table, write what --json asks for; the exit code."""
    print(table.text())
    if args.json:
        data = {'program': name, 'machine': machine(), 'threads': args.threads, **data,
                'markdown': table.markdown()}
        args.json.write_text(json.dumps(data, indent=1) + '\n', encoding='utf-8')
    return 0 if ok else 1


def guard(name, main):
    """Run a main function; what it lacks ends it with a line of text."""
    try:
        return main()
    except Failed as error:
        print(f'{name}: {error}', file=sys.stderr)
        return 1
