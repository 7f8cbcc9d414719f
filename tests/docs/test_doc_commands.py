"""Every command in README.md and doc/ goes well, and prints what the text shows.

A document's commands run in turn in one shell and one sandbox (sandbox.py). What cannot run
is in elsewhere.py, with the reason and with what is looked at instead; nothing else is left out.
SL_DOCS_WHOLE=1 runs the slow ones too. -s prints what was done with each command.
"""
import os
import re
import time

import pytest

import elsewhere
import snippets
from mdparts import (DOCUMENTS, LANGUAGES, ROOT, SHELLS, blocks, commands, commands_of,
                     loose_commands)
from sandbox import SLUICE, Sandbox

IS_WHOLE = os.environ.get('SL_DOCS_WHOLE') == '1'

# Texts about how Sluice is made. None of them may have a command: then it leaves this list.
WITHOUT_COMMANDS = {'doc/architecture.md', 'doc/concurrency.md', 'doc/expert-cache.md',
                    'doc/kernels.md', 'doc/pack-format.md', 'doc/page.md', 'doc/style.md'}
ALL = [command for document in DOCUMENTS for command in commands(document)]


def row_of(table, command):
    return next((row for row in table if re.match(row[0], command.text)), None)


VARYING = [(r'\.\.\.', '.*'), (r'(?:AMD|Intel)[^,]*', '[^,]*'), (r'avx\d+', r'(?:avx\d+|c)'),
           (r'\d+(?:[.,]\d+)*', r'[\d.,]+'), (r'\s+', r'\s+')]


def shape(line):
    """A line that is shown, as an expression: numbers, the machine and blanks may differ."""
    parts = re.split('(' + '|'.join(given for given, _ in VARYING) + ')', line.strip())
    return ''.join(next((any_ for given, any_ in VARYING if re.fullmatch(given, part)),
                        re.escape(part)) for part in parts)


def check_output(command, printed):
    """Each line that is shown is printed, in order."""
    at = 0
    for line in command.output:
        if not line.strip():
            continue
        found = re.search(rf'^\s*{shape(line)}\s*$', printed[at:], re.M)
        assert found, f'{command.place}: shows "{line}", which is not in:\n{printed[at:]}'
        at += found.end()


def do(command, sandbox):
    """Returns what was done with it."""
    row = row_of(elsewhere.TABLE, command)
    if row:
        row[2](command, sandbox)
        return f'not run, {row[1]}'
    row = None if IS_WHOLE else row_of(elsewhere.SLOW, command)
    if row:
        row[1](command, sandbox)
        return 'not run, slow'
    code, out, err = sandbox.run(command)
    row = row_of(elsewhere.CODES, command)
    said = f'{command.place}: {command.text}exit code {code}\n{out}{err}'
    assert code in (row[1] if row else (0,)), said
    check_output(command, f'{out}\n{err}')
    return 'ran'


@pytest.mark.parametrize('document', [d for d in DOCUMENTS if d not in WITHOUT_COMMANDS])
def test_document(document, tmp_path):
    n_commands = 0
    sandbox = Sandbox(tmp_path, IS_WHOLE)
    try:
        for block in blocks(document):
            sandbox.new_block()
            if block.language not in SHELLS:
                what = snippets.check(block, sandbox)
                print(f'{document}:{block.line}: {block.language}: {what}')
                continue
            for command in commands_of(block):
                begun = time.monotonic()
                what = do(command, sandbox)
                print(f'{command.place}: {what}, {time.monotonic() - begun:.2f} s: {command.text}',
                      end='')
                n_commands += 1
    finally:
        sandbox.close()
    assert n_commands, f'{document}: no command was found'
    print(f'{document}: {n_commands} commands')


def test_every_document_is_looked_at():
    assert len(DOCUMENTS) >= 14 and WITHOUT_COMMANDS < set(DOCUMENTS)
    for document in WITHOUT_COMMANDS:
        assert not commands(document), f'{document} has commands: take it from WITHOUT_COMMANDS'
    for document in DOCUMENTS:
        assert not loose_commands(document)
        for block in blocks(document):
            assert block.language in LANGUAGES, f'{document}:{block.line}: of which language?'


def test_every_command_is_told_of():
    """README.md names each command that sluice --help lists."""
    listed = re.findall(r'^  (?!sluice )([a-z]+) ', elsewhere.help_of(SLUICE), re.M)
    named = re.findall(r'^\| `sluice ([a-z]+)', (ROOT / 'README.md').read_text(), re.M)
    assert len(listed) >= 13 and sorted(listed) == sorted(named)


def test_the_library_is_all_described():
    """Every function of the header is named in doc/library.md, and no other is."""
    named = set(re.findall(r'\b(sluice_\w+)', (ROOT / 'doc/library.md').read_text()))
    header = (ROOT / 'src/sluice.h').read_text()
    there = set(re.findall(r'\b(sluice_\w+)\(', re.sub(r'/\*.*?\*/', '', header, flags=re.S)))
    structs = set(re.findall(r'struct (sluice_\w+)', header))
    assert there - named == set() and named - there - structs == set()
    programs = [block.text for block in blocks('doc/library.md') if 'int main(' in block.text]
    assert programs == [(ROOT / 'doc/example.c').read_text()]


@pytest.mark.parametrize('table', [elsewhere.TABLE, elsewhere.SLOW, elsewhere.CODES],
                         ids=['table', 'slow', 'codes'])
def test_every_row_is_needed(table):
    for row in table:
        assert any(row_of(table, command) is row for command in ALL), row[0]


# The tests of the test: what it must not take for good.

@pytest.fixture(name='sandbox', scope='module')
def one_sandbox(tmp_path_factory):
    sandbox = Sandbox(tmp_path_factory.mktemp('sandbox'), False)
    yield sandbox
    sandbox.close()


def found_in(text):
    return [command.text for command in commands('x', text)]


def test_commands_are_found():
    assert found_in('```sh\na b \\\n  c\n\n# no\nd \'e\nf\' # "g\nh\n```\n') == [
        'a b \\\n  c\n', "d 'e\nf' # \"g\n", 'h\n']
    assert found_in('1. x\n   ```console\n   $ a\n   out\n   $ b\n   ```\n') == ['a\n', 'b\n']
    assert found_in("```sh\ncat > x <<'END'\n'\nEND\nb\n```\n") == ["cat > x <<'END'\n'\nEND\n",
                                                                    'b\n']
    assert not found_in('```json\n{}\n```\n')
    assert loose_commands('x', 'a\n\n    sluice ls\n') and not loose_commands('x', '    blah\n')
    for bad in ('```sh\na\n', "```sh\necho 'a\n```\n", '```console\nout\n```\n'):
        with pytest.raises(AssertionError):
            found_in(bad)


@pytest.mark.parametrize('text, word', [
    ('```sh\nsluice run lfm2:24b --no-such-option\n```\n', 'exit code 2'),
    ('```sh\nsluice run other:name hi\n```\n', 'exit code 1'),
    ('```sh\nsluice ls | false\n```\n', 'exit code 1'),
    ('```sh\nsluice serve lfm2:24b --drain never\n```\n', 'exit code 1'),
    ('```sh\nno-such-program\n```\n', 'exit code 127'),
    ('```sh\necho (\n```\n', 'exit code 2'),
    ('```console\n$ echo 1 of 2\n1 of 3\n2 of 3\n```\n', '2 of 3'),
    ('```sh\nsudo apt-get install no-such-package-here\n```\n', 'no package no-such'),
    ('```sh\n./dev run --no-such-option\n```\n', '--no-such-option'),
    ('```sh\n./dev no-such-command\n```\n', 'x:2'),
])
def test_bad_commands_fail(text, word, sandbox):
    with pytest.raises(AssertionError, match=re.escape(word)):
        for command in commands('x', text):
            do(command, sandbox)


def test_the_shell_remembers(sandbox):
    text = ('```sh\nexport A=b\ncd doc\n```\n```console\n$ echo $A 1.25 $(pwd)\n'
            'b 1,000 .../doc\n```\n')
    for command in commands('x', text):
        assert do(command, sandbox) == 'ran'
    sandbox.new_block()
    assert sandbox.shell.run('pwd')[1].strip() == str(sandbox.cwd)
