"""A hub of models on this machine, as Hugging Face's: the API, and files on a second server to
which it redirects. Both can be made to fail in every way that servers fail.

    hub = Hub()
    hub.add('user/repo', {'a-Q4_K_M.gguf': data})
    hub.fault = lambda request: {'status': 503, 'headers': {'Retry-After': '1'}}
    hub.log                  the requests so far

A fault is None or a dict: status (and headers, text), or of answers with data: drop=N (the
connection ends after N bytes), stall=N (nothing more comes after N bytes), more=N (N bytes
more than asked for), whole (ranges are ignored), shift=N (the range begins N bytes later),
length=N (Content-Length says N more than there is), total=N (Content-Range likewise), flip=N
(one byte, of the file, is another one), tag=TEXT (the ETag), encoding, close (no length).
"""
import functools
import hashlib
import http.server
import json
import re
import socket
import threading
import time
import urllib.parse

COMMIT = '0123456789abcdef0123456789abcdef01234567'
PIECE = 16384


@functools.lru_cache(maxsize=64)
def digest(data):
    return hashlib.sha256(data).hexdigest()


class Request:
    def __init__(self, handler):
        self.host = handler.server.hub_name  # 'hub' or 'store'
        self.path = urllib.parse.unquote(handler.path.split('?')[0])
        self.target = handler.path
        self.headers = dict(handler.headers)
        found = re.fullmatch(r'bytes=(\d+)-(\d+)', handler.headers.get('Range', ''))
        self.range = (int(found[1]), int(found[2])) if found else None
        self.status = None
        self.sent = 0

    @property
    def is_data(self):
        return self.host == 'store'

    def __repr__(self):
        return f'{self.host} {self.path} {self.range} {self.status} {self.sent}'


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    timeout = 30
    disable_nagle_algorithm = True

    def log_message(self, *args):
        pass

    def do_GET(self):
        hub = self.server.hub
        if self.path.startswith('http://'):  # as to a proxy
            self.path = '/' + self.path.split('/', 3)[3]
            hub.n_proxied += 1
        request = Request(self)
        with hub.lock:
            hub.log.append(request)
        fault = (hub.fault and hub.fault(request)) or {}
        self.request_seen = request
        try:
            if 'status' in fault:
                self.answer(fault['status'], fault.get('text', 'no').encode(),
                            fault.get('headers', {}))
            elif self.server.hub_name == 'hub':
                self.serve_hub(hub, request, fault)
            else:
                self.serve_data(hub, request, fault)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def answer(self, status, body, headers):
        self.request_seen.status = status
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def serve_hub(self, hub, request, fault):
        found = re.fullmatch(r'/api/models/([^/]+/[^/]+)/revision/(.+)', request.path)
        if found and found[1] in hub.repos:
            return self.answer(200, hub.listing(found[1]), {'Content-Type': 'application/json'})
        found = re.fullmatch(r'/([^/]+/[^/]+)/resolve/([0-9a-f]+)/(.+)', request.path)
        if found and found[3] in hub.repos.get(found[1], {}):
            data = hub.repos[found[1]][found[3]]
            headers = {'X-Linked-Etag': f'"{fault.get("linked_tag", digest(data))}"',
                       'X-Linked-Size': str(fault.get('linked_size', len(data)))}
            if hub.is_direct:
                return self.serve_data(hub, request, fault)
            headers['Location'] = hub.store_url + urllib.parse.quote(request.path)
            return self.answer(302, b'Found', headers)
        return self.answer(404, b'{"error":"Repository not found"}',
                           {'X-Error-Message': 'Repository not found'})

    def serve_data(self, hub, request, fault):
        found = re.fullmatch(r'/([^/]+/[^/]+)/resolve/([0-9a-f]+)/(.+)', request.path)
        data = hub.repos[found[1]][found[3]]
        if 'flip' in fault:
            data = data[:fault['flip']] + bytes([data[fault['flip']] ^ 1]) + \
                data[fault['flip'] + 1:]
        first, last = request.range or (0, len(data) - 1)
        last = min(last, len(data) - 1)
        status = 206 if request.range and not fault.get('whole') else 200
        if status == 200:
            first, last = 0, len(data) - 1
        first += fault.get('shift', 0)
        body = data[first:last + 1]
        request.status = status
        self.send_response(status)
        if status == 206:
            total = len(data) + fault.get('total', 0)
            self.send_header('Content-Range', f'bytes {first}-{last}/{total}')
        if 'tag' in fault:
            self.send_header('ETag', f'"{fault["tag"]}"')
        if 'encoding' in fault:
            self.send_header('Content-Encoding', fault['encoding'])
        if 'more' in fault or 'close' in fault:
            self.send_header('Connection', 'close')
            self.close_connection = True
            body += b'x' * fault.get('more', 0)
        else:
            self.send_header('Content-Length', str(len(body) + fault.get('length', 0)))
        self.end_headers()
        self.send_pieces(hub, request, body, fault)
        if 'length' in fault:
            self.hang_up()

    def send_pieces(self, hub, request, body, fault):
        end = min(fault.get('drop', len(body)), fault.get('stall', len(body)))
        for at in range(0, end, PIECE):
            piece = body[at:min(at + PIECE, end)]
            self.wfile.write(piece)
            request.sent += len(piece)
            if hub.pause_s:
                time.sleep(hub.pause_s)
        if 'drop' in fault and fault['drop'] < len(body):
            self.hang_up()
        if 'stall' in fault and fault['stall'] < len(body):
            hub.stalled.set()
            hub.is_over.wait(20)
            self.hang_up()

    def hang_up(self):
        self.close_connection = True
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request, client_address):
        pass  # clients that are killed


class Hub:
    def __init__(self):
        self.repos = {}
        self.commits = {}
        self.extra = {}      # entries of listings that are no files
        self.log = []
        self.lock = threading.Lock()
        self.fault = None
        self.pause_s = 0     # after each piece that is sent
        self.is_direct = False
        self.n_proxied = 0
        self.stalled = threading.Event()
        self.is_over = threading.Event()
        self.servers = []
        for name in ('hub', 'store'):
            server = Server(('127.0.0.1', 0), Handler)
            server.hub, server.hub_name = self, name
            threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
            self.servers.append(server)
        self.url, self.store_url = (f'http://127.0.0.1:{s.server_address[1]}'
                                    for s in self.servers)

    def add(self, repo, files, commit=COMMIT):
        self.repos[repo] = files
        self.commits[repo] = commit

    def listing(self, repo):
        files = [{'rfilename': path, 'size': len(data), 'blobId': '0' * 40,
                  'lfs': {'sha256': digest(data), 'size': len(data), 'pointerSize': 135}}
                 for path, data in self.repos[repo].items()]
        files += [{'rfilename': 'README.md', 'size': 10, 'blobId': '1' * 40}]
        return json.dumps({'id': repo, 'sha': self.commits[repo],
                           'siblings': files + self.extra.get(repo, [])}).encode()

    def data_requests(self):
        with self.lock:
            return [r for r in self.log if r.is_data]

    def close(self):
        self.is_over.set()
        for server in self.servers:
            server.shutdown()
            server.server_close()
