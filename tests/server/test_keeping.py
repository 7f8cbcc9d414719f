"""What a server keeps between requests: memory for experts, while somebody may come."""
from serveclient import make_serve  # noqa: F401 (a fixture)

CHAT = '/v1/chat/completions'
BODY = {'messages': [{'role': 'user', 'content': 'Who made the light?'}], 'seed': 3,
        'max_tokens': 40}


def cache_bytes(server):
    return server.metric('sluice_expert_cache_bytes')


def is_asleep(server):
    return server.good('/props')['is_sleeping']


def said(reply):
    return reply['choices'][0]['message']['content']


def test_memory_of_experts_is_given_back_and_comes_again(serve):
    server = serve('--residency', 'stream', '--idle', 1)
    want = said(server.good(CHAT, BODY))
    most = cache_bytes(server)
    assert not is_asleep(server)
    server.until('bound to sleep',
                 lambda: server.good('/api/ps')['models'][0]['expires_at'] < '2200')
    server.until('asleep', lambda: is_asleep(server))
    least = cache_bytes(server)
    assert least < most / 2
    for again in range(2):
        assert said(server.good(CHAT, {**BODY, 'cache_prompt': bool(again)})) == want
        assert cache_bytes(server) > least
    server.until('asleep again', lambda: is_asleep(server))
    assert cache_bytes(server) == least


def test_a_request_can_have_it_given_back_at_once(serve):
    server = serve('--residency', 'stream')
    body = {'model': server.good('/api/tags')['models'][0]['name'],
            'messages': BODY['messages'], 'stream': False, 'options': {'num_predict': 5}}
    server.good('/api/chat', body)
    most = cache_bytes(server)
    assert not is_asleep(server)
    # with its reply, and then without any
    for request in ({**body, 'keep_alive': 0},
                    {'model': body['model'], 'keep_alive': 0, 'messages': [], 'stream': False}):
        reply = server.good('/api/chat', request)
        assert reply['done_reason'] == ('length' if request['messages'] else 'unload')
        server.until('asleep', lambda: is_asleep(server))
        assert cache_bytes(server) < most / 2
        server.good('/api/chat', body)
        assert not is_asleep(server)


def test_resident_experts_stay(serve):
    server = serve('--idle', 1)
    body = {'model': server.good('/api/tags')['models'][0]['name'], 'keep_alive': 0,
            'messages': BODY['messages'], 'stream': False, 'options': {'num_predict': 5}}
    assert server.good('/api/chat', body)['done']
    assert not is_asleep(server)
    assert server.good('/api/ps')['models'][0]['expires_at'] > '2200'


PROMPT = {'prompt': 'In the beginning God created the heaven and the earth. ' * 40,
          'n_predict': 12, 'seed': 5}


def act(server, slot, action, name=None):
    return server.ask(f'/slots/{slot}?action={action}', {'filename': name} if name else {})


def test_slots_survive_the_server(serve, tmp_path):
    for residency in ('resident', 'stream'):  # each takes what the other saved
        first = serve('--slot-save-path', tmp_path, '--residency', residency)
        want = first.good('/completion', {**PROMPT, 'id_slot': 1})
        status, saved = act(first, 1, 'save', 'a.bin')
        assert status == 200 and list(saved) == ['id_slot', 'filename', 'n_saved', 'n_written',
                                                 'timings']
        assert saved['n_saved'] == want['tokens_evaluated'] + want['tokens_predicted'] - 1
        assert saved['n_written'] == (tmp_path / 'a.bin').stat().st_size
        assert (saved['id_slot'], saved['filename']) == (1, 'a.bin')
        assert saved['timings']['save_ms'] > 0
        assert act(first, 1, 'erase')[1]['n_erased'] == saved['n_saved']
        assert act(first, 1, 'save', 'a.bin')[0] == 400
        first.stop()
        assert [file.name for file in tmp_path.iterdir()] == ['a.bin']

        second = serve('--slot-save-path', tmp_path, '--residency',
                       'stream' if residency == 'resident' else 'resident')
        status, restored = act(second, 0, 'restore', 'a.bin')
        assert status == 200 and list(restored) == ['id_slot', 'filename', 'n_restored', 'n_read',
                                                    'timings']
        assert restored['n_restored'] == saved['n_saved']
        assert restored['n_read'] == saved['n_written']
        again = second.good('/completion', PROMPT)
        assert again['content'] == want['content']
        assert again['timings']['cache_n'] == want['tokens_evaluated'] - 1
        assert act(second, 0, 'erase')[1]['n_erased'] == saved['n_saved']
        second.stop()


def refused(reply, status, word):
    assert reply[0] == status, reply
    assert word in reply[1]['error']['message'], reply
    return reply[1]['error']['message']


def test_files_of_slots_that_are_refused(serve, tmp_path):
    folder = tmp_path / 'slots'
    folder.mkdir()
    server = serve('--slot-save-path', folder, '--ctx', 1024)
    refused(act(server, 0, 'save', 'a.bin'), 400, 'nothing to save')
    server.good('/completion', {**PROMPT, 'id_slot': 0})
    for name in ('../a', '/etc/passwd', '.', '..', '.a', 'a/b', 'a\\b', 'a b', 'a\n', 'ä',
                 'a' * 256):
        for action in ('save', 'restore'):
            refused(act(server, 0, action, name), 400, 'filename')
    assert not list(folder.iterdir()) and [file.name for file in tmp_path.iterdir()] == ['slots']
    assert act(server, 0, 'save', 'a' * 255)[0] in (200, 500)  # with a longer one aside
    assert act(server, 0, 'save', 'good')[0] == 200
    refused(act(server, 0, 'restore', 'missing'), 400, 'missing')
    (folder / 'link').symlink_to(folder / 'good')
    (folder / 'folder').mkdir()
    for name in ('link', 'folder'):
        for action in ('save', 'restore'):
            refused(act(server, 0, action, name), 400, 'no regular file')
    good = (folder / 'good').read_bytes()
    (folder / 'short').write_bytes(good[:-1])
    (folder / 'foreign').write_bytes(b'GGUF' + bytes(100))
    text = refused(act(server, 0, 'restore', 'short'), 400, 'damaged')
    assert text.startswith('short: ') and str(folder) not in text
    refused(act(server, 0, 'restore', 'foreign'), 400, 'no saved sequence')
    server.stop()
    small = serve('--slot-save-path', folder, '--ctx', 256)
    refused(act(small, 0, 'restore', 'good'), 400, 'the context has room for 256')
    small.stop()
    other = serve('--slot-save-path', folder, '--kv', 'f32')
    refused(act(other, 0, 'restore', 'good'), 400, 'KV cache')
    other.stop()
    none = serve()
    refused(act(none, 0, 'restore', 'good'), 501, '--slot-save-path')


def test_a_slot_that_runs_is_not_saved(serve, tmp_path):
    server = serve('--slot-save-path', tmp_path, '--parallel', 1)
    runs = server.begin('/completion', {**PROMPT, 'n_predict': -1, 'ignore_eos': True})
    server.until('busy', lambda: server.busy() == 1)
    refused(act(server, 0, 'save', 'a.bin'), 503, 'busy')
    runs.close()
    server.until('free', lambda: server.busy() == 0)
    assert act(server, 0, 'save', 'a.bin')[0] == 200
