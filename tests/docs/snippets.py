"""The blocks of the documents that are no commands: settings of clients, and programs.

* json, yaml: read, and every address in them on this machine is asked for what it is there for.
* python: run against the running server, with tests/docs/standins in place of packages.
* javascript: its addresses are asked; ./dev test --clients runs it (docs.test.mjs).
* c: compiled; a whole program is one that has main, the rest are statements or declarations.
* text, ini: for people, or read by the tests of what they are about.
"""
import json
import os
import pathlib
import re
import subprocess
import sys
import urllib.error
import urllib.request

import yaml

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
ADDRESS = re.compile(r'http://127\.0\.0\.1:\d+(?:/[\w./-]*)?')
PRELUDE = '''
#include <sluice.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
extern struct sluice_model *model;
extern struct sluice_session *session;
extern struct sluice_sampler *sampler;
extern struct sluice_error error;
extern int seq, n_ids;
extern int32_t ids[], id;
extern const float *logits;
'''


def ask(address):
    """The server is there, and has this path."""
    if address.endswith('/v1'):
        address += '/models'
    body = b'{"messages":[{"role":"user","content":"hi"}],"max_tokens":1}'
    request = urllib.request.Request(address, body if address.endswith('/completions') else None,
                                     {'Content-Type': 'application/json'})
    with urllib.request.urlopen(request, timeout=60) as reply:
        assert reply.status == 200, address


def ask_all(block, sandbox):
    found = ADDRESS.findall(sandbox.adapt(block.text))
    for address in found:
        try:
            ask(address)
        except urllib.error.URLError as error:
            raise AssertionError(f'{block.document}:{block.line}: {address}: {error}') from error
    return len(found)


def run_python(block, sandbox):
    done = subprocess.run(
        [sys.executable, '-'], input=sandbox.adapt(block.text), text=True, capture_output=True,
        check=False, timeout=120, env={**os.environ, 'PYTHONPATH': str(HERE / 'standins')})
    assert done.returncode == 0 and done.stdout.strip(), (block.document, block.line, done.stderr)


def compile_c(block):
    text = block.text
    if not re.search(r'\bint main\(', text):
        assert not text.startswith('#include')
        text = f'{PRELUDE}\nvoid part(void);\nvoid part(void)\n{{\n{text}\n}}\n'
    done = subprocess.run(
        [os.environ.get('CC', 'cc'), '-xc', '-fsyntax-only', '-Wall', '-Wextra', '-Werror',
         '-Wno-unused-variable', '-Wno-unused-but-set-variable', '-I', str(ROOT / 'src'), '-'],
        input=text, text=True, capture_output=True, check=False)
    assert done.returncode == 0, (block.document, block.line, done.stderr)


def check(block, sandbox):
    """Returns what was done with it."""
    if block.language == 'json':
        json.loads(block.text)
        return f'read, {ask_all(block, sandbox)} addresses asked'
    if block.language == 'yaml':
        assert yaml.safe_load(block.text)
        return f'read, {ask_all(block, sandbox)} addresses asked'
    if block.language == 'python':
        run_python(block, sandbox)
        return 'ran'
    if block.language == 'javascript':
        assert ask_all(block, sandbox), (block.document, block.line)
        assert (ROOT / 'tests/server/clients/docs.test.mjs').exists()
        return 'left to ./dev test --clients, its addresses asked'
    if block.language == 'c':
        compile_c(block)
        return 'compiled'
    assert block.language in ('text', 'ini'), (block.document, block.line, block.language)
    return 'for people'
