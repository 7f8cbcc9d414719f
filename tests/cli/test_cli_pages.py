"""Man pages and completions: made from the tables of options, and so as --help has them.

SL_PAGES is the folder where the build puts them.
"""
import os
import pathlib
import re
import shutil
import subprocess

import pytest

from clitool import DEMO, ENV, SLUICE, good, sluice
from storeworld import World, gguf

PAGES = pathlib.Path(os.environ['SL_PAGES'])
BREAKS = ':='  # of bash's COMP_WORDBREAKS, what is in arguments


# Of the list in --help, whose last lines are about sluice itself
NAMES = [name for name in re.findall(r'^  (\w+) ', subprocess.run(
    [SLUICE, '--help'], stdout=subprocess.PIPE, text=True, check=True).stdout, re.M)
         if name != 'sluice']


def run(*command, **more):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60,
                          text=True, check=False, **more)


def need(program):
    if not shutil.which(program):
        pytest.skip(f'no {program} here')
    return program


def options(command):
    """Long options of --help, without argp's own."""
    found = re.findall(r'^ {2,6}(?:-\w, +)?--([\w-]+)', good(command, '--help'), re.M)
    return [name for name in found if name not in ('help', 'usage', 'version')]


def test_there_is_a_page_for_every_command():
    assert len(NAMES) > 10
    pages = {page.name for page in (PAGES / 'man1').iterdir()}
    assert pages == {'sluice.1'} | {f'sluice-{name}.1' for name in NAMES}


def test_pages_are_good_mdoc():
    pages = sorted(str(page) for page in (PAGES / 'man1').glob('*.1'))
    done = run(need('mandoc'), '-T', 'lint', '-W', 'style', *pages)
    # pages that are not installed yet are not found
    faults = [line for line in done.stdout.splitlines()
              if 'referenced manual not found: Xr sluice' not in line]
    assert not faults


@pytest.mark.parametrize('name', NAMES)
def test_a_page_has_all_options_and_sections(name):
    text = (PAGES / f'man1/sluice-{name}.1').read_text()
    for option in options(name):
        assert re.search(rf'^\.It.* Fl -{option}( |$)', text, re.M), option
    for section in ('NAME', 'SYNOPSIS', 'DESCRIPTION', 'ENVIRONMENT', 'EXIT STATUS', 'EXAMPLES',
                    'SEE ALSO'):
        assert f'\n.Sh {section}\n' in text, section
    for see in re.findall(r'^\.Xr (sluice\S*) 1', text, re.M):
        assert (PAGES / f'man1/{see}.1').exists(), see


def test_the_first_page_names_all_commands():
    text = (PAGES / 'man1/sluice.1').read_text()
    assert re.findall(r'^\.It Xr sluice-(\w+) 1', text, re.M) == NAMES


@pytest.mark.parametrize('shell, name', [('bash', 'sluice'), ('zsh', '_sluice'),
                                         ('fish', 'sluice.fish')])
def test_completions_are_good_scripts(shell, name):
    done = run(need(shell), '-n', str(PAGES / name))
    assert (done.returncode, done.stdout) == (0, '')
    text = (PAGES / name).read_text()
    for command in NAMES:
        assert re.search(rf'\b{command}\b', text)


class Bash:
    """What bash offers for a line that ends at the cursor."""

    def __init__(self, env):
        self.env = dict(env, PATH=f'{os.path.dirname(SLUICE)}:{os.environ["PATH"]}')

    def words(self, line):
        """As bash splits it for COMP_WORDS: at blanks, and at breaks into words of their own."""
        found = re.findall(rf'[{BREAKS}]+|[^\s{BREAKS}]+', line)
        return found if found and not line.endswith(' ') else found + ['']

    def offers(self, line):
        words = self.words(line)
        script = ('source "$1"; COMP_LINE=$2 COMP_POINT=${#2}; shift 2; COMP_WORDS=("$@")\n'
                  'COMP_CWORD=$(($# - 1)); _sluice || exit; printf "%s\\n" "${COMPREPLY[@]}"')
        done = run(need('bash'), '--norc', '-c', script, 'bash', str(PAGES / 'sluice'), line,
                   *words, env=self.env)
        assert done.returncode == 0, done.stdout
        return done.stdout.split('\n')[:-1] if done.stdout.strip() else []


@pytest.fixture(name='bash', scope='module')
def make_bash(tmp_path_factory):
    world = World(tmp_path_factory.mktemp('home'))
    world.ollama('lfm2', '24b', gguf())
    world.ollama('lfm2', '8b', gguf(fill=128))
    return Bash(world.env)


@pytest.mark.parametrize('line, offers', [
    ('sluice pe', ['perplexity']),
    ('sluice help tu', ['tune']),
    ('sluice --ver', ['--version']),
    ('sluice nonsense x', []),
    ('sluice run --resid', ['--residency']),
    ('sluice run m --residency ', ['auto', 'resident', 'stream']),
    ('sluice run m --residency=', ['auto', 'resident', 'stream']),
    ('sluice run m --residency=s', ['stream']),
    ('sluice run --residency s', ['stream']),
    ('sluice run m --predict r', ['replay:']),
    ('sluice run lfm', ['lfm2:24b', 'lfm2:8b']),
    ('sluice run lfm2:', ['24b', '8b']),
    ('sluice run lfm2:2', ['24b']),
    ('sluice run -t 3 --ram 4G --raw lfm2:8', ['8b']),
    ('sluice run --ram=4G lfm2:8', ['8b']),
    ('sluice run -f /no-such-file-a', []),
    ('sluice run lfm2:8b ', []),
    ('sluice config ser', ['serve']),
    ('sluice tune m --for ', ['decode', 'prefill']),
])
def test_what_bash_offers(bash, line, offers):
    assert bash.offers(line) == offers


def test_bash_offers_files(bash, tmp_path):
    (tmp_path / 'one.gguf').touch()
    (tmp_path / 'two').mkdir()
    one, two = str(tmp_path / 'one.gguf'), str(tmp_path / 'two')
    assert sorted(bash.offers(f'sluice run {tmp_path}/')) == [one, two]
    assert bash.offers(f'sluice run m --file {tmp_path}/o') == [one]
    assert bash.offers(f'sluice run m --file={tmp_path}/o') == [one]
    assert bash.offers(f'sluice serve --slot-save-path {tmp_path}/') == [two]


@pytest.mark.parametrize('name', NAMES)
def test_bash_offers_all_options(bash, name):
    assert set(bash.offers(f'sluice {name} --')) == {f'--{o}' for o in options(name)} | {'--help'}


def test_words_that_are_offered_are_taken(bash, tmp_path):
    """Of each option with a few words: each is taken, and another is not."""
    for option in ('residency', 'io', 'policy', 'kv', 'numa', 'predict', 'draft'):
        words = bash.offers(f'sluice run m --{option} ')
        assert len(words) > 1
        for word in words:
            word += '1' if word.endswith(':') else ''
            done = sluice('run', tmp_path / 'none', 'a', f'--{option}', word)
            assert done.returncode == 1, (option, word, done.stderr)
        assert sluice('run', DEMO, 'a', f'--{option}', 'another').returncode == 2


def test_names_alone(bash):
    assert good('ls', '--names', env=bash.env).split() == ['lfm2:24b', 'lfm2:8b']
    assert good('ls', '--names', env=dict(ENV, HOME='/nowhere')) == ''
