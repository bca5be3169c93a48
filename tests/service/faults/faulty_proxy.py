"""An HTTP proxy before a real S3 server that injects the faults of networks and busy stores."""

import http.client
import random
import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import urlsplit

FAULTS = ("500", "503", "slow-down", "reset-before", "reset-after", "half-body", "short-length", "long-length")
"""Faults that a client can notice. `flipped-bit` is not among them: only checksums reveal it."""

_SLOW_DOWN = b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Please reduce your rate.</Message></Error>"


class Request(NamedTuple):
    """A request that the proxy received, and the fault that it met."""

    method: str
    path: str
    headers: dict[str, str]
    fault: str


class Answer(NamedTuple):
    """An answer of the server behind the proxy."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


class FaultyProxy(ThreadingHTTPServer):
    """Injects faults drawn with `seed` into `share` of the requests, at most `faults_left`; `counts` counts them."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, behind: str, share: float, seed: int, faults: tuple[str, ...] = FAULTS) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.behind = urlsplit(behind)
        self.counts: Counter[str] = Counter()
        self.requests: list[Request] = []
        self.sent_bytes = 0
        self.faults_left = 10**9
        self._share = share
        self._faults = faults
        self._dice = random.Random(seed)
        self._lock = threading.Lock()

    @property
    def endpoint(self) -> str:
        """The URL of the proxy."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def next_fault(self) -> str:
        """Draw the fault of the next request; "" for none."""
        with self._lock:
            faulty = self._dice.random() < self._share and self.faults_left > 0
            fault = self._dice.choice(self._faults) if faulty else ""
            self.faults_left -= faulty
            self.counts[fault] += 1
            return fault

    def handle_error(self, request: object, client_address: object) -> None:
        """Print nothing: the proxy breaks connections on purpose."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FaultyProxy

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.server.next_fault()
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.requests.append(Request(self.command, self.path, headers, fault))
        if fault == "reset-before":
            self._reset()
        elif fault in ("500", "503"):
            self._send(Answer(int(fault), [], b""))
        elif fault == "slow-down":
            self._send(Answer(503, [("Content-Type", "application/xml"), ("Retry-After", "1")], _SLOW_DOWN))
        else:
            self._send_faulty(self._forward(body), fault)

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _serve

    def _forward(self, body: bytes) -> Answer:
        link = http.client.HTTPConnection(str(self.server.behind.hostname), self.server.behind.port or 80)
        link.request(self.command, self.path, body=body, headers=dict(self.headers.items()))
        got = link.getresponse()
        answer = Answer(got.status, [(k, v) for k, v in got.getheaders()], got.read())
        link.close()
        return answer

    def _send_faulty(self, answer: Answer, fault: str) -> None:
        """Answer a served request: unchanged, not at all, cut short, altered, or with a wrong length."""
        size = len(answer.body)
        if fault == "reset-after":
            self._reset()
        elif fault == "half-body" and size > 1:
            self._send(answer, length=size, body=answer.body[: size // 2])
            self.close_connection = True
        elif fault == "short-length" and size > 1:
            self._send(answer, length=size // 2, body=answer.body[: size // 2])
        elif fault == "flipped-bit" and size > 1:
            self._send(answer, body=bytes([answer.body[0] ^ 1]) + answer.body[1:])
        elif fault == "long-length" and size > 1:
            self._send(answer, length=size + 100)
            self._reset()
        else:
            self._send(answer)

    def _send(self, answer: Answer, length: int | None = None, body: bytes | None = None) -> None:
        body = answer.body if body is None else body
        self.send_response_only(answer.status)
        known = [value for name, value in answer.headers if name.lower() == "content-length"]
        length = len(body) if length is None else length
        for name, value in answer.headers:
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        self.send_header("Content-Length", known[0] if self.command == "HEAD" and known else str(length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
            self.server.sent_bytes += len(body)

    def _reset(self) -> None:
        """End the connection with a TCP reset."""
        self.wfile.flush()
        # Lingering for zero seconds makes close() send a reset.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""


@contextmanager
def faulty_proxy(behind: str, share: float, seed: int, faults: tuple[str, ...] = FAULTS) -> Iterator[FaultyProxy]:
    """Run a proxy before the server at `behind` while the block runs."""
    proxy = FaultyProxy(behind, share, seed, faults)
    thread = threading.Thread(target=proxy.serve_forever, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.shutdown()
        proxy.server_close()
