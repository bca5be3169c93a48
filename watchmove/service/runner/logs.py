"""Logs on standard error: readable lines for a person, JSON lines for programs, with failures among them."""

import logging
import os
import sys
from io import TextIOWrapper
from typing import Literal

import structlog
from rich.console import Console

from watchmove.pipeline.files.text_lines import without_credentials
from watchmove.service.runner.exit_codes import Ending

LogForm = Literal["auto", "text", "json"]

IN_A_POD = "KUBERNETES_SERVICE_HOST"
"""An environment variable that Kubernetes sets in every container."""


def escape_what_cannot_be_encoded() -> None:
    """Write an escape for what a terminal's encoding lacks, as for a byte of a file's name that is not UTF-8.

    No command is to fail because of the name of a file or the border of a table.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


def configure_logs(form: LogForm) -> None:
    """Log in one form; `auto` is JSON in a pod of Kubernetes, whose logs are collected, and text elsewhere."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(message)s")
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # a failure that remains after its retries is an exception
    as_json = form == "json" or (form == "auto" and IN_A_POD in os.environ)
    renderer: structlog.types.Processor = (
        structlog.processors.JSONRenderer()
        if as_json
        else structlog.dev.ConsoleRenderer(colors=_in_colours(Console(stderr=True)), pad_event_to=0)
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _without_credentials,
            renderer,
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def _without_credentials(
    logger: object,  # noqa: ARG001 (structlog's form)
    method: str,  # noqa: ARG001
    event: structlog.typing.EventDict,
) -> structlog.typing.EventDict:
    """Remove users and passwords of addresses, which messages of libraries quote."""
    return {name: _hidden(value) for name, value in event.items()}


def _hidden(value: object) -> object:
    if isinstance(value, list):
        return [_hidden(one) for one in value]
    return without_credentials(value) if isinstance(value, str) else value


def _in_colours(console: Console) -> bool:
    """Whether a console takes colours: a terminal of some ability, where `NO_COLOR` does not forbid them."""
    return console.is_terminal and not console.is_dumb_terminal and not console.no_color


def are_json() -> bool:
    """Whether logs are JSON lines in this process."""
    return isinstance(structlog.get_config()["processors"][-1], structlog.processors.JSONRenderer)


def log_failure(ending: Ending, reason: str, trace: str = "") -> None:
    """Log how a command failed: as `watchmove: ENDING: REASON`, or as one JSON line if logs are JSON.

    `trace` is Python's, for errors of the program itself.
    """
    if are_json():
        facts = {"trace": trace} if trace else {}
        structlog.get_logger().error("failed", ending=ending.prefix, exit_code=ending.exit_code, reason=reason, **facts)
        return
    print(without_credentials(f"{trace}watchmove: {ending.prefix}: {reason}"), file=sys.stderr)
