"""The record that a step of a run has failed, from which the exporter knows it when the process has long ended."""

from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

import structlog

from watchmove.pipeline.errors import InvalidInput, NotFinite, NotYet, WatchmoveError
from watchmove.pipeline.files.text_lines import without_credentials
from watchmove.service.records import layout
from watchmove.service.records.record import Cause, StepFailure, origin
from watchmove.service.runner.exit_codes import ending_of
from watchmove.service.runner.runner import StepContext
from watchmove.service.runner.tracing import one_line
from watchmove.service.store.store import ObjectRefused, Store

_LETTERS = 1000
"""Most letters of a message: the exporter keeps the records of all failures. Set by hand; not tuned."""

Given = ParamSpec("Given")
Result = TypeVar("Result")


def record_failure(
    step: Callable[Concatenate[StepContext, str, Given], Result],
) -> Callable[Concatenate[StepContext, str, Given], Result]:
    """Decorate a step of a planned run, whose arguments after the run are the number of a shard or evaluation, if any.

    If it fails so that no retry can help, the store gets a StepFailure; if it succeeds, a StepFailure is removed. A
    step that is called before the steps that it needs, as by somebody who looks for a report, has not failed.
    """

    @wraps(step)
    def recorded(context: StepContext, run: str, /, *args: Given.args, **kwargs: Given.kwargs) -> Result:
        # exactly int: a switch of a step is a bool, which is an int too
        number = next((value for value in (*args, *kwargs.values()) if type(value) is int), None)
        key = layout.failure(run, step.__name__ if number is None else f"{step.__name__}-{number}")
        try:
            result = step(context, run, *args, **kwargs)
        except Exception as error:
            if not ending_of(error).retried and not isinstance(error, NotYet):
                # the step's own error is the one to report, also if the store takes no record of it
                with suppress(WatchmoveError):
                    _record(context, run, key, (step.__name__, number), error)
            raise
        if context.store.head(key) is not None:
            _remove(context.store, key)
        return result

    return recorded


def _remove(store: Store, key: str) -> None:
    try:
        store.remove(key)
    except ObjectRefused as error:  # what the step has made stays
        structlog.get_logger().warning("the record of a failure stays after a success", reason=str(error))


def _record(context: StepContext, run: str, key: str, place: tuple[str, int | None], error: Exception) -> None:
    # a run that is not planned is a mistyped name, and gets no folder
    if context.store.head(layout.run_record(run, "plan")) is None:
        return
    step, number = place
    failure = StepFailure(
        made_by=origin(context.settings, {}),
        step=step,
        number=number,
        cause=_cause_of(error),
        message=without_credentials(one_line(error))[:_LETTERS],
    )
    context.store.write(key, failure.model_dump_json(indent=1).encode())


def _cause_of(error: Exception) -> Cause:
    if isinstance(error, NotFinite):
        return "not-finite"
    return "invalid-input" if isinstance(error, InvalidInput) else "bug"
