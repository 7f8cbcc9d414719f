"""sluice chat: what can be typed, at a pipe and at a terminal."""
import json
import os
import pty
import re
import select
import time

import pytest

from clitool import DEMO, ENV, command, good, refused, sluice


def talk(text, *args, **more):
    done = sluice('chat', DEMO, '--temp', '0', '-n', '12', *args, stdin=text.encode(), **more)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode()


def saved(path):
    with open(path, encoding='utf-8') as file:
        return [(m['role'], m['content']) for m in json.load(file)['messages']]


def test_a_conversation(tmp_path):
    path = tmp_path / 'saved.json'
    out = talk(f'hi\nand you?\n/save {path}\n')
    first, second, note = out.splitlines()
    assert note == '(4 messages written)'
    assert saved(path) == [('user', 'hi'), ('assistant', first), ('user', 'and you?'),
                           ('assistant', second)]
    assert first == good('run', DEMO, 'hi', '--temp', '0', '-n', '12').rstrip('\n')


def test_past_tokens_are_computed_once():
    done = sluice('chat', DEMO, '--temp', '0', '-n', '12', '--stats', stdin=b'hi\nand you?\n')
    kept = re.findall(rb'prompt (\d+) tokens \((\d+) kept\)', done.stderr)
    assert len(kept) == 1 and int(kept[0][1]) >= 13


def test_what_is_kept_changes_no_answer(tmp_path):
    path = tmp_path / 'saved.json'
    through = talk(f'hi\n/undo\nhello\nmore\n/save {path}\n/load {path}\nlast\n').splitlines()
    fresh = talk(f'/load {path}\nlast\n').splitlines()
    assert through[-1] == fresh[-1]


def test_many_lines(tmp_path):
    path = tmp_path / 'saved.json'
    talk(f'one\\\ntwo\n"""three\nfour"""\n"""\n\nfive\n"""\n//slash\n   \n/save {path}\n')
    assert [content for role, content in saved(path) if role == 'user'] == [
        'one\ntwo', 'three\nfour', '\nfive', '/slash']


def test_undo_regen_system(tmp_path):
    path = tmp_path / 'saved.json'
    out = talk(f'/undo\n/regen\n/system\n/system Be brief.\n/system\nhi\n/regen\nand\n/undo\n'
               f'/save {path}\n').splitlines()
    assert out[:4] == ['(nothing to undo)', '(no message to answer)', '(no system prompt)',
                       'Be brief.']
    assert out[4] == out[5]  # at temperature 0
    assert saved(path) == [('system', 'Be brief.'), ('user', 'hi'), ('assistant', out[4])]
    assert talk('/system x\n/system -\n/system\n') == '(no system prompt)\n'
    assert talk('/system\n', '--system', 'S.') == 'S.\n'


def test_regen_draws_again():
    done = sluice('chat', DEMO, '--temp', '2', '-n', '30', '--seed', '5',
                  stdin=b'hi\n' + b'/regen\n' * 3)
    assert done.returncode == 0 and done.stdout.count(b'\n') >= 4
    again = sluice('chat', DEMO, '--temp', '2', '-n', '30', '--seed', '5',
                   stdin=b'hi\n' + b'/regen\n' * 3)
    assert again.stdout == done.stdout


def test_help_exit_and_unknown():
    out = talk('/help\n/nonsense\n/exit\nnever\n')
    for word in ('/help', '/system', '/regen', '/undo', '/save', '/load', '/stats', '/exit'):
        assert word in out
    assert out.splitlines()[-1] == '(no such command: /nonsense; /help lists them)'


def test_stats():
    done = sluice('chat', DEMO, '--temp', '0', '-n', '12', stdin=b'/stats\nhi\n/stats\n')
    assert done.stdout.splitlines()[0] == b'context: 0 of 2048 tokens'
    assert done.stderr.startswith(b'[prompt 13 tokens')


def test_load_errors(tmp_path):
    bad = tmp_path / 'bad.json'
    for text, word in [('{', 'JSON'), ('3', 'array'), ('[{"role": "user"}]', 'messages[0]')]:
        bad.write_text(text)
        refused(1, word, 'chat', DEMO, stdin=f'/load {bad}\n'.encode())
        refused(1, word, 'chat', DEMO, '--load', bad)
    refused(1, 'No such file', 'chat', DEMO, stdin=b'/load /no/such\n')
    refused(1, '/no/such', 'chat', DEMO, stdin=b'/save /no/such/file\n')
    refused(1, 'not UTF-8', 'chat', DEMO, stdin=b'a\xff\n')


def test_a_full_context_ends_it():
    done = sluice('chat', DEMO, '--ctx', '64', '-n', '10', '--temp', '0', stdin=b'hi\n' * 20)
    assert done.returncode == 1 and b'context is full' in done.stderr


class Terminal:
    """sluice chat at a terminal of its own."""

    def __init__(self, *args, **env):
        env = dict(ENV, **env)
        argv = command('chat', DEMO, *args)
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execve(argv[0], argv, env)
        self.seen = b''

    def wait(self, text, n_bytes=0, seconds=30):
        """Read until text, and so many bytes, have come."""
        end = time.monotonic() + seconds
        while text not in self.seen or len(self.seen) < n_bytes:
            left = end - time.monotonic()
            assert left > 0, (text, self.seen)
            if select.select([self.fd], [], [], left)[0]:
                try:
                    self.seen += os.read(self.fd, 65536)
                except OSError:  # the other side is closed
                    assert text in self.seen, (text, self.seen)

    def send(self, text, then, n_bytes=0):
        self.seen = b''
        os.write(self.fd, text)
        self.wait(then, n_bytes)
        return self.seen

    def press(self, key, then):
        """Press a key until it is answered: what comes before the program reads is lost."""
        for _ in range(20):
            try:
                os.write(self.fd, key)
                self.wait(then, seconds=1)
                return
            except AssertionError:
                continue
        self.wait(then, seconds=1)

    def leave(self):
        os.write(self.fd, b'/exit\r')
        try:
            while os.read(self.fd, 65536):
                pass
        except OSError:
            pass
        os.close(self.fd)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@pytest.fixture(params=['xterm', 'dumb'])
def term(request):
    return request.param


def test_interrupt_stops_the_answer_and_not_the_program(tmp_path, term):
    terminal = Terminal('--ignore-eos', '--seed', '1', TERM=term, XDG_STATE_HOME=str(tmp_path))
    terminal.wait(b'>>>')
    terminal.send(b'In the beginning\r', b'', n_bytes=200)
    terminal.send(b'\x03', b'>>>')
    assert b'interrupted' in terminal.send(b'/stats\r', b'context:')
    terminal.press(b'\x03', b'leaves')
    assert terminal.leave() == 0


def test_colours(tmp_path):
    state = {'TERM': 'xterm', 'XDG_STATE_HOME': str(tmp_path)}
    for args, env, has_colour in [([], {}, True), (['--no-color'], {}, False),
                                  ([], {'NO_COLOR': '1'}, False), ([], {'NO_COLOR': ''}, True)]:
        terminal = Terminal(*args, **state, **env)
        terminal.wait(b'>>>')
        assert (b'\x1b[1;32m' in terminal.seen) == has_colour
        assert terminal.leave() == 0


def test_paste_and_history(tmp_path):
    path = tmp_path / 'saved.json'
    state = {'TERM': 'xterm', 'XDG_STATE_HOME': str(tmp_path / 'state')}
    terminal = Terminal('--temp', '0', '-n', '5', **state)
    terminal.wait(b'>>>')
    if b'\x1b[?2004h' not in terminal.seen:
        terminal.leave()
        pytest.skip('built without libedit')
    terminal.send(b'\x1b[200~two\rlines\r\x1b[201~\r', b'\x1b[?2004h')
    terminal.send(b'/save %s\r' % str(path).encode(), b'written')
    assert saved(path)[0] == ('user', 'two\nlines')
    assert terminal.leave() == 0
    history = tmp_path / 'state' / 'sluice' / 'history'
    assert history.stat().st_mode & 0o077 == 0
    terminal = Terminal(**state)
    terminal.wait(b'>>>')
    terminal.send(b'\x10\x10\x10', b'two')  # up to what was typed the last time
    terminal.press(b'\x03', b'leaves')
    assert terminal.leave() == 0


def test_no_history(tmp_path):
    terminal = Terminal('--no-history', TERM='xterm', XDG_STATE_HOME=str(tmp_path))
    terminal.wait(b'>>>')
    assert terminal.leave() == 0
    assert not (tmp_path / 'sluice').exists()


def test_control_characters_do_not_reach_the_terminal(tmp_path):
    """Whatever the model says: no escape sequence of its own."""
    id_of_escape = json.loads(good('tokenize', DEMO, '--json', stdin=b'\x1b'))['ids'][0]
    terminal = Terminal('--no-color', '--no-history', '-n', '5',
                        f'--logit-bias={id_of_escape}=1000', TERM='dumb')
    terminal.wait(b'>>>')
    seen = terminal.send(b'hi\r', b'>>>')
    assert b'\x1b' not in seen
    assert terminal.leave() == 0
