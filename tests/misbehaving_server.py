"""A small local web server that serves files well or in one of the ways the world has of not doing so."""

import socket
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class MisbehavingServer(ThreadingHTTPServer):
    """Serves `/<behaviour>/<name>`, e.g. `/truncated/spam.csv`, and remembers the paths it was asked for.

    Behaviours: good, unsized (no Content-Length), truncated, stall (half, then silence), drip (a byte every 50 ms, for
    ever), drip_headers, endless, missing (404), html, wrong, reset, loop (redirects to itself), hop (to good).
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, files: dict[str, bytes]):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files, self.requests, self.stopped = files, [], threading.Event()

    def __enter__(self):
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *exception):
        self.stopped.set()
        self.shutdown()
        self.server_close()

    def url(self, behaviour: str, name: str = "spam.csv") -> str:
        return f"http://127.0.0.1:{self.server_port}/{behaviour}/{name}"

    def handle_error(self, request, client_address):
        """Nothing: clients that give up are what this server is for."""


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests.append(self.path)
        _, behaviour, name = self.path.split("/")
        getattr(self, behaviour)(self.server.files.get(name, b""))

    def log_message(self, *message):
        """Nothing, stderr is under test."""

    def _answer(self, data: bytes, status: int = 200, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(data)

    def good(self, data):
        self._answer(data, Content_Length=len(data))

    def unsized(self, data):
        self._answer(data)

    def truncated(self, data):
        self._answer(data[: len(data) // 2], Content_Length=len(data))

    def stall(self, data):
        self.truncated(data)
        self.server.stopped.wait()

    def drip(self, data):
        self._answer(b"", Content_Length=10**9)
        self._drip()

    def drip_headers(self, data):
        self.wfile.write(b"HTTP/1.0 200 OK\r\nX-Slow: ")
        self._drip()

    def _drip(self):
        while not self.server.stopped.wait(0.05):
            self.wfile.write(b"x")

    def endless(self, data):
        self._answer(b"")
        while not self.server.stopped.is_set():
            self.wfile.write(bytes(10_000))

    def missing(self, data):
        self._answer(b"nothing here", 404)

    def html(self, data):
        self._answer(b"<!DOCTYPE html><html><body>Please sign in</body></html>", Content_Type="text/html")

    def wrong(self, data):
        self._answer(b"?" + data[1:], Content_Length=len(data))

    def reset(self, data):
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.rfile.close()
        self.connection.close()

    def loop(self, data):
        self._answer(b"", 302, Location=self.path)

    def hop(self, data):
        self._answer(b"", 302, Location=self.path.replace("/hop/", "/good/"))
