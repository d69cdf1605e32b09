"""Addresses on a server of this machine that does all that servers do wrong."""

import socketserver
import threading
import time

import pytest

from mlic import downloads
from mlic.image_reader import ImageReadError, read_image

OK = b'HTTP/1.1 200 OK\r\n'
BODY = bytes(range(256)) * 20


def drip(write, content):
    """A byte now and then, without an end: no single wait is long."""
    while True:
        write(content)
        time.sleep(0.05)


def chunked(*sizes):
    parts = b''.join(b'%x\r\n%s\r\n' % (size, bytes(size)) for size in sizes)
    return OK + b'Transfer-Encoding: chunked\r\n\r\n' + parts


ANSWERS = {
    '/whole': OK + b'Content-Length: %d\r\n\r\n' % len(BODY) + BODY,
    '/until-closed': OK + b'\r\n' + BODY,
    '/chunks': chunked(700, 20, 0),
    '/a%20b%C3%A9.jpg': OK + b'\r\n' + BODY,
    '/moved': b'HTTP/1.1 302 Found\r\nLocation: /whole\r\n\r\n',
    '/cut': OK + b'Content-Length: 9000\r\n\r\n' + BODY,
    '/chunks-cut': chunked(700, 20)[:-15],
    '/no-status': b'nonsense\r\n\r\n',
    '/nothing': b'',
    '/missing': b'HTTP/1.1 404 Not Found\r\n\r\n',
    '/broken': b'HTTP/1.1 500 Oh\r\n\r\n',
    '/to-file': b'HTTP/1.1 302 Found\r\nLocation: file:///etc/hostname\r\n\r\n',
    '/to-ftp': b'HTTP/1.1 302 Found\r\nLocation: ftp://127.0.0.1/a.jpg\r\n\r\n',
    '/circle': b'HTTP/1.1 302 Found\r\nLocation: /circle\r\n\r\n',
    '/long': OK + b'Content-Length: 1000000000000\r\n\r\n',
    '/headers': OK + b''.join(b'X-%d: y\r\n' % k for k in range(1000)) + b'\r\n',
}


class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        path = self.rfile.readline().split()[1].decode()
        while self.rfile.readline().strip():
            pass
        try:
            if path == '/silent':
                time.sleep(2)
            elif path == '/slow-headers':
                self.wfile.write(OK + b'X: ')
                drip(self.wfile.write, b'y')
            elif path == '/slow-body':
                self.wfile.write(OK + b'\r\n')
                drip(self.wfile.write, b'y')
            elif path == '/endless':
                self.wfile.write(OK + b'\r\n')
                while True:
                    self.wfile.write(bytes(100_000))
            else:
                self.wfile.write(ANSWERS[path])
        except OSError:  # the other end has had enough
            return


@pytest.fixture(scope='module')
def server():
    with socketserver.ThreadingTCPServer(('127.0.0.1', 0), Handler) as server:
        server.daemon_threads, server.block_on_close = True, False
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f'http://127.0.0.1:{server.server_address[1]}'
        server.shutdown()


@pytest.fixture(autouse=True)
def short_limits(monkeypatch):
    monkeypatch.setattr(downloads, 'MAX_SILENCE', 0.5)
    monkeypatch.setattr(downloads, 'MAX_SECONDS', 1.0)
    monkeypatch.setattr(downloads, 'MAX_BYTES', 1_000_000)


@pytest.mark.parametrize(
    'path, expected',
    [
        ('/whole', BODY),
        ('/until-closed', BODY),
        ('/moved', BODY),
        ('/whole#part', BODY),
        ('/a bé.jpg', BODY),
        ('/a%20b%C3%A9.jpg', BODY),
        ('/chunks', bytes(720)),
    ],
)
def test_what_a_server_sends_is_read_whole(server, path, expected):
    assert downloads.download(server + path) == expected


@pytest.mark.parametrize(
    'path, message',
    [
        ('/cut', r'cut off after 5120 of 9000 bytes'),
        ('/chunks-cut', 'IncompleteRead'),
        ('/no-status', 'BadStatusLine nonsense'),
        ('/nothing', 'closed connection'),
        ('/missing', 'HTTP Error 404'),
        ('/broken', 'HTTP Error 500'),
        ('/to-file', 'not allowed'),
        ('/to-ftp', 'unknown url type: ftp'),
        ('/circle', 'infinite loop'),
        ('/long', 'more than the 1000000 that are read'),
        ('/endless', 'more than the 1000000 bytes that are read'),
        ('/headers', 'more than 100 headers'),
        ('/silent', 'timed out'),
        ('/slow-headers', 'it did not all arrive in time'),
        ('/slow-body', 'it did not all arrive in time'),
    ],
)
def test_what_goes_wrong_at_a_server_is_a_fault_of_that_image(server, path, message):
    started = time.monotonic()
    with pytest.raises(ImageReadError, match=f'^{server}{path}: cannot be opened .*{message}') as e:
        read_image(server + path)
    assert '\n' not in str(e.value)
    assert time.monotonic() - started < 5
