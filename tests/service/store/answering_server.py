"""An S3 server on loopback that keeps objects in memory, and whose answers a test may replace."""

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

DATE = "Thu, 01 Jan 2026 00:00:00 GMT"


@dataclass(frozen=True)
class Request:
    """A request: its method, the key of its object, its query and its headers, with names in lower case.

    `port` is that of the client, which requests on one connection share.
    """

    method: str
    key: str
    query: str
    headers: dict[str, str]
    port: int


@dataclass(frozen=True)
class Answer:
    """Status, headers and body of an answer."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


def refusal(status: int, name: str) -> Answer:
    """An answer as S3 gives it: the name of an error in XML."""
    return Answer(status, {}, f"<?xml version='1.0'?><Error><Code>{name}</Code><Message>no</Message></Error>".encode())


@dataclass
class AnsweringServer:
    """Objects by their keys. `replace` returns an answer instead of the usual one, or None; `etag_of` makes ETags.

    Its clock is `seconds_ahead` of this machine's.
    """

    objects: dict[str, bytes] = field(default_factory=dict)
    replace: Callable[[Request], Answer | None] = lambda _: None
    etag_of: Callable[[bytes], str] = lambda data: f'"{hashlib.md5(data).hexdigest()}"'
    keeps_conditions: bool = True
    serves_ranges: bool = True
    seconds_ahead: float = 0.0

    def answer(self, request: Request, body: bytes) -> Answer:
        """Answer one request."""
        if (replaced := self.replace(request)) is not None:
            return replaced
        exists = request.key in self.objects
        if request.method == "PUT":
            if exists and "if-none-match" in request.headers and self.keeps_conditions:
                return refusal(412, "PreconditionFailed")
            self.objects[request.key] = body
            return Answer(200, {"ETag": self.etag_of(body)})
        if request.method == "DELETE":
            self.objects.pop(request.key, None)
            return Answer(204)
        if not request.key and "list-type=2" in request.query:
            return self._listing(parse_qs(request.query).get("prefix", [""])[0])
        if not exists:
            return refusal(404, "NoSuchKey")
        return self._object(request, self.objects[request.key])

    def _listing(self, prefix: str) -> Answer:
        rows = (
            f"<Contents><Key>{escape(key)}</Key><Size>{len(data)}</Size><ETag>{self.etag_of(data)}</ETag></Contents>"
            for key, data in sorted(self.objects.items())
            if key.startswith(prefix)
        )
        return Answer(200, {}, f"<ListBucketResult>{''.join(rows)}</ListBucketResult>".encode())

    def _object(self, request: Request, data: bytes) -> Answer:
        headers = {"ETag": self.etag_of(data), "Last-Modified": DATE}
        if "range" not in request.headers or not self.serves_ranges:
            return Answer(200, headers, data)
        first, last = (int(number) for number in request.headers["range"].removeprefix("bytes=").split("-"))
        part = data[first : last + 1]
        return Answer(206, {**headers, "Content-Range": f"bytes {first}-{first + len(part) - 1}/{len(data)}"}, part)


def _content(handler: BaseHTTPRequestHandler) -> bytes:
    """The body of a request, also where the SDK has put it into chunks with a checksum at the end."""
    if "aws-chunked" not in handler.headers.get("content-encoding", ""):
        return handler.rfile.read(int(handler.headers.get("content-length") or 0))
    body = b""
    while size := int(handler.rfile.readline().split(b";")[0], 16):
        body += handler.rfile.read(size)
        handler.rfile.readline()
    while handler.rfile.readline().strip():
        pass
    return body


@contextmanager
def answering_server(server: AnsweringServer) -> Iterator[str]:
    """Serve, and provide the URL of the server."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _any(self) -> None:
            parts = urlsplit(self.path)
            key = unquote(parts.path.removeprefix("/").partition("/")[2])
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Request(self.command, key, parts.query, headers, self.client_address[1])
            answer = server.answer(request, _content(self))
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _any

        def date_time_string(self, timestamp: float | None = None) -> str:
            return super().date_time_string((timestamp or time.time()) + server.seconds_ahead)

        def log_message(self, *_: object) -> None:
            """Nothing is logged."""

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=listening.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listening.server_address[1]}"
    finally:
        listening.shutdown()
        listening.server_close()


def environment_of(url: str) -> dict[str, str]:
    """The variables with which the SDK reaches a server, and nothing else."""
    return {
        "AWS_ENDPOINT_URL_S3": url,
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }
