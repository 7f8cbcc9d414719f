"""sluice bench: llama-bench's formats to the field, its lists, and figures that agree."""
import csv
import html.parser
import io
import json
import math
import os
import re
import signal
import sqlite3
import subprocess
import time

import pytest

from clitool import DEMO, ENV, command, good, refused, shared, sluice

MKMODEL = os.environ.get('SL_MKMODEL')
FORMATS = ['md', 'csv', 'json', 'jsonl', 'sql']
QUICK = ['-p', '8', '-n', '4', '-r', '2']
OURS = ['bytes_per_token', 'read_bandwidth', 'limit_share']


def parse_md(text):
    """Rows by heading; the widths of the columns and which way they are set are kept."""
    lines = text.splitlines()
    assert lines[-2] == '' and re.fullmatch(r'build: \S+ \(\d+\)', lines[-1])
    head, rule, *rows = [[cell for cell in line.strip('|').split('|')] for line in lines[:-2]]
    names = [cell.strip() for cell in head]
    for row in [head, rule] + rows:
        assert [len(cell) for cell in row] == [len(cell) for cell in head], row
    assert all(re.fullmatch(r' -+(:|-) ', cell) for cell in rule)
    layout = [(name, len(cell), cell[-2]) for name, cell in zip(names, rule)]
    return layout, [dict(zip(names, (cell.strip() for cell in row))) for row in rows]


def parse_csv(text):
    head, *lines = text.splitlines()
    assert '"' not in head and all(re.fullmatch(r'"[^"]*"(,"[^"]*")*', line) for line in lines)
    rows = list(csv.DictReader(io.StringIO(text)))
    return list(rows[0]), rows


def parse_json(text):
    rows = json.loads(text)
    assert text == '[\n' + ',\n'.join(
        '  {\n' + ',\n'.join('    ' + line for line in json_members(row)) + '\n  }'
        for row in rows) + '\n]\n'
    return [(key, type(value)) for key, value in rows[0].items()], rows


def json_members(row):
    """Members as llama-bench spells them: lists with blanks inside, six digits of a rate."""
    for key, value in row.items():
        if key == 'samples_ns':
            yield f'"{key}": [ {", ".join(map(str, value))} ]'
        elif key == 'samples_ts':
            yield f'"{key}": [ {", ".join(f"{x:g}" for x in value)} ]'
        elif isinstance(value, float):
            yield f'"{key}": {value:.6f}'
        else:
            yield f'"{key}": {json.dumps(value)}'


def parse_jsonl(text):
    rows = [json.loads(line) for line in text.splitlines()]
    for line, row in zip(text.splitlines(), rows):
        assert line == '{' + ', '.join(json_members(row)).replace(' ], "samples_ts"',
                                                                  ' ],"samples_ts"') + '}'
    return [(key, type(value)) for key, value in rows[0].items()], rows


def parse_sql(text):
    base = sqlite3.connect(':memory:')
    base.executescript(text)
    columns = [(name, kind) for _, name, kind, *_ in base.execute('PRAGMA table_info(llama_bench)')]
    base.row_factory = sqlite3.Row
    create, inserts = text.split('\n\n')
    assert all(line.startswith('INSERT INTO llama_bench (build_commit, ')
               for line in inserts.splitlines())
    return (columns, create), [dict(row) for row in base.execute('SELECT * FROM llama_bench')]


PARSERS = {'md': parse_md, 'csv': parse_csv, 'json': parse_json, 'jsonl': parse_jsonl,
           'sql': parse_sql}


def bench(*args, **more):
    return good('bench', '-m', DEMO, *args, **more)


def rows_of(*args):
    return [json.loads(line) for line in bench('-o', 'jsonl', '-r', '1', *args).splitlines()]


def cases_of(*args):
    """(prompt, gen, depth, batch, ubatch, threads) of each row."""
    return [tuple(row[key] for key in ('n_prompt', 'n_gen', 'n_depth', 'n_batch', 'n_ubatch',
                                       'n_threads')) for row in rows_of('-t', '1', *args)]


@pytest.mark.parametrize('name', FORMATS)
def test_the_same_script_reads_both(name):
    """Names, order, types and layout of llama-bench's own output, and of ours."""
    with open(shared('golden', 'llama.cpp', f'llama-bench.{name}'), encoding='utf-8') as file:
        theirs, their_rows = PARSERS[name](file.read())
    ours, rows = PARSERS[name](bench(*QUICK, '-o', name, '-t', '1'))
    assert ours == theirs
    assert len(rows) == len(their_rows) == 2
    assert list(rows[0]) == list(their_rows[0])
    if name == 'md':
        assert [row['test'] for row in rows] == ['pp8', 'tg4']
        assert all(re.fullmatch(r'\d+\.\d\d ± \d+\.\d\d', r['t/s']) for r in rows + their_rows)
        assert all(re.fullmatch(r'\d+\.\d\d MiB', r['size']) for r in rows + their_rows)
        return
    same = ('n_prompt n_gen n_depth n_batch n_ubatch n_threads type_k type_v backends gpu_info '
            'cpu_mask cpu_strict poll n_gpu_layers n_cpu_moe split_mode main_gpu no_kv_offload '
            'flash_attn devices tensor_split tensor_buft_overrides load_mode lazy_mode embeddings '
            'no_op_offload no_host fit_target fit_min_ctx').split()
    for row, their in zip(rows, their_rows):
        assert {key: row[key] for key in same} == {key: their[key] for key in same}
        for key, value in row.items():
            assert type(value) is type(their[key]), key
            assert bool(re.fullmatch(r'-?\d+', str(value))) == \
                bool(re.fullmatch(r'-?\d+', str(their[key]))) or key == 'build_commit', key
        assert re.fullmatch(r'20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ', row['test_time'])


def test_the_formats_say_the_same():
    seen = []
    for name in FORMATS[1:]:
        row = PARSERS[name](bench('-p', '8', '-n', '0', '-r', '1', '-o', name))[1][0]
        seen.append({key: str(value).lower().replace('false', '0') for key, value in row.items()
                     if not re.search('_ns$|_ts$|_time$', key)})
    assert seen[1:] == seen[:-1]
    assert seen[0]['model_type'] == 'lfm2moe ?b q4_k - medium'  # as llama-bench calls the file
    assert (seen[0]['model_size'], seen[0]['model_n_params']) == ('10054144', '16276032')


def test_a_file_that_does_not_say_its_type():
    name = shared('models', 'random-dense-f32.gguf')
    row = json.loads(good('bench', '-m', name, '-p', '0', '-n', '1', '-r', '1', '-o', 'jsonl'))
    assert row['model_type'] == 'lfm2 ?B (guessed) all F32'


def test_figures_of_a_row():
    row, = rows_of('-p', '0', '-n', '6', '-r', '4')
    samples = row['samples_ns']
    assert len(samples) == len(row['samples_ts']) == 4
    rates = [6e9 / ns for ns in samples]
    assert all(abs(a / b - 1) < 1e-5 for a, b in zip(rates, row['samples_ts']))
    for values, mean, dev in [(samples, 'avg_ns', 'stddev_ns'), (rates, 'avg_ts', 'stddev_ts')]:
        want = sum(values) / 4
        assert abs(row[mean] - want) <= 1e-6 * want + 1
        want_dev = math.sqrt(sum((x - want) ** 2 for x in values) / 3)
        assert abs(row[dev] - want_dev) <= 1e-6 * want + 1
    once, = rows_of('-p', '0', '-n', '2')
    assert once['stddev_ns'] == 0 and once['stddev_ts'] == 0


def test_lists_ranges_and_their_order():
    base = (0, 2048, 512, 1)
    assert cases_of('-p', '2-4', '-n', '1') == [(p, 0, *base) for p in (2, 3, 4)] + [(0, 1, *base)]
    assert [t[0] for t in cases_of('-p', '1-8+3,12', '-n', '0')] == [1, 4, 7, 12]
    assert [t[0] for t in cases_of('-p', '1-16*4', '-p', '2', '-n', '0')] == [1, 4, 16, 2]
    assert cases_of('-p', '0', '-n', '0', '-pg', '2,3') == [(2, 3, *base)]
    found = cases_of('-p', '2', '-n', '1', '-pg', '3,1', '-d', '0,5', '-b', '4,8', '-ub', '2,4')
    assert found == [(p, n, d, b, u, 1) for b in (4, 8) for u in (2, 4) for d in (0, 5)
                     for p, n in ((2, 0), (0, 1), (3, 1))]
    both = rows_of('-p', '2', '-n', '0', '-t', '1-2', '-ctk', 'f16,q8_0', '-ctv', 'f16,q8_0')
    assert [(r['type_k'], r['type_v'], r['n_threads']) for r in both] == [
        (kv, kv, t) for kv in ('f16', 'q8_0') for t in (1, 2)]


def test_names_in_every_spelling():
    short = cases_of('-p', '2', '-n', '1', '-d', '3', '-b', '4', '-ub', '2')
    for args in (['--n-prompt', '2', '--n-gen=1', '--n-depth', '3', '--batch-size', '4',
                  '--ubatch-size', '2'],
                 ['-n-prompt', '2', '-n1', '-d3', '--b=4', '--ub', '2']):
        assert cases_of(*args) == short
    assert good('bench', DEMO, '-r', '1', '-p', '2', '-n', '0', '-o', 'jsonl', '-t', '1').count(
        '"n_prompt": 2') == 1


def test_two_models_and_a_name_with_quotes(tmp_path):
    odd = tmp_path / """it's "one".gguf"""
    os.symlink(DEMO, odd)
    for name in FORMATS[1:]:
        rows = PARSERS[name](bench('-m', odd, '-p', '2', '-n', '0', '-r', '1', '-o', name))[1] \
            if name != 'csv' else list(csv.DictReader(io.StringIO(
                bench('-m', odd, '-p', '2', '-n', '0', '-r', '1', '-o', name))))
        assert [row['model_filename'] for row in rows] == [DEMO, str(odd)]


def test_what_means_nothing_here_is_taken_and_named():
    done = sluice('bench', '-m', DEMO, '-p', '2', '-n', '0', '-r', '1', '-o', 'jsonl', '-ngl', '99',
                  '-fa', 'on', '--numa', 'distribute', '-mmp', '0', '-sm', 'none', '-mg', '0',
                  '--poll', '0', '-nkvo', '1', '-ot', 'a=b', '--prio', '0', '-embd', '0', '-v')
    assert done.returncode == 0, done.stderr
    row = json.loads(done.stdout)
    assert (row['n_gpu_layers'], row['flash_attn'], row['split_mode'], row['poll'],
            row['no_kv_offload'], row['tensor_buft_overrides']) == (99, 1, 'none', 0, True, 'a=b')
    note, = done.stderr.decode().splitlines()
    assert note.startswith('note: these options change nothing on a CPU: ')
    for name in ('ngl', 'fa', 'numa', 'mmap', 'sm', 'poll', 'nkvo', 'ot'):
        assert re.search(rf'\b{name}\b', note), name
    layout, rows = parse_md(bench('-p', '2', '-n', '0', '-r', '1', '-ub', '64', '-fa', '0'))
    assert [name for name, _, _ in layout][4:7] == ['threads', 'n_ubatch', 'fa']
    assert rows[0]['n_ubatch'] == '64' and rows[0]['fa'] == '0'


@pytest.mark.parametrize('args, word', [
    (['-p', '8-4'], '-p'), (['-p', 'x'], '-p'), (['-p', '1,,2'], '-p'), (['-p', ''], '-p'),
    (['-p', '-1'], '-p'), (['-p', '0-8*2'], '-p'), (['-p', '1-8*1'], '-p'), (['-p', '1-8+0'], '-p'),
    (['-p', '1-1000'], 'more than 256'), (['-p', '99999999999999999999'], '-p'),
    (['-t', '0'], '-t'), (['-t', '1-257'], '-t'), (['-ub', '4096'], '2048'), (['-b', '0'], '-b'),
    (['-pg', '1'], '-pg'), (['-pg', '1,2,3'], '-pg'), (['-r', '0'], '-r'), (['-o', 'xml'], '-o'),
    (['-oe', 'yaml'], '-oe'), (['-ctk', 'q4_0', '-ctv', 'q4_0'], '-ctk'),
    (['-ctk', 'q8_0'], 'give both'), (['-C', '0x3'], 'taskset'), (['--prio', '2'], 'nice'),
    (['-hf', 'a/b'], 'downloaded'), (['-hff', 'a'], 'downloaded'), (['-rpc', 'a'], 'remote'),
    (['-embd', '1'], 'embeddings'), (['--list-devices'], 'CPU'), (['-ngl', '1,2'], '-ngl'),
    (['-ngl', '007'], '-ngl'), (['-poll', '00'], '-poll'),
    (['-fa', '2'], '-fa'), (['--delay', '-1'], '--delay'), (['--bogus'], 'bogus'),
    (['--target', '0'], '--target'), (['--target', 'fast'], '--target'),
    (['--target', '9', '-p', '1'], 'leave out'), (['--json', '-o', 'md'], 'leave out --output'),
    (['--json', '-t', '1,2'], 'one value'), (['--json', '-n', '0'], 'at least 1'),
])
def test_wrong_options(args, word):
    assert word in refused(2, '', 'bench', '-m', DEMO, *args)


def test_wrong_models():
    refused(2, 'no model given', 'bench')
    refused(2, 'empty', 'bench', '-m', 'a,,b')
    for args in (['-m', 'not-there.gguf', '-o', 'jsonl'], ['not-there.gguf']):
        done = sluice('bench', *args)
        text = 'no file and no model is called not-there.gguf'
        assert (done.returncode, done.stdout) == (1, b'') and text in done.stderr.decode(), done
    refused(1, 'at most 2048', 'bench', '-m', DEMO, '-o', 'jsonl', '-p', '2000', '-d', '200')
    refused(1, 'cannot write', 'bench', DEMO, '--html', 'no/such/folder/x.html')


def test_output_to_both():
    done = sluice('bench', '-m', DEMO, *QUICK, '-o', 'csv', '-oe', 'sql')
    assert len(parse_csv(done.stdout.decode())[1]) == 2
    assert len(parse_sql(done.stderr.decode())[1]) == 2
    done = sluice('bench', '-m', DEMO, *QUICK, '-o', 'none', '-oe', 'md')
    assert done.stdout == b'' and len(parse_md(done.stderr.decode())[1]) == 2


def test_progress_and_delay():
    start = time.monotonic()
    done = sluice('bench', '-m', DEMO, '-p', '2', '-n', '1', '-r', '2', '-d', '4', '--progress',
                  '--delay', '1', '-o', 'jsonl')
    assert time.monotonic() - start >= 2.0
    lines = done.stderr.decode().splitlines()
    steps = ['starting', 'warm-up run', 'depth run 1/2', 'timed run 1/2', 'depth run 2/2',
             'timed run 2/2']
    assert lines == [f'sluice bench: benchmark {i}/2: {step}' for i in (1, 2) for step in steps]
    assert len(done.stdout.splitlines()) == 2
    done = sluice('bench', '-m', DEMO, '-p', '0', '-n', '1', '-r', '1', '--progress', '--no-warmup')
    assert b'warm-up' not in done.stderr


def test_extended_columns_come_last():
    usual = parse_csv(bench(*QUICK, '-o', 'csv'))[0]
    names, rows = parse_csv(bench(*QUICK, '-o', 'csv', '--extended'))
    assert names == usual + OURS
    assert rows[0]['limit_share'] == ''  # of decoding alone
    for row in [json.loads(line) for line in
                bench('-p', '0', '-n', '4', '-r', '2', '-o', 'jsonl', '--extended').splitlines()]:
        want = row['avg_ts'] * row['bytes_per_token'] / row['read_bandwidth']
        assert abs(row['limit_share'] / want - 1) < 1e-3
        assert row['bytes_per_token'] == json.loads(good('info', DEMO, '--json'))['token_bytes']
    assert parse_sql(bench(*QUICK, '-o', 'sql', '--extended'))[1][0]['limit_share'] is None
    layout, _ = parse_md(bench(*QUICK, '--extended'))
    assert [name for name, _, _ in layout][-4:] == ['t/s', 'MB/token', 'GB/s read', 'share']


def report(*args):
    return json.loads(good('bench', DEMO, '--json', '-n', '16', '-r', '3', *args))


def check_report(found, target):
    for key, value in found.items():
        if isinstance(value, dict) and 'median' in value:
            assert 0 < value['low'] <= value['median'] <= value['high'], key
    memory, limit = found['memory_bytes_per_s'], found['memory_limit_tokens_per_s']
    for word in ('low', 'median', 'high'):
        assert abs(limit[word] * found['token_bytes'] / memory[word] - 1) < 1e-9
        assert memory[word] >= found['huge_bytes_per_s'][word] * (1 - 1e-9)
    low = found['tokens_per_s']['low'] / found['limit_tokens_per_s']['high']
    high = found['tokens_per_s']['high'] / found['limit_tokens_per_s']['low']
    assert low * (1 - 1e-9) <= found['share']['low'] and found['share']['high'] <= high * (1 + 1e-9)
    seconds = found['seconds_per_token']
    assert abs(seconds['weights'] + seconds['stall'] + seconds['rest'] - seconds['all']) < 1e-9
    assert min(seconds.values()) >= 0
    assert 1 / found['tokens_per_s']['high'] <= seconds['all'] * (1 + 1e-9)
    assert seconds['all'] <= 1 / found['tokens_per_s']['low'] * (1 + 1e-9)
    assert found['target_tokens_per_s'] == target
    check_need(found, 'memory', memory, found['token_bytes'])
    used = found['disk_used_bytes_per_token']
    if used:
        check_need(found, 'disk', found['disk_bytes_per_s'], used['median'])
    else:
        assert found['limited_by'] == 'memory'
        assert not [key for key, value in found.items()
                    if re.match('target.*disk', key) and value is not None]


def check_need(found, name, speed, per_token):
    """What the target would take of memory, or of the disk; the share is of what limits."""
    need = found[f'target_{name}_bytes_per_s']
    assert abs(need / (found['target_tokens_per_s'] * per_token) - 1) < 1e-9
    times, at_share = found[f'target_times_{name}'], found[f'target_{name}_bytes_per_s_at_share']
    assert (times is None) == (speed is None)
    if times:
        assert abs(times * speed['median'] / need - 1) < 1e-9
    assert (at_share is None) == (found['limited_by'] != name)
    if at_share:
        assert abs(at_share * found['share']['median'] / need - 1) < 1e-9


def test_the_report_agrees_with_itself():
    found = report('--target', '250.5', '-t', '1')
    check_report(found, 250.5)
    info = json.loads(good('info', DEMO, '--json'))
    assert found['token_bytes'] == info['token_bytes'] and found['threads'] == 1
    assert (found['rounds'], found['tokens_per_round'], found['experts']) == (3, 16, 'resident')
    assert found['disk_bytes_per_s'] is None and found['seconds_per_token']['stall'] == 0
    assert found['memory_bytes_per_s']['high'] == max(found['mapped_bytes_per_s']['high'],
                                                      found['huge_bytes_per_s']['high'])


def test_the_report_of_streaming():
    found = report('--residency', 'stream', '--ram', 'min')
    check_report(found, 112)
    assert found['experts'] == 'streaming' and found['mapped_bytes_per_s'] is None
    assert found['disk_used_bytes_per_token']['median'] > 0  # not all fits
    if not found['disk_bytes_per_s']:
        assert found['limited_by'] is None
        return
    assert found['limit_tokens_per_s']['median'] <= found['memory_limit_tokens_per_s']['median']
    is_disk = found['target_times_disk'] > found['target_times_memory']
    assert found['limited_by'] == ('disk' if is_disk else 'memory')


def test_a_model_in_several_files(tmp_path):
    """Memory is read as for one file, however little the first of them holds."""
    if not MKMODEL:
        pytest.skip('SL_MKMODEL does not name the program')
    found = []
    for name, args in (('one.gguf', []), ('many', ['--split', '5'])):
        shape = ['tiny', tmp_path / name, '--type', 'f32', '--vocab', '8192']
        subprocess.run([MKMODEL, *map(str, shape + args)], check=True, capture_output=True)
        path = tmp_path / (name if not args else 'many-00001-of-00005.gguf')
        found.append(json.loads(good('bench', path, '--json', '-n', '2', '-r', '1', '-t', '1')))
    one, many = found
    assert one['weight_bytes'] == many['weight_bytes'] > 2**23
    assert one['read_bytes_per_pass'] == many['read_bytes_per_pass'] > 2**22


def test_memory_is_measured_within_the_budget():
    least = json.loads(good('plan', DEMO, '--no-measure', '--json'))['min_bytes'] // 2**20
    done = sluice('bench', DEMO, '--json', '--residency', 'stream', '--ram', f'{least // 2}M')
    assert done.returncode == 1 and done.stdout == b''
    assert 'smallest that works: --ram' in done.stderr.decode()
    assert re.search(r'note: \d+ MiB of --ram are set apart', done.stderr.decode().splitlines()[-1])
    check_report(report('--residency', 'stream', '--ram', f'{least + 20}M'), 112)


def test_what_people_read():
    text = good('bench', DEMO, '-t', '1')
    for words in ('memory reads, huge pages', 'memory allows', 'reached', 'a token took',
                  '112 tokens/s would need 0.4', 'caches may hold them'):
        assert words in text, words
    assert max(map(len, text.splitlines())) <= 120
    assert good('bench', '-m', DEMO, '--target', '2000', '-n', '4', '-r', '1').count(
        '2000 tokens/s would need 8.') == 1


def test_what_limits_a_streaming_model():
    """The text compares what a token takes of memory and of the disk, and divides by the share
    what is needed of the slower one."""
    text = good('bench', DEMO, '--target', '112', '--residency', 'stream', '--ram', 'min',
                '-n', '16', '-r', '1')
    assert max(map(len, text.splitlines())) <= 120
    rows = dict(re.findall(r'^  (memory|disk) .* for a token / .* = (\S+) ms$', text, re.M))
    share = re.findall(r'at the share reached here, \S+ GB/s from (?:the )?(\w+)\.', text)
    if 'disk' not in rows:  # files here cannot be read directly
        assert 'at a speed that is not known' in text and not share
        return
    longer = max(rows, key=lambda name: float(rows[name]))
    assert re.search(rf'The longer one is what limits: (the )?{longer}\.', text)
    assert share == [longer]
    assert re.search(r'and \S+ GB/s from the disk, \S+ times what it gives', text)


class Page(html.parser.HTMLParser):
    """Nesting, and everything that a browser would fetch or run."""
    void = {'meta', 'line', 'circle', 'rect'}

    def __init__(self):
        super().__init__()
        self.open, self.seen, self.text = [], [], ''

    def handle_starttag(self, tag, attrs):
        assert tag not in ('script', 'link', 'img', 'iframe', 'object', 'use', 'image', 'base')
        assert not {'href', 'src', 'xlink:href', 'style', 'data'} & {key for key, _ in attrs}
        assert not [key for key, _ in attrs if key.startswith('on')]
        for key, value in attrs:
            if key in ('x', 'y', 'x1', 'y1', 'x2', 'y2', 'cx', 'cy', 'width', 'height') and \
                    tag != 'meta':
                assert -1 <= float(value) <= 801, (tag, key, value)
        self.seen.append(tag)
        if tag not in self.void and tag != 'br':
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag):
        while self.open[-1] in ('td', 'th', 'tr') and self.open[-1] != tag:
            self.open.pop()
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.mark.parametrize('args', [['--target', '112'], ['--target', '1e6'],
                                  ['--residency', 'stream', '--ram', 'min']])
def test_the_page_needs_nothing_else(tmp_path, args):
    model = tmp_path / 'a<b>&"c".gguf'
    os.symlink(DEMO, model)
    path = tmp_path / 'page.html'
    path.write_text('old')
    good('bench', model, '--html', path, '-n', '4', '-r', '2', *args)
    text = path.read_text(encoding='utf-8')
    assert not re.search(r'https?:|url\(|@import|javascript|nan|inf\b', text)
    page = Page()
    page.feed(text)
    page.close()
    assert page.open == [] and page.seen.count('svg') == 2
    assert str(model) in page.text and 'prefers-color-scheme:dark' in text
    assert sorted(os.listdir(tmp_path)) == sorted([model.name, 'page.html'])


def test_a_page_that_fails_leaves_the_old_one(tmp_path):
    path = tmp_path / 'page.html'
    path.write_text('old')
    refused(1, 'cannot open', 'bench', tmp_path / 'no.gguf', '--html', path)
    assert path.read_text() == 'old' and os.listdir(tmp_path) == ['page.html']


def test_no_profile_is_left(tmp_path):
    env = {**ENV, 'XDG_STATE_HOME': str(tmp_path)}
    good('bench', DEMO, '-n', '4', '-r', '1', '--json', '--residency', 'stream', env=env)
    assert not [name for _, _, names in os.walk(tmp_path) for name in names]


def test_a_reader_that_leaves():
    args = command('bench', '-m', DEMO, '-p', '2', '-n', '1', '-r', '1', '-d', '0-63', '-o', 'csv')
    with subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          env=ENV) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(timeout=60) == 0 and process.stderr.read() == b''


@pytest.mark.parametrize('args, rows', [(['-r', '500'], [(2, 0)]), (['--delay', '60'], [])])
def test_an_array_that_was_interrupted_is_closed(args, rows):
    """After a row, while a test runs that takes minutes; and before the first one."""
    args = command('bench', '-m', DEMO, '-p', '2', '-n', '1900', '-o', 'json', *args)
    with subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          env=ENV) as process:
        text = process.stdout.readline()
        while rows and b'samples_ts' not in text:
            text += process.stdout.readline()
        process.send_signal(signal.SIGINT)
        text += process.stdout.read()
        assert process.wait(timeout=60) == 130 and process.stderr.read() == b''
    assert [(row['n_prompt'], row['n_gen']) for row in json.loads(text)] == rows
