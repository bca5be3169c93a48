"""A collector of OpenTelemetry: a real HTTP server that decodes the spans it is sent."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Collector:
    """What has arrived at `endpoint`."""

    def __init__(self, port: int) -> None:
        self.endpoint = f"http://127.0.0.1:{port}"
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []

    def requests(self) -> list[ExportTraceServiceRequest]:
        """The bodies of all requests, decoded."""
        decode = ExportTraceServiceRequest.FromString
        return [decode(body) for body in self.bodies]

    def spans(self) -> list[Span]:
        """All spans, in the order in which they began."""
        scopes = [scope for one in self.requests() for resource in one.resource_spans for scope in resource.scope_spans]
        return sorted((span for scope in scopes for span in scope.spans), key=lambda span: span.start_time_unix_nano)

    def resource(self) -> dict[str, Any]:
        """The attributes of the resource of the first request."""
        return values_of(self.requests()[0].resource_spans[0].resource.attributes)


def values_of(attributes: Any) -> dict[str, Any]:
    """Attributes of a span, an event or a resource by name."""
    return {one.key: getattr(one.value, str(one.value.WhichOneof("value"))) for one in attributes}


@contextmanager
def collector(answers: bool = True) -> Iterator[Collector]:
    """Run a collector until the block ends; one that does not answer accepts connections and is silent."""
    ended = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            if not answers:
                ended.wait()
                return
            found.headers.append(dict(self.headers))
            found.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found = Collector(server.server_address[1])
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield found
        finally:
            ended.set()
            server.shutdown()
            thread.join()
