"""What /health takes: probe.py PORT. Asks every 10 ms until its input ends, then prints ms."""
import select
import socket
import sys
import time

REQUEST = b'GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n'


def main():
    times = []
    with socket.create_connection(('127.0.0.1', int(sys.argv[1])), 60) as probe:
        probe.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while not select.select([sys.stdin], [], [], 0.01)[0]:
            start = time.perf_counter()
            probe.sendall(REQUEST)
            reply = b''
            while not reply.endswith(b'{"status":"ok"}'):
                more = probe.recv(4096)
                if not more:
                    sys.exit(f'the connection was closed: {reply}')
                reply += more
            times.append((time.perf_counter() - start) * 1e3)
    print(*(f'{one:.3f}' for one in times))


main()
