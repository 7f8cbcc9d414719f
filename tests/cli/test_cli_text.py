"""sluice tokenize and sluice info: exact output."""
import json
import os

import pytest

from clitool import DEMO, good, refused, shared, sluice


def test_ids():
    assert good('tokenize', DEMO, stdin=b'Hello world') == '88 493 127 1563\n'
    assert good('tokenize', DEMO, stdin=b'') == '\n'
    assert good('tokenize', DEMO, '--json', stdin=b'Hello world') == (
        '{"ids": [88, 493, 127, 1563]}\n')


def test_special_tokens_only_where_asked():
    text = b'a<|im_end|>'
    plain = good('tokenize', DEMO, stdin=text).split()
    assert '7' not in plain and len(plain) > 2
    assert good('tokenize', DEMO, '--special', stdin=text) == '113 7\n'
    assert good('tokenize', DEMO, '--special', '--bos', stdin=text) == '1 113 7\n'
    assert good('tokenize', DEMO, '--special', '--pieces', stdin=text) == (
        "   113 -> 'a'\n     7 -> '<|im_end|>'\n")


def test_there_and_back():
    text = 'Zürich\r\n\t日本語 👩‍👩‍👧 \u200b  end \x00 nul'.encode() + b' \xff\xc3 bytes'
    ids = good('tokenize', DEMO, stdin=text)
    done = sluice('tokenize', DEMO, '--detokenize', stdin=ids.encode())
    assert (done.returncode, done.stdout) == (0, text)
    assert good('tokenize', DEMO, '--detokenize', stdin=b'88,493\n127') == 'Hello'
    assert good('tokenize', DEMO, '--detokenize', stdin=b'113 7') == 'a'
    assert good('tokenize', DEMO, '--detokenize', '--special', stdin=b'113 7') == 'a<|im_end|>'
    assert good('tokenize', DEMO, '--detokenize', '--json', stdin=b'88') == '{"text": "H"}\n'


def test_file(tmp_path):
    path = tmp_path / 'text'
    path.write_bytes(b'Hello world')
    assert good('tokenize', DEMO, '-f', path) == '88 493 127 1563\n'
    refused(1, 'No such file', 'tokenize', DEMO, '-f', tmp_path / 'none')
    refused(1, 'irectory', 'tokenize', DEMO, '-f', tmp_path)


@pytest.mark.parametrize('ids, word', [
    (b'', 'no token ids'), (b' ,\n', 'no token ids'), (b'1 x 2', '"x"'), (b'-1', '"-1"'),
    (b'4096', '4096'), (b'99999999999999999999', '999'), (b'1.5', '"1.5"'), (b'[1]', '"[1]"')])
def test_bad_ids(ids, word):
    refused(1, word, 'tokenize', DEMO, '--detokenize', stdin=ids)


def test_vectors():
    with open(shared('vectors', 'tokenizer.json'), encoding='utf-8') as file:
        cases = json.load(file)
    cases = cases if isinstance(cases, list) else cases['cases']
    for case in cases[::max(1, len(cases) // 25)]:
        text = case['text'].encode()
        assert json.loads(good('tokenize', DEMO, '--json', stdin=text))['ids'] == case['ids']
        assert json.loads(good('tokenize', DEMO, '--json', '--special', stdin=text))[
            'ids'] == case['ids_special']


def test_info_json():
    info = json.loads(good('info', DEMO, '--json', '-t', '1'))
    assert info['path'] == DEMO
    assert info['architecture'] == 'lfm2moe' and info['chat_template'] == 'lfm2'
    assert info['chat_template_known'] is True
    assert (info['layers'], info['attention_layers'], info['moe_layers']) == (6, 2, 4)
    assert (info['experts'], info['experts_used'], info['context']) == (16, 4, 2048)
    assert (info['vocabulary'], info['bos'], info['eos']) == (4096, 1, 7)
    assert info['file_bytes'] == os.path.getsize(DEMO)
    assert info['weight_bytes'] == sum(group['bytes'] for group in info['tensors'])
    assert 0 < info['token_bytes'] < info['weight_bytes']
    assert info['threads'] == 1 and len(info['thread_cpus']) == 1
    assert set(info['kernels']) == {'f32', 'q4_k', 'q6_k'}
    assert set(info['kernels']['q4_k']) == {'one_token', 'many_tokens'}
    assert info['kernels']['q4_k']['one_token'] == info['cpu']
    assert {'role': 'router', 'type': 'f32'}.items() <= next(
        g for g in info['tensors'] if g['role'] == 'router').items()
    assert info['metadata']['general.architecture'] == 'lfm2moe'
    assert info['metadata']['lfm2moe.attention.layer_norm_rms_epsilon'] == 1e-05
    assert info['metadata']['lfm2moe.attention.head_count_kv'] == [0, 0, 2, 0, 0, 2]
    assert info['metadata']['tokenizer.ggml.tokens'] == {'n_items': 4096, 'item_type': 'string'}


def test_info_text():
    text = good('info', DEMO)
    for line in ('layers        6: 2 attention, 4 convolution; 4 with 16 experts, 4 used',
                 'context       2048 tokens', 'chat          lfm2',
                 'lfm2moe.attention.head_count_kv = [0, 0, 2, 0, 0, 2] (6 x i32)'):
        assert line in text.splitlines()


def test_info_of_one_level():
    assert json.loads(good('info', DEMO, '--json', '--cpu', 'c'))['cpu'] == 'c'
