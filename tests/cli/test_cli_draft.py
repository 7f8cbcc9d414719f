"""--draft: the same answer with drafts as without, for every way of drawing, and the counts
that are reported of them."""
import json
import os
import re
import signal
import subprocess

import pytest

from clitool import DEMO, ENV, command, good, refused, sluice

PROMPT = 'In the beginning'
QUOTE = ('static int pagerLockDb(Pager *pPager, int eLock){\n  int rc = SQLITE_OK;\n'
         '  assert( eLock==SHARED_LOCK );\n  return rc;\n}\n') * 3
DRAFTS = ['lookup', 'lookup:2', 'lookup:31']
WAYS = {
    'greedy': ['--temp', '0'],
    'greedy, no penalty': ['--temp', '0', '--repeat-penalty', '1'],
    'sampled': ['--temp', '1', '--seed', '3'],
    'wild': ['--temp', '3', '--top-k', '0', '--min-p', '0', '--seed', '4'],
    'penalties': ['--temp', '0.7', '--seed', '5', '--repeat-penalty', '1.3', '--presence-penalty',
                  '0.5', '--frequency-penalty', '0.2', '--repeat-last-n', '200'],
    'few': ['--temp', '0.5', '--seed', '6', '--top-k', '2', '--top-p', '0.8'],
}


def answer(*args):
    return json.loads(good('run', DEMO, '--json', *args))


def same(plain, drafted):
    for key in ('text', 'ids', 'stop', 'answer_tokens', 'prompt_tokens'):
        assert drafted[key] == plain[key], key


@pytest.mark.parametrize('way', WAYS)
def test_same_answer(way):
    for args in ([PROMPT], ['--raw', QUOTE, '--ignore-eos']):
        args = [*args, *WAYS[way], '-n', '100', '--seed', '11']
        plain = answer(*args)
        assert 'drafts' not in plain
        for draft in DRAFTS:
            drafted = answer(*args, '--draft', draft)
            same(plain, drafted)
            counts = drafted['drafts']
            assert counts['accepted'] == counts['steps_saved'] <= counts['drafted']
            assert counts['steps'] + counts['accepted'] == plain['answer_tokens'] - 1
            assert counts['steps_with_draft'] <= counts['steps']
        assert 'drafts' not in answer(*args, '--draft', 'off')


def test_same_answer_with_a_grammar(tmp_path):
    path = tmp_path / 'rows.gbnf'
    path.write_text('root ::= row{20}\nrow ::= "{\\"id\\": " [0-9]{1,3} ", \\"ok\\": " '
                    '("true" | "false") "}\\n"\n')
    n_accepted = 0
    for seed in range(2):
        args = [PROMPT, '--grammar', path, '--temp', '1.5', '--seed', str(seed)]
        plain = answer(*args)
        assert plain['text'].count('\n') == 20
        for draft in DRAFTS:
            drafted = answer(*args, '--draft', draft)
            same(plain, drafted)
            n_accepted += drafted['drafts']['accepted']
    assert n_accepted > 60


def test_repetitions_are_accepted():
    """A text that repeats itself: most of the steps are saved."""
    args = ['--raw', 'In the beginning God created the heaven and the earth. ' * 4, '--temp', '0',
            '--repeat-penalty', '1', '--ignore-eos', '-n', '200']
    counts = answer(*args, '--draft', 'lookup:4')['drafts']
    assert counts['accepted'] > 80
    assert counts['accepted'] > 0.5 * counts['drafted']
    assert counts['steps'] < 120


@pytest.mark.parametrize('n', ['1', '2', '3', '5', '6', '7', '33'])
def test_length(n):
    """No more is drafted than can be drawn."""
    args = ['--raw', QUOTE, '--temp', '0', '--repeat-penalty', '1', '--ignore-eos', '-n', n]
    plain = answer(*args)
    for draft in DRAFTS:
        drafted = answer(*args, '--draft', draft)
        same(plain, drafted)
        assert drafted['drafts']['drafted'] <= int(n)


def test_full_context():
    """The context is as long as without drafts, and its end is told in the same words."""
    for ctx in ('120', '257', '300'):
        args = ['run', DEMO, '--raw', QUOTE[:200], '--temp', '0', '--repeat-penalty', '1',
                '--ignore-eos', '--ctx', ctx, '--no-stats']
        plain = sluice(*args)
        assert plain.returncode == 1 and b'context is full' in plain.stderr
        for draft in DRAFTS:
            drafted = sluice(*args, '--draft', draft)
            assert (drafted.returncode, drafted.stdout, drafted.stderr) == \
                (plain.returncode, plain.stdout, plain.stderr)


@pytest.mark.parametrize('more', [['--chunk', '1'], ['--chunk', '3'], ['--ctx', '20', '-n', '5'],
                                  ['--kv', 'q8_0'], ['--kv', 'f32'], ['-t', '1'], ['-t', '3'],
                                  ['--ram', 'min'], ['--residency', 'stream']])
def test_same_answer_in_other_sessions(more):
    args = ['--raw', QUOTE if '--ctx' not in more else 'a b a b', '--temp', '0.3', '--seed', '1',
            '--ignore-eos', *([] if '-n' in more else ['-n', '60']), *more]
    plain = answer(*args)
    for draft in DRAFTS:
        same(plain, answer(*args, '--draft', draft))


def test_few_experts_in_memory_switch_it_off():
    args = ['--raw', QUOTE, '--temp', '0', '--repeat-penalty', '1', '--ignore-eos', '-n', '100',
            '--ram', 'min', '--no-profile']
    drafted = answer(*args, '--draft', 'lookup')
    counts = drafted['drafts']
    assert counts['expert_hit_share'] < 0.95 and counts['drafted'] == 0
    assert counts['steps_short_of_experts'] > 0
    same(answer(*args), drafted)
    done = sluice('run', DEMO, *args, '--draft', 'lookup')
    assert re.search(rb'\| \d+ steps without: only \d+ % of the experts were in memory',
                     done.stderr), done.stderr


def test_statistics():
    args = ['run', DEMO, '--raw', QUOTE, '--temp', '0', '--repeat-penalty', '1', '--ignore-eos',
            '-n', '100', '--seed', '1']
    assert b'drafts' not in sluice(*args).stderr
    lines = sluice(*args, '--draft', 'lookup:7').stderr.decode().splitlines()
    assert len(lines) == 2
    assert re.fullmatch(r'\[drafts in \d+ of \d+ steps: \d+ tokens drafted, \d+ accepted '
                        r'\(\d+ %\) \| \d+ steps saved(, -?\d+\.\d after what drafts took)?.*\]',
                        lines[1]), lines


def test_bad_values():
    for value in ('', 'on', 'lookup:', 'lookup:0', 'lookup:32', 'lookup:4x', 'lookup4', 'auto'):
        refused(2, '--draft', 'run', DEMO, PROMPT, '--draft', value)


def test_interrupt():
    """Ctrl-C ends an answer in the middle of a draft too, with what was drawn until then."""
    args = ['--raw', QUOTE, '--temp', '0', '--repeat-penalty', '1', '--ignore-eos', '--no-stats']
    whole = sluice('run', DEMO, *args, '-n', '1500', '--ctx', '2048').stdout
    with subprocess.Popen(command('run', DEMO, *args, '--ctx', '2048', '--draft', 'lookup:7'),
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENV) as process:
        text = os.read(process.stdout.fileno(), 200)
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=30)
    assert process.returncode == 130, errors
    text = (text + rest)[:len(whole) - 1]
    assert text and whole.startswith(text[:-1])


def test_chat():
    """Answer after answer, with what is undone and regenerated in between."""
    turns = b'Who was Abraham?\nAnd who was Isaac?\n/undo\nWho was Abraham?\n/regen\n/exit\n'
    args = ['chat', DEMO, '--temp', '0.5', '--seed', '3', '-n', '60', '--no-history']
    plain = good(*args, stdin=turns)
    for draft in DRAFTS:
        assert good(*args, '--draft', draft, stdin=turns) == plain
    done = sluice(*args, '--draft', 'lookup:3', '--stats', stdin=turns)
    assert len(re.findall(rb'\[drafts in ', done.stderr)) == 4
