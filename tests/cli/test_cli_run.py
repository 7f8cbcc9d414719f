"""sluice run: the answer alone on stdout, the same text for the same seed, clean ends."""
import fcntl
import json
import os
import signal
import subprocess
import termios
import time

import pytest

from clitool import DEMO, ENV, command, good, refused, sluice

PROMPT = 'In the beginning'


def test_answer_alone():
    done = sluice('run', DEMO, PROMPT, '--seed', '1')
    text = done.stdout.decode()
    assert done.returncode == 0
    assert text.endswith('\n') and text.count('\n') >= 1 and len(text) > 20
    assert '\x1b' not in text and '<|' not in text and PROMPT not in text
    line, = done.stderr.decode().splitlines()
    assert line.startswith('[prompt ') and 'tokens/s' in line and 'GB/s of weights' in line
    assert 'peak memory' in line and line.endswith('seed 1]')


def test_same_seed_same_text():
    first = good('run', DEMO, PROMPT, '--seed', '7', '--temp', '1', '-n', '40')
    for more in (['-t', '1'], ['-t', '3'], ['--chunk', '1'], ['--chunk', '5'], ['--no-stats']):
        assert good('run', DEMO, PROMPT, '--seed', '7', '--temp', '1', '-n', '40', *more) == first
    others = {good('run', DEMO, PROMPT, '--seed', seed, '--temp', '1', '-n', '40')
              for seed in range(8, 12)}
    assert len(others | {first}) >= 4


def test_prompt_sources(tmp_path):
    path = tmp_path / 'prompt'
    path.write_text(PROMPT + '\n')
    args = ['--temp', '0', '-n', '20', '--no-stats']
    want = good('run', DEMO, PROMPT, *args)
    assert good('run', DEMO, *args, stdin=PROMPT.encode()) == want
    assert good('run', DEMO, *args, stdin=PROMPT.encode() + b'\n') == want
    assert good('run', DEMO, '-', *args, stdin=PROMPT.encode()) == want
    assert good('run', DEMO, '-f', path, *args) == want
    assert good('run', DEMO, PROMPT, '--system', 'Speak.', *args) != want


def test_no_stats():
    assert sluice('run', DEMO, PROMPT, '--no-stats', '-n', '2').stderr == b''


def test_json():
    done = good('run', DEMO, PROMPT, '--json', '--seed', '3')
    answer = json.loads(done)
    assert answer['stop'] == 'end' and answer['seed'] == 3
    assert answer['answer_tokens'] == len(answer['ids']) and answer['ids'][-1] == 7
    assert answer['text'] + '\n' == good('run', DEMO, PROMPT, '--seed', '3')
    text = good('tokenize', DEMO, '--detokenize', stdin=' '.join(map(str, answer['ids'])).encode())
    assert text == answer['text']
    short = json.loads(good('run', DEMO, PROMPT, '--json', '-n', '3', '--seed', '3'))
    assert short['stop'] == 'length' and short['ids'] == answer['ids'][:3]
    for key in ('prompt_tokens', 'prompt_seconds', 'prompt_tokens_per_s', 'answer_tokens_per_s',
                'weight_bytes_per_s', 'peak_memory_bytes'):
        assert short[key] > 0


def test_raw_continues_the_text():
    answer = json.loads(good('run', DEMO, 'static int ', '--raw', '--json', '-n', '5'))
    ids = good('tokenize', DEMO, '--bos', stdin=b'static int ').split()
    assert answer['prompt_tokens'] == len(ids)


def test_special_tokens_are_hidden_unless_asked_for():
    assert '<|im_end|>' not in good('run', DEMO, PROMPT, '--seed', '1')
    assert '<|im_end|>' in good('run', DEMO, PROMPT, '--seed', '1', '--special')


def test_ignore_eos_and_logit_bias():
    answer = json.loads(good('run', DEMO, PROMPT, '--ignore-eos', '-n', '300', '--json',
                             '--temp', '0'))
    assert answer['answer_tokens'] == 300 and 7 not in answer['ids'] and 2 not in answer['ids']
    forced = json.loads(good('run', DEMO, PROMPT, '--logit-bias', '500=1000', '-n', '4', '--json',
                             '--repeat-penalty', '1', '--temp', '0'))
    assert forced['ids'] == [500] * 4
    first = answer['ids'][0]
    barred = json.loads(good('run', DEMO, PROMPT, '--logit-bias', f'{first}=-inf', '-n', '1',
                             '--json', '--temp', '0'))
    assert barred['ids'] != [first]
    refused(1, '4096', 'run', DEMO, PROMPT, '--logit-bias', '4096=1')


def test_grammar(tmp_path):
    """Whatever is drawn follows the grammar; what is wrong with one is told with its place."""
    path = tmp_path / 'list.gbnf'
    path.write_text('root ::= "[" item ("," item){2} "]"\nitem ::= "\\"" [a-z]{1,5} "\\""\n')
    for seed in range(5):
        text = good('run', DEMO, PROMPT, '--grammar', path, '--temp', '2', '--seed', str(seed),
                    '--no-stats')
        items = json.loads(text)
        assert len(items) == 3 and all(len(i) <= 5 and i.isalpha() for i in items)
    path.write_text('root ::= "a" )\n')
    done = sluice('run', DEMO, PROMPT, '--grammar-file', path)
    assert done.returncode == 1 and not done.stdout
    assert 'list.gbnf: grammar, line 1, column 14: expected' in done.stderr.decode()


@pytest.mark.parametrize('kv', ['f16', 'f32', 'q8_0'])
def test_kv_types(kv):
    assert len(good('run', DEMO, PROMPT, '--kv', kv, '--temp', '0', '-n', '30')) > 20


def test_whole_characters_at_every_moment():
    """Tokens are bytes of characters; what has arrived is valid UTF-8 at any time."""
    ids = json.loads(good('tokenize', DEMO, '--json', stdin='日é'.encode()))['ids']
    assert len(ids) > 2
    bias = [f'--logit-bias={id}=300' for id in ids]
    with subprocess.Popen(command('run', DEMO, PROMPT, '--raw', '--temp', '2', '-n', '200',
                                  '--no-stats', *bias), stdout=subprocess.PIPE, env=ENV) as process:
        seen = b''
        while True:
            piece = os.read(process.stdout.fileno(), 65536)
            seen += piece
            seen.decode()
            if not piece:
                break
        assert process.wait() == 0
    assert any(byte >= 0x80 for byte in seen)


def test_bad_prompts(tmp_path):
    refused(1, 'not UTF-8: byte 2', 'run', DEMO, stdin=b'ab\xff')
    refused(1, 'not UTF-8', 'run', DEMO, b'\xc3')
    refused(1, 'standard input: the prompt holds a NUL', 'run', DEMO, stdin=b'a\0b')
    refused(1, 'empty', 'run', DEMO, '')
    refused(1, 'empty', 'run', DEMO, stdin=b'\n')
    refused(1, 'No such file', 'run', DEMO, '-f', tmp_path / 'none')


def test_context():
    refused(1, '99999', 'run', DEMO, PROMPT, '--ctx', '99999')
    line = refused(1, 'context is full', 'run', DEMO, PROMPT * 30, '--ctx', '64')
    assert '64' in line
    done = sluice('run', DEMO, PROMPT, '--ctx', '40', '--ignore-eos')
    assert done.returncode == 1 and len(done.stdout) > 20 and done.stdout.endswith(b'\n')
    assert b'context is full' in done.stderr.splitlines()[-1]


def test_interrupt():
    with subprocess.Popen(command('run', DEMO, PROMPT, '--raw', '--ignore-eos', '--ctx', '2048'),
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENV) as process:
        first = os.read(process.stdout.fileno(), 100)
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=30)
    assert process.returncode == 130, errors
    (first + rest).decode()
    assert errors.startswith(b'[prompt') and b'interrupted' in errors
    assert len(errors.splitlines()) == 1


def test_interrupt_while_the_reader_waits():
    """What was computed reaches a reader that is slow, whole."""
    with subprocess.Popen(command('run', DEMO, PROMPT, '--raw', '--ignore-eos', '--ctx', '2048',
                                  '--seed', '1'),
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENV) as process:
        size = fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, 4096) - 64
        waiting = 0
        while waiting < size: # the last piece may not fit
            time.sleep(0.3)
            waiting = int.from_bytes(fcntl.ioctl(process.stdout, termios.FIONREAD, bytes(4)),
                                     'little')
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        time.sleep(0.2)
        text, errors = process.communicate(timeout=30)
    assert process.returncode == 130, errors
    assert len(text) >= size and b'interrupted' in errors and b'system call' not in errors
    text.decode()


def test_interrupt_while_waiting_for_the_prompt():
    with subprocess.Popen(command('run', DEMO), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, env=ENV) as process:
        state = f'/proc/{process.pid}/wchan'
        for _ in range(500): # until it has installed its handler and reads
            with open(f'/proc/{process.pid}/status', encoding='ascii') as file:
                caught = next(line for line in file if line.startswith('SigCgt')).split()[1]
            if int(caught, 16) & 2 and os.path.exists(state):
                break
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        time.sleep(0.05)
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) in (130, -signal.SIGINT)


def test_reader_that_leaves():
    with subprocess.Popen(command('run', DEMO, PROMPT, '--raw', '--ignore-eos', '--no-stats'),
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENV) as process:
        os.read(process.stdout.fileno(), 10)
        process.stdout.close()
        assert process.wait(timeout=60) == 0
        assert process.stderr.read() == b''


def test_a_text_over_the_limit(tmp_path):
    path = tmp_path / 'text'
    with open(path, 'wb') as file:
        file.write(b'word ' * (14 << 20))
    for name in ('run', 'perplexity', 'tokenize'):
        refused(1, 'the text is longer than 64 MiB', name, DEMO, '-f', path)


def test_full_disk():
    if not os.path.exists('/dev/full'):
        pytest.skip('no /dev/full')
    with open('/dev/full', 'wb') as full:
        done = sluice('run', DEMO, PROMPT, '-n', '3', '--no-stats', stdout=full)
    assert done.returncode == 1
    assert done.stderr == b'sluice: cannot write to standard output: No space left on device\n'
    with open('/dev/full', 'wb') as full:
        assert sluice('info', DEMO, stdout=full).returncode == 1
    with open('/dev/full', 'wb') as full:
        assert sluice('run', DEMO, PROMPT, '-n', '3', '--json', stdout=full).returncode == 1
