"""Spans of OpenTelemetry: one trace for each run, which all its processes join.

A span is begun for each step, and one is added for each line of the log that states how long its work took. Spans are
sent where OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT names a collector. Without either variable,
nothing of OpenTelemetry is imported. Nothing that goes wrong with spans ends or holds up a step.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from hashlib import sha256
from typing import TYPE_CHECKING

import structlog

from watchmove.service.runner.exit_codes import DONE, STOPPED, ending_of

if TYPE_CHECKING:
    from watchmove.service.runner.span_sender import SpanSender

_PROTOCOL = "http/protobuf"
"""The protocol in which spans are sent, as OTEL_EXPORTER_OTLP_PROTOCOL names it."""


def trace_id_of(store: str, run: str) -> int:
    """Return the id of a run's trace, 128 bits: the first half of the SHA-256 of `STORE/RUN`, with the store's URI.

    Whoever knows the run has its trace, so that pods, retries and laptops need not tell each other.
    """
    return int.from_bytes(sha256(f"{store}/{run}".encode()).digest()[:16])


@contextmanager
def span(name: str, store: str, run: str, ids: Mapping[str, object]) -> Iterator[dict[str, str]]:
    """Trace the block as a span of the run, below the present span if there is one.

    Yields `trace_id` and `span_id`, hexadecimal, for the log; nothing where no spans are sent. `ids` become attributes
    of this span and of those below it. A block that raises gives the span the status `error`, with the ending and the
    message.
    """
    sender = _sender()
    if sender is None:
        yield {}
        return
    with sender.span(name, trace_id_of(store, run), {"run": run, **ids}) as begun:
        ending = DONE
        try:
            yield begun.ids()
        except BaseException as error:
            ending = STOPPED if isinstance(error, KeyboardInterrupt) else ending_of(error)
            begun.fail(f"{ending.prefix}: {one_line(error)}")
            raise
        finally:
            begun.set({"ending": ending.prefix, "exit_code": ending.exit_code})


def add_to_span(event: str, facts: Mapping[str, object], error: str = "") -> None:
    """Add what has happened to the present span: as a span that ends now if it took `seconds`, else as an event.

    With an `error`, the added span has the status `error` and this description.
    """
    sender = _sender()
    if sender is not None:
        sender.add(event, facts, error)


def close_tracing() -> None:
    """Send the spans that have ended and are not sent yet, for at most two seconds."""
    if _sender.cache_info().currsize:
        sender = _sender()
        _sender.cache_clear()
        if sender is not None:
            sender.close()


def one_line(error: BaseException) -> str:
    """An error's message in one line, or the name of its class; names of files and keys can have line breaks."""
    return " ".join(str(error).splitlines()) or type(error).__name__


@cache
def _sender() -> "SpanSender | None":
    """The sender of this process; None where no spans are wanted or none can be sent, which a warning says once."""
    endpoint = _endpoint()
    if not endpoint:
        return None
    protocol = _either("PROTOCOL") or _PROTOCOL
    if protocol != _PROTOCOL:
        _warn(f"OTEL_EXPORTER_OTLP_PROTOCOL is {protocol}; set it to {_PROTOCOL}, with an endpoint that takes it")
        return None
    try:
        from watchmove.service.runner.span_sender import SpanSender

        return SpanSender(endpoint)
    except ImportError as error:
        _warn(f"{one_line(error)}; install watchmove[otel], or set OTEL_SDK_DISABLED=true")
    # what the SDK raises for variables that it cannot use
    except (ValueError, RuntimeError) as error:
        _warn(f"{one_line(error).rstrip('.')}; correct the variables OTEL_…")
    return None


def _endpoint() -> str:
    """The collector's address; "" if the variables name none or switch spans off.

    Of the ranks of a training, only the first sends spans, as all do the same.
    """
    is_off = os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    is_off = is_off or os.environ.get("OTEL_TRACES_EXPORTER", "").strip() not in ("", "otlp")
    return "" if is_off or os.environ.get("RANK", "0") != "0" else _either("ENDPOINT")


def _either(name: str) -> str:
    """A variable of the exporter: the one for traces, or else the one for all signals."""
    names = (f"OTEL_EXPORTER_OTLP_TRACES_{name}", f"OTEL_EXPORTER_OTLP_{name}")
    return next((value for value in (os.environ.get(one, "").strip() for one in names) if value), "")


def _warn(reason: str) -> None:
    structlog.get_logger().warning("no spans are sent", reason=reason)
