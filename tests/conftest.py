"""Shared by all tests: a local file server that fails as told."""

import threading
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


def pytest_addoption(parser):
    parser.addoption("--fuzz", type=int, default=200, help="how often tests/fuzz damages something")
    parser.addoption("--device", default="cuda", help="cpu: also tests/gpu without one")


class FileServer(ThreadingHTTPServer):
    """Serves ``files`` (bytes by path) over HTTP, with ranges, and records the requests.

    Each request takes the next of ``faults``, as long as there are any:

    - a number: the connection is cut after so many bytes of the body;
    - ``"HTTP 500"`` and the like: that answer;
    - ``"no ranges"``: the whole file, whatever was asked for;
    - ``"elsewhere"``: a range that begins one byte too early;
    - ``"flipped"``: the last byte has one bit changed;
    - ``"no length"``: the body ends where the connection does.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = {}
        self.faults = deque()
        self.requests = []  # (path, Range or None)
        self.sent = 0  # bytes of bodies
        self.etag = '"1"'
        self.extra_headers = {}
        self.gate = threading.Event()  # a body cut short stays open until it is set
        self.gate.set()

    def address(self, path=""):
        return f"http://127.0.0.1:{self.server_port}/{path}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        server = self.server
        fault = server.faults.popleft() if server.faults else None
        wanted = self.headers["Range"]
        server.requests.append((self.path, wanted))
        if isinstance(fault, str) and fault.startswith("HTTP"):
            self.send_error(int(fault.split()[1]))
            return
        content = server.files.get(self.path)
        if content is None:
            self.send_error(404)
            return
        if fault == "flipped":
            content = content[:-1] + bytes([content[-1] ^ 4])
        first = 0
        current = self.headers["If-Range"] in (None, server.etag)
        if wanted and current and fault != "no ranges":
            first = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if first >= len(content):
                self.send_error(416)
                return
            first -= fault == "elsewhere"
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        body = content[first:]
        if fault != "no length":
            self.send_header("Content-Length", str(len(body)))
        for name, value in {"ETag": server.etag, **server.extra_headers}.items():
            self.send_header(name, value)
        self.end_headers()
        sent = body[:fault] if isinstance(fault, int) else body
        self.wfile.write(sent)
        self.wfile.flush()
        server.sent += len(sent)
        if sent is not body and len(sent) < len(body):
            server.gate.wait()
        self.close_connection = fault == "no length" or len(sent) < len(body)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def file_server():
    server = FileServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server
    server.gate.set()
    server.shutdown()
    thread.join()
    server.server_close()
