"""Settings: a file, then SLUICE_* variables, then what is typed; and sluice config, which says
what holds and where it comes from."""
import json
import os
import socket

import pytest

from clitool import DEMO, ENV, good, refused, sluice

CLEAN = {key: value for key, value in ENV.items() if not key.startswith('SLUICE_')}


class Home:
    """A home with a file of settings, and the environment that goes with it."""

    def __init__(self, folder):
        self.folder = folder
        self.path = folder / 'xdg/sluice/config'
        self.env = dict(CLEAN, HOME=str(folder), XDG_CONFIG_HOME=str(folder / 'xdg'))

    def write(self, text, **variables):
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return dict(self.env, **variables)

    def settings(self, text='', command=None, **variables):
        env = self.write(text, **variables)
        found = json.loads(good('config', *[command] if command else [], '--json', env=env))
        return found['options' if command else 'settings']

    def value(self, text, command, name, **variables):
        """Values of an option, with the line or the variable of each."""
        return [(o['value'], o.get('line', o.get('variable')))
                for o in self.settings(text, command, **variables) if o['name'] == name]

    def wrong(self, text, *words, code=2, **variables):
        line = refused(code, str(self.path), 'config', env=self.write(text, **variables))
        assert all(word in line for word in words), line
        assert refused(code, str(self.path), 'tokenize', DEMO, env=self.env) == line


@pytest.fixture(name='home')
def make_home(tmp_path):
    return Home(tmp_path)


def test_without_anything(home):
    assert json.loads(good('config', '--json', env=home.env)) == {
        'path': str(home.path), 'is_there': False, 'settings': []}
    assert good('config', env=home.env) == f'file: {home.path} (not there)\nNothing is set.\n'
    assert good('config', '--path', env=home.env) == f'{home.path}\n'


def test_where_the_file_is(home):
    for config in (None, '', 'relative'):
        env = {key: value for key, value in home.env.items() if key != 'XDG_CONFIG_HOME'}
        if config is not None:
            env['XDG_CONFIG_HOME'] = config
        assert good('config', '--path', env=env) == f'{home.folder}/.config/sluice/config\n'
    env['HOME'] = 'nowhere'
    assert json.loads(good('config', '--json', env=env))['path'] is None
    refused(1, 'neither XDG_CONFIG_HOME nor HOME', 'config', '--path', env=env)


def test_the_order_of_strength(home):
    text = 'threads = 2\n[tokenize]\nthreads = 3\n'
    assert home.value('threads = 2\n', 'tokenize', 'threads') == [('2', 1)]
    assert home.value(text, 'tokenize', 'threads') == [('3', 3)]
    assert home.value(text, 'run', 'threads') == [('2', 1)]
    assert home.value(text, 'tokenize', 'threads', SLUICE_THREADS='4') == [('4', 'SLUICE_THREADS')]
    assert home.value('', 'tokenize', 'threads') == [(None, None)]
    assert home.value(text, 'tokenize', 'threads', SLUICE_THREADS='') == [('3', 3)]


def test_settings_reach_the_command(home):
    args = ('run', DEMO, 'a', '--no-stats')
    plain = good(*args, '--temp', '0', '-n', '8', env=home.env)
    env = home.write('temp = 0\n[run]\nn-predict = 3\n')
    short = good(*args, env=env)
    assert plain.startswith(short.rstrip('\n')) and len(short) < len(plain)
    assert good(*args, env=dict(env, SLUICE_N_PREDICT='8')) == plain
    assert good(*args, '-n', '8', env=dict(env, SLUICE_N_PREDICT='5')) == plain
    assert good(*args, '--n-predict=8', env=env) == plain


def test_flags(home):
    run = {'env': home.write('no-tuned = yes\n[run]\nno-stats = on\ntemp = 0\nn-predict = 1\n')}
    assert sluice('run', DEMO, 'a', **run).stderr == b''
    run = {'env': dict(run['env'], SLUICE_NO_STATS='no')}
    assert b'tokens/s' in sluice('run', DEMO, 'a', **run).stderr
    home.wrong('no-tuned = maybe\n', ':1: no-tuned: yes or no expected, found "maybe"')
    line = refused(2, 'SLUICE_NO_TUNED', 'tokenize', DEMO,
                   env=dict(CLEAN, SLUICE_NO_TUNED='maybe'))
    assert line == 'sluice: SLUICE_NO_TUNED: no-tuned: yes or no expected, found "maybe"'


@pytest.mark.parametrize('text, words', [
    ('rma = 8G\n', ':1: "rma" is no option of any command; did you mean ram?'),
    ('--ram = 8G\n', ':1: "--ram" is no option of any command; did you mean ram?'),
    ('[serve]\n\nrma = 8G\n', ':3: "rma" is no option of serve; did you mean ram?'),
    ('[ls]\nram = 8G\n', ':2: "ram" is no option of ls'),
    ('[sreve]\nport = 1\n', ':2: no command is called "sreve"; did you mean [serve]?'),
    ('[somebody]\nport = 1\n', ':2: no command is called "somebody"'),
    ('json = yes\n', ':1: --json of any command cannot be set'),
    ('[plan]\nram = 8G\n', ':2: --ram of plan cannot be set'),
    ('[perplexity]\nctx = 8\n', ':2: --ctx of perplexity cannot be set'),
    ('[bench]\nn-gen = 8\n', ':2: --n-gen of bench cannot be set'),
    ('ram = 1G\n\nram = 2G\n', ':3: ram is set in line 1 already'),
    ('ram\n', ':1: neither [SECTION] nor KEY = VALUE'),
    ('ram = 1G\n[serve\n', ':2: neither [SECTION] nor KEY = VALUE'),
    ('ram =\n', ':1: ram: no value'),
    ('[serve]\nslot-save-path = slots\n', ':2: slot-save-path: a path from / or ~/ expected'),
    ('[run]\nsystem = a\n  ctx = 8\n', ':3: an indented line goes on with the value before'),
    ('# ' + 'x' * 300 + '\n', ':1: 302 bytes; a line has at most'),
    (b'ram = 8G\0\n', ': no text'),
    (b'\x7fELF\x02\x01\x01' + bytes(range(1, 256)), ':1: '),
    (b'x' * (2 << 20), '2097152 bytes; settings have at most 1048576'),
])
def test_what_is_wrong_in_the_file(home, text, words):
    home.wrong(text, words, code=1 if 'settings have' in words else 2)


def test_what_is_right_in_the_file(home):
    text = ('\ufeff# comment\r\n; another\r\n\r\nram : 8G ; why\r\n  \n'
            '[run]\nsystem = a=b [c]\n\td e\n')
    found = {s['name']: s for s in home.settings(text)}
    assert found['ram']['value'] == '8G' and found['ram']['line'] == 4
    assert found['system']['value'] == 'a=b [c]\nd e'
    assert found['system']['holds_for'] == ['run']
    assert 'a=b [c]\\x0ad e' in good('config', env=home.env)
    assert home.settings('threads = 4') == home.settings('threads=4\n')


def test_a_value_that_a_command_refuses_names_its_place(home):
    env = home.write('\n[run]\nram = 8Q\n')
    line = refused(2, 'found "8Q"', 'run', DEMO, 'a', env=env)
    assert line.startswith(f'sluice: {home.path}:3: ram: a size as')
    env = home.write('')
    for name, value in (('RAM', '8Q'), ('TEMP', 'hot'), ('KV', 'q2'), ('N_PREDICT', 'x')):
        done = sluice('run', DEMO, 'a', env=dict(env, **{f'SLUICE_{name}': value}))
        option = name.lower().replace('_', '-')
        assert done.returncode == 2 and not done.stdout
        assert done.stderr.startswith(f'sluice: SLUICE_{name}: {option}: '.encode())
        assert done.stderr.count(b'\n') == 1 and b'expected' in done.stderr


def test_errors_of_what_is_typed_are_as_without_settings(home):
    env = home.write('ram = 1G\n')
    for args in ([], ['--bogus'], ['--io', 'x'], ['a', 'b', 'c'], ['--ram', '8Q']):
        with_settings = sluice('run', *args, env=env)
        without = sluice('run', *args, env=CLEAN)
        assert with_settings.returncode == without.returncode == 2
        assert with_settings.stderr == without.stderr


def test_a_conflict_names_the_setting(home):
    env = home.write('cpus = 0\n')
    done = sluice('run', DEMO, 'a', '-t', '5', env=env)
    note = f'note: --cpus is set by {home.path}:1\n'.encode()
    assert done.returncode == 1 and done.stderr.endswith(note) and done.stderr.count(b'\n') == 2
    done = sluice('run', DEMO, 'a', '-t', '5', '--cpus', '0', env=env)
    assert done.returncode == 1 and b'note:' not in done.stderr


def test_a_system_prompt_gives_way_to_raw(home):
    env = home.write('[run]\nsystem = Be brief.\nno-stats = yes\nn-predict = 1\n')
    assert sluice('run', DEMO, 'a', '--raw', env=env).returncode == 0
    assert sluice('run', DEMO, 'a', '--raw', '--system', 'x', env=env).returncode == 2


def test_options_that_may_be_repeated(home):
    text = 'allow-host = a\n[serve]\nallow-host = b\nallow-host = c\n'
    assert home.value(text, 'serve', 'allow-host') == [('b', 3), ('c', 4)]
    assert home.value(text, 'serve', 'allow-host', SLUICE_ALLOW_HOST='d') == [
        ('d', 'SLUICE_ALLOW_HOST')]


def test_secrets_are_not_shown(home):
    home.write('')
    home.path.chmod(0o644)
    env = home.write('[serve]\napi-key = swordfish\n')
    done = sluice('config', env=env)
    assert done.returncode == 0 and b'swordfish' not in done.stdout
    assert done.stderr == f'note: {home.path}:2: others can read the key in it\n'.encode()
    assert b'swordfish' not in sluice('config', 'serve', '--json', env=env).stdout
    home.path.chmod(0o600)
    assert sluice('config', env=env).stderr == b''


def test_paths_in_the_home(home):
    assert home.value('slot-save-path = ~/slots', 'serve', 'slot-save-path') == [
        (f'{home.folder}/slots', 1)]


def test_files_that_cannot_be_read(home):
    home.path.mkdir(parents=True)
    refused(1, 'directory', 'tokenize', DEMO, env=home.env)
    home.path.rmdir()
    os.mkfifo(home.path)
    refused(2, 'no regular file', 'tokenize', DEMO, env=home.env, timeout=20)
    home.path.unlink()
    with socket.socket(socket.AF_UNIX) as sock:
        here = os.getcwd()
        os.chdir(home.path.parent)
        sock.bind('config')
        os.chdir(here)
        refused(2, 'no regular file', 'config', env=home.env)
    home.path.unlink()
    home.path.symlink_to('config')
    refused(1, 'ymbolic', 'config', env=home.env)
    home.path.unlink()
    home.path.symlink_to('nowhere')
    assert 'Nothing is set' in good('config', env=home.env)
    if os.geteuid() == 0:
        return
    home.path.unlink()
    home.write('ram = 8G\n')
    home.path.chmod(0)
    refused(1, 'ermission', 'config', env=home.env)
    home.path.chmod(0o600)
    home.path.parent.chmod(0)
    assert 'Nothing is set' in good('config', env=home.env)
    home.path.parent.chmod(0o700)


def test_help_is_given_whatever_is_set(home):
    env = home.write('nonsense\n')
    assert good('tokenize', '--help', env=env) == good('tokenize', '--help', env=CLEAN)
    assert good('config', '--path', env=env) == f'{home.path}\n'
    env = home.write('threads = 4\n')
    assert good('run', '--usage', env=env) == good('run', '--usage', env=CLEAN)


@pytest.mark.parametrize('name, near', [
    ('SLUICE_THREDS', 'SLUICE_THREADS'), ('SLUICE_RAN', 'SLUICE_RAM'), ('SLUICE_KB', None),
    ('SLUICE_MODELS', None), ('SLUICE_TEST_CPU', None), ('SLUICE_JSON', None),
    ('SLUICE_threads', None), ('SLUICE_', None), ('SLUICED_RAM', None),
    ('SLUICE_' + 'X' * 300, None)])
def test_variables_that_mean_nothing(name, near):
    done = sluice('config', env=dict(CLEAN, **{name: '0'}))
    assert b'Nothing is set' in done.stdout
    if near:
        assert done.stderr == f'note: {name} is no setting; did you mean {near}?\n'.encode()
    elif name != 'SLUICE_KB':
        assert not done.stderr


def test_usage_of_config(home):
    refused(2, 'no such command: nonsense', 'config', 'nonsense', env=home.env)
    refused(2, 'too many', 'config', 'run', 'chat', env=home.env)


def test_every_option_that_can_be_set_is_listed(home):
    """And is one of --help, with a default where the text of --help names it."""
    listed = home.settings('', 'serve')
    words = good('serve', '--help')
    assert all(f'--{o["name"]}' in words for o in listed)
    text = good('config', 'serve', env=home.env)
    assert 'parallel' in text and '127.0.0.1' in text
    assert all(o['from'] == 'default' and o['value'] is None for o in listed)
