"""The project's own scripts: what dev does before it builds, and how tally.py adds up."""
import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


def tally(*args):
    done = subprocess.run([sys.executable, str(ROOT / 'tests/tally.py'), *args],
                          capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


def write_log(path, *tests):
    rows = [{'name': f't{i}', 'result': result, 'stdout': out, 'stderr': ''}
            for i, (result, out) in enumerate(tests)]
    path.write_text(''.join(json.dumps(row) + '\n' for row in rows))
    return f'log:run:{path}'


@pytest.mark.parametrize('tests, last, code', [
    ([('OK', '')], '1 passed, 0 failed, 0 skipped', 0),
    ([('OK', ''), ('SKIP', 'skipped: no data')], '1 passed, 0 failed, 1 skipped', 0),
    ([('OK', ''), ('FAIL', 'bad')], '1 passed, 1 failed, 0 skipped', 1),
    ([('TIMEOUT', '')], '0 passed, 1 failed, 0 skipped', 1),
    ([('ERROR', '')], '0 passed, 1 failed, 0 skipped', 1),
    ([('SKIP', '')], '0 passed, 0 failed, 1 skipped', 1),
    ([('OK', '....s\n4 passed, 1 skipped in 0.31s\n')], '4 passed, 0 failed, 1 skipped', 0),
    ([('OK', '== 3 passed, 2 warnings in 1.00s ==\n')], '3 passed, 0 failed, 0 skipped', 0),
    ([('FAIL', '2 failed, 4 passed in 0.31s\n')], '4 passed, 2 failed, 0 skipped', 1),
    ([('FAIL', '4 passed in 0.31s\n')], '4 passed, 1 failed, 0 skipped', 1),
    ([('OK', '1 failed, 4 passed in 0.3s\n')], '4 passed, 1 failed, 0 skipped', 1),
])
def test_tally(tmp_path, tests, last, code):
    got = tally(write_log(tmp_path / 'log.json', *tests))
    assert got[0] == code and got[1].splitlines()[-1] == last, got


@pytest.mark.parametrize('text, last, code', [
    ('ok 1 - a\n# tests 1\n# pass 1\n# fail 0\n', '1 passed, 0 failed, 0 skipped', 0),
    ('ok 1 - a\nok 2 - b # SKIP no x\n# pass 1\n# fail 0\n# cancelled 0\n# skipped 1\n',
     '1 passed, 0 failed, 1 skipped', 0),
    ('not ok 1 - a\n  ---\n  error: x\n  ...\n# pass 3\n# fail 1\n# cancelled 2\n',
     '3 passed, 3 failed, 0 skipped', 1),
    ('ok 1 - a\n', '0 passed, 1 failed, 0 skipped', 1),
])
def test_tally_of_tap(tmp_path, text, last, code):
    path = tmp_path / 'tap.txt'
    path.write_text(text)
    got, out = tally(f'tap:clients:{path}')
    assert got == code and out.splitlines()[-1] == last
    assert ('FAILED' in out) == (code == 1) and ('skipped clients: ok 2' in out) == ('SKIP' in text)


def test_tally_adds_runs_and_single_outcomes(tmp_path):
    log = write_log(tmp_path / 'log.json', ('OK', ''))
    assert tally(log, log, 'pass:a: builds', 'skip:b')[1].endswith(
        '3 passed, 0 failed, 1 skipped\n')
    assert tally(log, 'fail:the build failed')[0] == 1


def test_tally_shows_the_end_of_a_failure_only(tmp_path):
    output = ''.join(f'line {i}\n' for i in range(1000))
    got = tally(write_log(tmp_path / 'log.json', *[('FAIL', output)] * 20))[1]
    assert 'line 999' in got and 'line 100\n' not in got and got.count('\n') < 700


@pytest.mark.parametrize('text, code', [
    ('import pytest\npytest.skip("no data", allow_module_level=True)\n', 77),
    ('import pytest\n\n\ndef test_a():\n    pytest.skip("no data")\n', 0),
    ('', 5),
    ('def test_a():\n    assert False\n', 1),
])
def test_a_file_skipped_as_a_whole_is_a_skip(tmp_path, text, code):
    shutil.copy(ROOT / 'tests/conftest.py', tmp_path / 'conftest.py')
    (tmp_path / 'test_it.py').write_text(text)
    done = subprocess.run([sys.executable, '-m', 'pytest', '-q', tmp_path / 'test_it.py'],
                          capture_output=True, check=False)
    assert done.returncode == code


@pytest.fixture(name='machine')
def make_machine(tmp_path):
    """dev in a project of its own, on a machine where nothing is installed."""
    shutil.copy(ROOT / 'dev', tmp_path / 'dev')
    bin_dir = tmp_path / 'bin'
    bin_dir.mkdir()

    def fake(name, script):
        path = bin_dir / name
        path.write_text('#!/bin/sh\n' + script)
        path.chmod(0o755)

    def run(*args):
        env = dict(os.environ, PATH=f'{bin_dir}:{os.environ["PATH"]}')
        done = subprocess.run([str(tmp_path / 'dev'), *args], capture_output=True, text=True,
                              check=False, env=env, stdin=subprocess.DEVNULL)
        return done.returncode, done.stdout, done.stderr
    fake('dpkg-query', 'exit 1\n')
    fake('id', 'echo 1000\n')
    fake('sudo', 'exit 1\n')
    fake('apt-get', 'echo apt-get "$@" >> ' + str(tmp_path / 'apt-calls') + '\n')
    run.fake = fake
    run.folder = tmp_path
    return run


def test_dev_help_and_usage(machine):
    code, out, _ = machine('--help')
    assert code == 0 and './dev COMMAND' in out
    code, out, err = machine('nonsense')
    assert code == 2 and not out and './dev COMMAND' in err


@pytest.mark.parametrize('command', ['run', 'test', 'lint'])
def test_dev_without_root_prints_the_line(machine, command):
    code, out, err = machine(command)
    assert code == 1 and not out
    assert 'apt-get install -y --no-install-recommends gcc' in err
    assert not (machine.folder / 'apt-calls').exists()


def test_dev_installs_only_what_running_needs(machine):
    machine.fake('id', 'echo 0\n')
    machine.fake('meson', 'exit 1\n')
    assert machine('run')[0] == 1  # there is nothing to build
    calls = (machine.folder / 'apt-calls').read_text()
    assert 'install -y --no-install-recommends gcc' in calls and 'cmocka' not in calls


def test_dev_asks_for_nothing_when_all_is_there(machine):
    machine.fake('dpkg-query', 'shift 3; for p in "$@"; do echo "ii $p"; done\n')
    machine.fake('meson', 'exit 1\n')
    code, _, err = machine('run')
    assert code == 1 and 'configuring failed' in err
    assert not (machine.folder / 'apt-calls').exists()


# Builds and tests that are only written down. The release build's tests and the first build
# with sanitizers each wait for the other to begin.
PEERS = '''
until_there() { for i in $(seq 200); do [ ! -e "$1" ] || return 0; sleep 0.05; done; exit 1; }
cd "$(dirname "$0")/.."
case "$(basename "$0") $*" in
    "meson setup"*) mkdir -p "$2"; touch "$2/build.ninja" ;;
    "ninja"*/asan*) echo build asan >> calls; touch began; until_there tested
                    echo built asan >> calls ;;
    "meson test"*)
        case "$*" in *build/test*--no-suite\\ timing*) until_there began ;; esac
        case "$*" in *"--suite timing") echo test timing >> calls ;;
                     *) echo "test $(basename "$3")" >> calls ;; esac
        mkdir -p "$3/meson-logs"; touch tested
        echo '{"name": "t", "result": "OK", "stdout": ""}' > "$3/meson-logs/testlog.json" ;;
esac
'''


def test_dev_builds_ahead_and_measures_alone(machine):
    machine.fake('dpkg-query', 'shift 3; for p in "$@"; do echo "ii $p"; done\n')
    for name in 'meson', 'ninja':
        machine.fake(name, PEERS)
    (machine.folder / 'tests').mkdir()
    shutil.copy(ROOT / 'tests/tally.py', machine.folder / 'tests')
    code, out, err = machine('test', '--ci')
    assert code == 0 and out.endswith('\n3 passed, 0 failed, 0 skipped\n'), (out, err)
    assert (machine.folder / 'calls').read_text().splitlines() == [
        'build asan', 'test test', 'built asan', 'test timing', 'build asan', 'built asan',
        'test asan']
