"""sluice serve from outside: replies, company, cached beginnings, clients that go, the end."""
import http.client
import json
import os
import signal
import socket
import threading
import time

import pytest

from serveclient import chat_text, events, make_serve  # noqa: F401 (a fixture)

CHAT = '/v1/chat/completions'
VERSE = 'In the beginning God created the heaven and the earth. '


def chat(text, **more):
    return {'messages': [{'role': 'user', 'content': text}], 'seed': 7, 'max_tokens': 24, **more}


def said(reply):
    return reply['choices'][0]['message']['content']


def test_one_piece_and_stream_say_the_same(serve):
    server = serve()
    whole = server.good(CHAT, chat(VERSE))
    assert len(said(whole)) > 10
    assert whole['usage']['completion_tokens'] <= 24
    stream = server.good(CHAT, chat(VERSE, stream=True))
    assert stream.rstrip().endswith(b'data: [DONE]')
    assert chat_text(stream) == said(whole)
    again = server.good(CHAT, chat(VERSE, cache_prompt=False))
    assert said(again) == said(whole)
    assert again['usage']['prompt_tokens_details']['cached_tokens'] == 0
    assert said(server.good(CHAT, chat(VERSE, seed=8, temperature=1))) != said(whole)


def test_apis_answer(serve):
    server = serve()
    assert server.good('/health') == {'status': 'ok'}
    assert server.good('/v1/models')['data'][0]['id'] == 'demo'
    assert server.good('/v1/models/demo')['id'] == 'demo'
    assert server.good('/props')['total_slots'] == 4
    assert len(server.good('/slots')) == 4
    assert server.good('/tokenize', {'content': 'God'})['tokens']
    completion = server.good('/completion', {'prompt': VERSE, 'n_predict': 5, 'n_probs': 2})
    assert completion['tokens_predicted'] == 5
    seed = completion['generation_settings']['seed']  # was drawn, and can be asked for again
    again = server.good('/completion', {'prompt': VERSE, 'n_predict': 5, 'seed': seed})
    assert again['content'] == completion['content']
    assert again['generation_settings']['seed'] == seed > 0
    assert len(completion['completion_probabilities']) == 5
    message = server.good('/v1/messages', {'max_tokens': 5, 'model': 'demo', 'messages': [
        {'role': 'user', 'content': VERSE}]})
    assert message['stop_reason'] == 'max_tokens' and message['usage']['output_tokens'] == 5
    lines = server.good('/api/generate', {'model': 'demo', 'prompt': VERSE,
                                          'options': {'num_predict': 5}}).splitlines()
    assert json.loads(lines[-1])['eval_count'] == 5
    assert server.good('/v1/responses', {'model': 'demo', 'input': VERSE,
                                         'max_output_tokens': 5})['usage']['output_tokens'] == 5
    status, error = server.ask('/slots/0?action=save', {'filename': 'x'})
    assert status == 501 and error['error']['code'] == 501
    assert server.good('/slots/0?action=erase', {})['n_erased'] > 0


def test_errors_are_told(serve):
    server = serve('--ctx', 256)
    for body, word in ((b'{', '1'), (b'[]', 'object'), (b'{"messages": 3}', 'messages')):
        status, reply = server.ask(CHAT, body)
        assert status == 400 and word in reply['error']['message'], reply
    status, reply = server.ask(CHAT, chat(VERSE * 40))
    assert status == 400 and '256' in reply['error']['message'], reply
    assert reply['error']['n_ctx'] == 256 and reply['error']['n_prompt_tokens'] > 256
    status, reply = server.ask('/completion', {'prompt': [99999999]})
    assert status == 400, reply
    status, reply = server.ask('/completion', {'prompt': VERSE, 'grammar': 'root ::= ('})
    assert status == 400, reply
    assert server.ask('/nowhere')[0] == 404
    assert server.ask(CHAT, method='DELETE')[0] == 405
    full = server.good('/completion', {'prompt': VERSE, 'ignore_eos': True, 'n_predict': -1})
    assert full['stop_type'] == 'limit' and full['truncated']
    assert full['tokens_evaluated'] + full['tokens_predicted'] == 257


def test_stop_strings_and_grammar(serve):
    server = serve()
    text = said(server.good(CHAT, chat(VERSE, max_tokens=60)))
    word = text[len(text) // 2:len(text) // 2 + 4]
    cut = server.good(CHAT, chat(VERSE, max_tokens=60, stop=[word]))
    assert said(cut) == text[:text.index(word)]
    assert cut['choices'][0]['finish_reason'] == 'stop'
    for stream in (False, True):
        reply = server.good(CHAT, chat(VERSE, stream=stream, response_format={
            'type': 'json_schema', 'json_schema': {'name': 'x', 'schema': {
                'type': 'object', 'properties': {'verse': {'type': 'integer'}},
                'required': ['verse'], 'additionalProperties': False}}}, max_tokens=100))
        found = json.loads(chat_text(reply) if stream else said(reply))
        assert isinstance(found['verse'], int)


def test_calls_come_and_go_back(serve):
    server = serve()
    tool = {'type': 'function', 'function': {'name': 'look', 'parameters': {
        'type': 'object', 'properties': {'verse': {'enum': [1, 2, 3]}}, 'required': ['verse']}}}
    for stream in (False, True):
        body = chat(VERSE, tools=[tool], tool_choice='required', stream=stream,
                    parallel_tool_calls=False)
        reply = server.good(CHAT, body)
        if stream:
            deltas = [d for event in events(reply) for choice in event['choices']
                      for d in choice['delta'].get('tool_calls') or []]
            call = {'id': deltas[0]['id'], 'type': 'function', 'function': {
                'name': deltas[0]['function']['name'],
                'arguments': ''.join(d['function'].get('arguments', '') for d in deltas)}}
        else:
            assert reply['choices'][0]['finish_reason'] == 'tool_calls'
            call = reply['choices'][0]['message']['tool_calls'][0]
        assert call['function']['name'] == 'look'
        assert isinstance(json.loads(call['function']['arguments'])['verse'], int)
        back = [*body['messages'], {'role': 'assistant', 'content': None, 'tool_calls': [call]},
                {'role': 'tool', 'tool_call_id': call['id'], 'content': VERSE}]
        assert said(server.good(CHAT, {'messages': back, 'tools': [tool], 'max_tokens': 5}))


def cached(reply):
    return reply['usage']['prompt_tokens_details']['cached_tokens']


def test_beginnings_are_used_again(serve):
    server = serve()
    system = {'role': 'system', 'content': VERSE * 30}
    first = {'role': 'user', 'content': 'Who made the light? ' * 5}
    other = {'role': 'user', 'content': 'Where is the garden? ' * 5}

    def ask(*messages):
        return server.good(CHAT, {'messages': list(messages), 'seed': 1, 'max_tokens': 16})
    begun = ask(system, first)
    assert cached(begun) == 0
    n_system = server.good('/apply-template', {'messages': [system]})['prompt']
    n_system = len(server.good('/tokenize', {'content': n_system.split('<|im_end|>')[0]})['tokens'])
    assert n_system > 250
    # a new chat of the same system's
    assert cached(ask(system, other)) >= n_system
    # back to the first, which goes on
    answer = {'role': 'assistant', 'content': said(begun)}
    longer = ask(system, first, answer, other)
    assert cached(longer) >= begun['usage']['prompt_tokens']
    # its last message is changed
    edited = ask(system, first, answer, {'role': 'user', 'content': 'Speak of the sea.'})
    assert cached(edited) >= begun['usage']['prompt_tokens']
    # the very first again: all but the token whose logits are needed
    again = ask(system, first)
    assert cached(again) == begun['usage']['prompt_tokens'] - 1
    assert said(again) == said(begun)


def mixed_requests():
    """With the tokens of their replies and what was likely in their place."""
    probs = {CHAT: {'logprobs': True, 'top_logprobs': 2},
             '/completion': {'n_probs': 3, 'return_tokens': True}}
    return [(path, {**body, **probs[path]}) for path, body in [
        (CHAT, chat(VERSE, max_tokens=60)),
        (CHAT, chat(VERSE * 30, max_tokens=20)),
        ('/completion', {'prompt': VERSE * 15, 'n_predict': 50, 'seed': 3}),
        (CHAT, chat('Who art thou?', temperature=1.5, max_tokens=80)),
        ('/completion', {'prompt': 'And God said', 'n_predict': 90, 'seed': 4}),
        (CHAT, chat(VERSE * 8, max_tokens=50, repeat_penalty=1.3)),
        ('/completion', {'prompt': VERSE * 3, 'n_predict': 40, 'seed': 5, 'cache_prompt': False}),
        (CHAT, chat('Sing.', max_tokens=40, logit_bias={'60': -5})),
    ]]


def reply_of(path, reply):
    if path == CHAT:
        return (said(reply), reply['choices'][0]['finish_reason'],
                reply['usage']['completion_tokens'], reply['choices'][0]['logprobs']['content'])
    assert len(reply['tokens']) == len(reply['completion_probabilities']) > 0
    return (reply['content'], reply['stop_type'], reply['tokens_predicted'], reply['tokens'],
            reply['completion_probabilities'])


@pytest.mark.parametrize('args', [('--parallel', 8), ('--parallel', 3, '--chunk', 32),
                                  ('--parallel', 8, '--ctx', 1024, '--max-step-ms', 1),
                                  ('--parallel', 8, '--residency', 'stream', '--ram', 'min')])
def test_replies_do_not_depend_on_company(serve, args):
    alone = serve('--parallel', 1)
    want = [reply_of(path, alone.good(path, body)) for path, body in mixed_requests()]
    server = serve(*args)
    got = {}
    times = 1 if 'stream' in args else 3  # experts that are read for every step take long

    def ask(i, path, body):
        for again in range(times):
            got[i, again] = reply_of(path, server.good(path, body))
    threads = [threading.Thread(target=ask, args=(i, path, body))
               for i, (path, body) in enumerate(mixed_requests())]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i, wanted in enumerate(want):
        assert [got.get((i, again)) for again in range(times)] == [wanted] * times, i
    server.until('free again', lambda: server.busy() == 0)
    assert server.metric('sluice_requests_failed_total') == 0


def test_clients_that_go_free_their_slots(serve):
    server = serve('--parallel', 2, '--chunk', 2)
    long = {'prompt': VERSE * 60, 'n_predict': -1, 'ignore_eos': True, 'cache_prompt': False}
    short = {**long, 'prompt': VERSE}
    for n, (body, stream) in enumerate([(long, False), (long, True), (short, False),
                                        (short, True)], 1):
        gone = server.begin('/completion', {**body, 'stream': stream})
        waits = [server.begin('/completion', body) for _ in range(3)]
        server.until('busy', lambda: server.busy() == 2)
        if stream and body is short:
            gone.getresponse().read(100)  # it decodes
        gone.close()
        for connection in waits:  # one runs, two wait for a slot
            connection.close()
        server.until('free again', lambda: server.busy() == 0)
        server.until('nobody waits', lambda: server.metric('llamacpp:requests_deferred') == 0)
        assert server.metric('llamacpp:requests_processing') == 0
    assert server.metric('sluice_requests_cancelled_total') > 8
    assert said(server.good(CHAT, chat(VERSE)))


@pytest.mark.skipif(os.environ.get('SL_SANITIZE', 'none') != 'none',
                    reason="a sanitizer's malloc keeps what it has")
def test_large_bodies_leave_no_memory(serve):
    """Neither those of many messages, nor trees of many small values, which are refused."""
    server = serve('--ctx', 2048)
    assert said(server.good(CHAT, chat(VERSE)))
    before = server.anonymous_kib()
    for _ in range(2):
        status, reply = server.ask(CHAT, {'messages': chat(VERSE * 2)['messages'] * 35000})
        assert status == 400 and 'exceeds the available context' in reply['error']['message']
        for text in ('[' + '[],' * 1000000 + '1]', '{' + '"a":1,' * 1000000 + '"b":1}'):
            status, reply = server.ask('/completion', f'{{"prompt":{text}}}'.encode())
            assert status == 400 and 'more than 262144 values' in reply['error']['message']
    server.until('small again', lambda: server.anonymous_kib() - before < 8192)


def test_many_connections(serve):
    """64 connections for some seconds, and what /health takes meanwhile."""
    server = serve('--parallel', 8)
    until = time.monotonic() + 4
    faults, counts, health = [], [], []

    def work(i):
        connection = server.connect()
        n = 0
        while time.monotonic() < until:
            try:
                if i % 8 == 0:
                    stream = server.good(CHAT, chat(f'{i} {n}', max_tokens=5, stream=True),
                                         connection=connection)
                    assert events(stream)
                else:
                    assert said(server.good(CHAT, chat(f'{i} {n}', max_tokens=5),
                                            connection=connection)) is not None
                n += 1
            except (OSError, AssertionError, http.client.HTTPException) as fault:
                faults.append(repr(fault))
                break
        counts.append(n)
        connection.close()

    def watch():
        connection = server.connect()
        while time.monotonic() < until:
            start = time.monotonic()
            server.good('/health', connection=connection)
            health.append(time.monotonic() - start)
            time.sleep(0.01)
        connection.close()
    threads = [threading.Thread(target=work, args=(i,)) for i in range(63)]
    threads.append(threading.Thread(target=watch))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    health.sort()
    print(f'{sum(counts)} replies, /health p50 {health[len(health) // 2] * 1e3:.1f} ms, '
          f'p99 {health[len(health) * 99 // 100] * 1e3:.1f} ms of {len(health)}')
    assert not faults and min(counts) > 0
    # clients and server share the machine: this only tells a loop that waits for steps
    assert health[len(health) // 2] < 0.25
    server.until('free again', lambda: server.busy() == 0)


def test_the_queue_has_an_end(serve):
    server = serve('--parallel', 1, '--queue', 1)
    endless = {'prompt': VERSE, 'n_predict': -1, 'ignore_eos': True}
    runs = server.begin('/completion', endless)
    server.until('runs', lambda: server.busy() == 1)
    waits = server.begin('/completion', endless)
    server.until('waits', lambda: server.metric('llamacpp:requests_deferred') == 1)
    refused = server.begin('/completion', endless)
    reply = refused.getresponse()
    assert reply.status == 503 and int(reply.headers['Retry-After']) > 0
    assert 'busy' in json.loads(reply.read())['error']['message']
    for connection in (runs, waits, refused):
        connection.close()


def test_the_end_lets_replies_end(serve):
    server = serve()
    body = chat(VERSE, max_tokens=300, stream=True, ignore_eos=True)
    want = chat_text(server.good(CHAT, body))
    runs = server.begin(CHAT, body)
    reply = runs.getresponse()
    begun = reply.read(300)
    server.process.send_signal(signal.SIGTERM)
    assert chat_text(begun + reply.read()) == want
    assert server.stop() == ''


def test_a_second_signal_ends_at_once(serve):
    server = serve('--drain', 100)
    runs = server.begin('/completion', {'prompt': VERSE, 'n_predict': -1, 'ignore_eos': True,
                                        'stream': True})
    reply = runs.getresponse()
    reply.read(100)
    server.process.send_signal(signal.SIGTERM)

    def refuses():
        with socket.socket() as probe:
            return probe.connect_ex(('127.0.0.1', server.port)) != 0
    # a listener that is paused still has a queue: the signal is known to be taken only by waiting
    server.until('ends', lambda: server.process.poll() is not None or
                 server.process.send_signal(signal.SIGTERM) is not None or refuses())
    assert 'cut off' in server.stop(1)


def test_keys_and_unix_sockets(serve, tmp_path):
    keys = tmp_path / 'keys'
    keys.write_text('one\ntwo\n')
    keys.chmod(0o600)
    server = serve('--api-key-file', keys, unix=str(tmp_path / 'socket'))
    assert server.good('/health') == {'status': 'ok'}
    assert server.ask(CHAT, chat(VERSE))[0] == 401
    assert server.ask(CHAT, chat(VERSE), headers={'Authorization': 'Bearer three'})[0] == 401
    reply = server.good(CHAT, chat(VERSE), headers={'Authorization': 'Bearer two'})
    assert said(reply)
    server.stop()
    assert not os.path.exists(server.unix)


def test_systemd_is_told(serve, tmp_path):
    path = str(tmp_path / 'notify')
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(path)
        notify.settimeout(20)
        server = serve(env={'NOTIFY_SOCKET': path})
        assert notify.recv(100) == b'READY=1'
        server.stop()
        assert notify.recv(100) == b'STOPPING=1'
