"""Sends spans to a collector by OTLP over HTTP; imports OpenTelemetry, so that `tracing` imports it on demand."""

import logging
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.metadata import version
from urllib.parse import unquote

import structlog
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import Status, StatusCode
from opentelemetry.util.types import AttributeValue

from watchmove.pipeline.files.text_lines import without_credentials
from watchmove.service.runner.logs import IN_A_POD

_PREFIX = "watchmove."
"""What the names of attributes begin with; the rest is the name of the same field in logs and records."""
_CLOSING_SECONDS = 2.0
"""How long the end of a process waits for the collector. Set by hand: steps must not wait for what is only watched."""

_TRACE_ID: ContextVar[int] = ContextVar("trace_id")
"""The trace of the run that the present step belongs to."""
_IDS: ContextVar[Mapping[str, object]] = ContextVar("ids")
"""Attributes of the present step, which the spans below it have too."""


class _RunTraceIds(RandomIdGenerator):
    """Gives a span without a parent the trace of its run; ids of spans are random."""

    def generate_trace_id(self) -> int:
        """The trace of the present step."""
        return _TRACE_ID.get()


class _FirstMessages(logging.Handler):
    """Logs the first message of each of the SDK's loggers: a collector that is away would bring one with each try."""

    def __init__(self, endpoint: str) -> None:
        super().__init__(logging.WARNING)
        self._endpoint = endpoint
        self.names: set[str] = set()
        """The loggers that have had a message."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log a message, unless the same logger has had one."""
        if record.name not in self.names:
            self.names.add(record.name)
            self.warn(record.getMessage())

    def warn(self, reason: str) -> None:
        """Log what is wrong."""
        facts = {"endpoint": self._endpoint, "reason": reason}
        hidden = {name: _without_secrets(text, self._endpoint) for name, text in facts.items()}
        structlog.get_logger().warning("tracing is impaired", **hidden)


def _without_secrets(text: str, endpoint: str) -> str:
    """Return a text in which `…` is in place of the endpoint's query and of the values of headers.

    The SDK quotes headers that are malformed.
    """
    query = endpoint.partition("?")[2]
    text = text.replace(query, "…") if query else text
    for variable in ("OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"):
        for header in os.environ.get(variable, "").split(","):
            value = header.partition("=")[2] or header.partition(":")[2] or header
            for secret in (unquote(value).strip(), value.strip()):
                text = text.replace(secret, "…") if secret else text
    return text


class BegunSpan:
    """A span that has not ended."""

    def __init__(self, begun: trace.Span) -> None:
        self._span = begun

    def ids(self) -> dict[str, str]:
        """Its ids, hexadecimal, by the names that OpenTelemetry gives them in logs."""
        own = self._span.get_span_context()
        return {"trace_id": trace.format_trace_id(own.trace_id), "span_id": trace.format_span_id(own.span_id)}

    def set(self, facts: Mapping[str, object]) -> None:
        """Set attributes."""
        self._span.set_attributes(_attributes(facts))

    def fail(self, reason: str) -> None:
        """Set the status `error`."""
        self._span.set_status(Status(StatusCode.ERROR, _text(reason)))


class SpanSender:
    """Begins spans, and sends those that have ended in a thread of its own, which no step waits for.

    The variables OTEL_… of the environment configure it. If the collector does not keep up, spans are dropped.
    """

    def __init__(self, endpoint: str) -> None:
        """`endpoint` is the collector's address, for messages. Raises ValueError where a variable cannot be used."""
        self._messages = _FirstMessages(endpoint)
        logger = logging.getLogger("opentelemetry")
        logger.handlers, logger.propagate = [self._messages], False
        self._exporter = OTLPSpanExporter()
        # Closed by `close`, within its time, and not at exit.
        self._provider = TracerProvider(resource=_resource(), id_generator=_RunTraceIds(), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter))
        self._tracer = self._provider.get_tracer("watchmove", version("watchmove"))

    @contextmanager
    def span(self, name: str, trace_id: int, ids: Mapping[str, object]) -> Iterator[BegunSpan]:
        """Make a span the present one until the block ends; without a span above it, it belongs to the trace."""
        tokens = _TRACE_ID.set(trace_id), _IDS.set(ids)
        try:
            # Not the exception itself: its trace quotes messages of any library, and lines of code.
            with self._tracer.start_as_current_span(
                name, attributes=_attributes(ids), record_exception=False, set_status_on_exception=False
            ) as begun:
                yield BegunSpan(begun)
        finally:
            _TRACE_ID.reset(tokens[0])
            _IDS.reset(tokens[1])

    def add(self, event: str, facts: Mapping[str, object], error: str = "") -> None:
        """Add to the present span, if there is one: a span of the `seconds` up to now, or an event without them."""
        present = trace.get_current_span()
        if not present.is_recording():
            return
        seconds = facts.get("seconds")
        if not isinstance(seconds, int | float):
            present.add_event(event, _attributes(facts))
            return
        now = time.time_ns()
        attributes = _attributes({**_IDS.get(), **facts})
        added = self._tracer.start_span(event, attributes=attributes, start_time=now - round(seconds * 1e9))
        if error:
            BegunSpan(added).fail(error)
        added.end(now)

    def close(self) -> None:
        """Send what is left, and give up after _CLOSING_SECONDS."""
        closing = threading.Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        closing.join(_CLOSING_SECONDS)
        if closing.is_alive():
            if not self._messages.names:
                self._messages.warn(f"the collector has not taken all spans within {_CLOSING_SECONDS:.0f} s")
            self._exporter.shutdown()  # type: ignore[no-untyped-call]  # does not wait for its next try


def _resource() -> Resource:
    """What sends the spans; OTEL_RESOURCE_ATTRIBUTES and OTEL_SERVICE_NAME take precedence."""
    host = socket.gethostname()
    pod = {"k8s.pod.name": host} if IN_A_POD in os.environ else {}
    own = {"service.name": "watchmove", "service.version": version("watchmove"), "host.name": host, **pod}
    return Resource.create({**own, **OTELResourceDetector().detect().attributes})


def _attributes(facts: Mapping[str, object]) -> dict[str, AttributeValue]:
    """Facts as attributes; what is None has none."""
    return {_PREFIX + name: _value(fact) for name, fact in facts.items() if fact is not None}


def _value(fact: object) -> AttributeValue:
    return fact if isinstance(fact, bool | int | float) else _text(str(fact))


def _text(text: str) -> str:
    """A text without credentials, in which a question mark replaces what no UTF-8 has, as in names of some files."""
    return without_credentials(text).encode(errors="replace").decode()
