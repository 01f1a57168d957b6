"""An HTTP proxy before an S3 server that misbehaves as asked: what real stores do on bad days."""

from __future__ import annotations

import contextlib
import http.client
import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

Fault = str  # "" | unavailable | slow | cut | reset (before the request is done) | lost (behind it) | expired

EXPIRED = (
    b'<?xml version="1.0"?><Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>'
)
SLOW_DOWN = (
    b'<?xml version="1.0"?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>'
)


class FaultyProxy(ThreadingHTTPServer):
    """Passes requests on to `target`; `choose(method, path)` says what goes wrong with each. `counts` is what did."""

    daemon_threads = True

    def __init__(self, target: str, choose: Callable[[str, str], Fault]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target, self.choose, self.counts = urlsplit(target), choose, Counter()
        self._thread = threading.Thread(target=self.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def __enter__(self) -> FaultyProxy:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


def at_random(share: float, *faults: Fault, seed: int = 5, keys: str = "") -> Callable[[str, str], Fault]:
    """A `share` of the requests (of paths with `keys` in them) goes wrong, never three times in a row on one path."""
    chance, lock, streak = random.Random(seed), threading.Lock(), Counter()

    def choose(method: str, path: str) -> Fault:
        with lock:
            if keys not in path or chance.random() >= share or streak[path] == 2:
                streak[path] = 0
                return ""
            streak[path] += 1
            return chance.choice(faults)

    return choose


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _pass_on(self) -> None:
        fault = self.server.choose(self.command, self.path)
        self.server.counts[fault] += 1
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if fault == "unavailable":
            self._answer(503, SLOW_DOWN)
        elif fault == "expired":
            self._answer(403, EXPIRED)
        elif fault == "reset":
            self._reset()
        else:
            time.sleep(0.3 if fault == "slow" else 0)
            self._relay(body, fault)

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def _relay(self, body: bytes, fault: Fault) -> None:
        upstream = http.client.HTTPConnection(self.server.target.hostname, self.server.target.port, timeout=60)
        upstream.request(self.command, self.path, body, dict(self.headers.items()))
        response = upstream.getresponse()
        data = response.read()
        upstream.close()
        if fault == "lost":
            self._reset()
        else:
            self._give(response, data, is_cut=fault == "cut")

    def _give(self, response: http.client.HTTPResponse, data: bytes, is_cut: bool) -> None:
        self.send_response_only(response.status)
        for name, value in response.getheaders():
            if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                self.send_header(name, value)
        length = response.getheader("Content-Length") if self.command == "HEAD" else str(len(data))
        self.send_header("Content-Length", length or "0")
        self.end_headers()
        if is_cut and len(data) > 1:
            self.wfile.write(data[: len(data) // 2])
            self.close_connection = True
        else:
            self.wfile.write(data)

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response_only(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _pass_on

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):  # the client was killed
            super().handle()

    def log_message(self, *_: object) -> None:
        """Nothing."""
