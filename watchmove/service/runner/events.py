"""Lines of the log for programs: one for each video, part of a shard, checkpoint, backbone, evaluation, step and run.

They are written where logs are JSON, as in pods. A person reads the progress instead.
"""

import inspect
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import ParamSpec, TypeVar

import structlog

from watchmove.service.runner.exit_codes import DONE, STOPPED, ending_of
from watchmove.service.runner.logs import are_json

Given = ParamSpec("Given")
Result = TypeVar("Result")


def log_event(event: str, **facts: object) -> None:
    """Log what has happened, with its ids and figures, if logs are JSON."""
    if are_json():
        structlog.get_logger().info(event, **facts)


def with_event(function: Callable[[], None], event: str, **facts: object) -> Callable[[], None]:
    """Return the function, followed by an event."""

    def called() -> None:
        function()
        log_event(event, **facts)

    return called


def log_step(step: Callable[Given, Result]) -> Callable[Given, Result]:
    """Decorate a step: its end is an event, and all events within it have its name and its numbers and names."""
    signature = inspect.signature(step)

    @wraps(step)
    def logged(*args: Given.args, **kwargs: Given.kwargs) -> Result:
        given = signature.bind(*args, **kwargs).arguments
        # the name of the run, and the number of the shard or of the evaluation
        ids = {name: value for name, value in given.items() if type(value) in (str, int)}
        with _logged(step.__name__, ids):
            return step(*args, **kwargs)

    return logged


@contextmanager
def _logged(step: str, ids: dict[str, str | int]) -> Iterator[None]:
    if not are_json():
        yield
        return
    with structlog.contextvars.bound_contextvars(step=step, **ids):
        began, ending = time.monotonic(), DONE
        try:
            yield
        except BaseException as error:
            ending = STOPPED if isinstance(error, KeyboardInterrupt) else ending_of(error)
            raise
        finally:
            seconds = round(time.monotonic() - began, 3)
            log_event("step", ending=ending.prefix, exit_code=ending.exit_code, seconds=seconds)
