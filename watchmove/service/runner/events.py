"""What happens in a step: lines of the log for programs, and spans.

There is a line for each video, part of a shard, checkpoint, validation, backbone, evaluation, step and run, where logs
are JSON, as in pods. A person reads the progress instead. The same goes to the step's span, where spans are sent.
"""

import inspect
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import copy_context
from functools import wraps
from typing import ParamSpec, TypeVar

import structlog

from watchmove.service.runner.exit_codes import DONE, STOPPED, ending_of
from watchmove.service.runner.logs import are_json
from watchmove.service.runner.tracing import add_to_span, span

Given = ParamSpec("Given")
Result = TypeVar("Result")


def log_event(event: str, **facts: object) -> None:
    """Log what has happened, with its ids and figures, if logs are JSON, and add it to the step's span.

    With `seconds` among the facts, it becomes a span of its own.
    """
    log_facts(event, facts)


def log_facts(event: str, facts: Mapping[str, object], error: str = "", *, is_traced: bool = True) -> None:
    """Log an event whose span has the status `error` if `error` describes one, or which is not added to the span."""
    _log(event, facts)
    if is_traced:
        add_to_span(event, facts, error)


def _log(event: str, facts: Mapping[str, object]) -> None:
    if are_json():
        structlog.get_logger().info(event, **facts)


def with_event(function: Callable[[], None], event: str, **facts: object) -> Callable[[], None]:
    """Return the function, followed by an event with its seconds, which belongs to the present step in any thread."""
    step = copy_context()

    def called() -> None:
        began = time.monotonic()
        function()
        step.run(log_facts, event, {**facts, "seconds": round(time.monotonic() - began, 3)})

    return called


def log_step(step: Callable[Given, Result]) -> Callable[Given, Result]:
    """Decorate a step, which has the arguments `run` and either `context` or `store`.

    It is traced as a span. Its end is an event, and all events within it have its name and its numbers and names.
    """
    signature = inspect.signature(step)

    @wraps(step)
    def logged(*args: Given.args, **kwargs: Given.kwargs) -> Result:
        given = signature.bind(*args, **kwargs).arguments
        # the name of the run, and the number of the shard or of the evaluation
        ids = {name: value for name, value in given.items() if type(value) in (str, int)}
        store = given["store"] if "store" in given else given["context"].store
        facts = {"step": step.__name__, **ids}
        with span(step.__name__, store.uri, given["run"], facts) as span_ids, _logged({**facts, **span_ids}):
            return step(*args, **kwargs)

    return logged


@contextmanager
def _logged(ids: Mapping[str, str | int]) -> Iterator[None]:
    if not are_json():
        yield
        return
    with structlog.contextvars.bound_contextvars(**ids):
        began, ending = time.monotonic(), DONE
        try:
            yield
        except BaseException as error:
            ending = STOPPED if isinstance(error, KeyboardInterrupt) else ending_of(error)
            raise
        finally:
            seconds = round(time.monotonic() - began, 3)
            _log("step", {"ending": ending.prefix, "exit_code": ending.exit_code, "seconds": seconds})
