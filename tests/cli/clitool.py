"""Running sluice for the tests of the commands.

SLUICE names the program (meson sets it), SL_SHARED the folder with more models and vectors;
SLUICE_TEST_CPU holds every command to one CPU level.
"""
import atexit
import os
import shutil
import subprocess
import tempfile

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SLUICE = os.environ.get('SLUICE')
SHARED = os.environ.get('SL_SHARED', os.path.join(ROOT, '..', 'shared'))
DEMO = os.path.join(ROOT, 'models', 'demo.gguf')
ENV = {key: value for key, value in os.environ.items() if key not in ('NO_COLOR',)}
# What sluice remembers of machines and models, and what is set for it, must not carry from
# test to test, nor be the caller's.
ENV['XDG_STATE_HOME'] = ENV['XDG_CONFIG_HOME'] = tempfile.mkdtemp(prefix='sluice-state-')
atexit.register(shutil.rmtree, ENV['XDG_STATE_HOME'], True)

WITHOUT_CPU = ('config', 'doctor', 'ls', 'pack', 'pull', 'verify')  # no option --cpu

if not SLUICE:
    pytest.skip('SLUICE is not set: run through meson test', allow_module_level=True)


def command(name, *args):
    cpu = os.environ.get('SLUICE_TEST_CPU') if name not in WITHOUT_CPU else None
    level = [f'--cpu={cpu}'] if cpu else []
    return [SLUICE, name, *level, *(a if isinstance(a, bytes) else str(a) for a in args)]


def sluice(name, *args, stdin=b'', timeout=100, **more):
    """Run a command. Returns the finished process, with bytes in stdout and stderr."""
    more.setdefault('env', ENV)
    more.setdefault('stdout', subprocess.PIPE)
    more.setdefault('stderr', subprocess.PIPE)
    return subprocess.run(command(name, *args), input=stdin, timeout=timeout, **more)


def good(name, *args, **more):
    """The same for a command that must go well; its stdout as text."""
    done = sluice(name, *args, **more)
    assert done.returncode == 0, (done.args, done.stderr)
    return done.stdout.decode()


def refused(code, word, name, *args, **more):
    """A command that must fail: with this exit code, nothing on stdout, and on stderr one line
    that has the word (usage errors have another, with advice)."""
    done = sluice(name, *args, **more)
    lines = done.stderr.decode().splitlines()
    assert (done.returncode, done.stdout) == (code, b''), (done.args, done.stderr)
    assert len(lines) == 1 or code == 2, lines
    assert lines[0].startswith('sluice'), lines
    assert word in lines[0], lines
    return lines[0]


def shared(*parts):
    path = os.path.join(SHARED, *parts)
    if not os.path.exists(path):
        pytest.skip(f'not there: {path}')
    return path
