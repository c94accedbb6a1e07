"""A small local web server that serves files well or in one of the ways the world has of not doing so."""

import gzip
import socket
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class MisbehavingServer(ThreadingHTTPServer):
    """Serves `/<behaviour>/<name>`, e.g. `/truncated/spam.csv`, and remembers the paths it was asked for.

    Behaviours: good, unsized (no Content-Length), truncated, stall (half, then silence), slow, drip (a byte every 50 ms, for
    ever), drip_headers, silent, endless, endless_chunk, endless_headers, endless_continue, understated (a Content-Length
    of half), overstated, negative_length, no_length (letters), bad_chunk, bomb (packed zeros in transit), garbage (not
    HTTP), missing (404), broken (500), nothing (204), html, wrong, reset, reset_midway, loop (redirects to itself), hop (to
    good), hop_to_file, hop_to_nowhere, endless_hop (a redirect whose own page never ends).
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

    def slow(self, data):
        self._answer(b"", Content_Length=len(data))
        for start in range(0, len(data), 2048):
            self.wfile.write(data[start : start + 2048])
            self.server.stopped.wait(0.05)

    def silent(self, data):
        self.server.stopped.wait()

    def endless(self, data):
        self._answer(b"")
        self._pour(bytes(10_000))

    def endless_chunk(self, data):
        self.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffff\r\n")
        self._pour(bytes(10_000))

    def endless_headers(self, data):
        self.wfile.write(b"HTTP/1.0 200 OK\r\n")
        self._pour(b"X-More: of the same\r\n" * 100)

    def endless_continue(self, data):
        self._pour(b"HTTP/1.1 100 Continue\r\n\r\n")

    def endless_hop(self, data):
        self._answer(b"", 302, Location=self.path.replace("/endless_hop/", "/missing/"))
        self._pour(bytes(1_000_000))

    def _pour(self, data):
        while not self.server.stopped.is_set():
            self.wfile.write(data)

    def understated(self, data):
        self._answer(data, Content_Length=len(data) // 2)

    def overstated(self, data):
        self._answer(data, Content_Length=10 * len(data))

    def negative_length(self, data):
        self._answer(data[: len(data) // 2], Content_Length=-1)

    def no_length(self, data):
        self._answer(data[: len(data) // 2], Content_Length="long")

    def bad_chunk(self, data):
        self.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nlong\r\n" + data)

    def bomb(self, data):
        self._answer(gzip.compress(bytes(50_000_000), 1), Content_Encoding="gzip")

    def garbage(self, data):
        self.wfile.write(b"\x00\xff" * 1000)

    def missing(self, data):
        self._answer(b"nothing here", 404)

    def broken(self, data):
        self._answer(b"a traceback\n" * 1000, 500)

    def nothing(self, data):
        self._answer(b"", 204)

    def html(self, data):
        self._answer(b"<!DOCTYPE html><html><body>Please sign in</body></html>", Content_Type="text/html")

    def wrong(self, data):
        self._answer(b"?" + data[1:], Content_Length=len(data))

    def reset(self, data):
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.rfile.close()
        self.connection.close()

    def reset_midway(self, data):
        self._answer(data[: len(data) // 2], Content_Length=len(data))
        self.wfile.flush()
        self.reset(data)

    def loop(self, data):
        self._answer(b"", 302, Location=self.path)

    def hop(self, data):
        self._answer(b"", 302, Location=self.path.replace("/hop/", "/good/"))

    def hop_to_file(self, data):
        self._answer(b"", 302, Location="file:///etc/hostname")

    def hop_to_nowhere(self, data):
        self._answer(b"", 302, Location="http://[")
