"""Watching a workflow until it ends, and lines for what has changed."""

import time
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from typing import Any

from watchmove.pipeline.errors import InvalidInput, Unavailable
from watchmove.service.cluster.api_errors import Refused
from watchmove.service.cluster.workflow_api import WorkflowApi
from watchmove.service.cluster.workflow_state import StepState, WorkflowState, state_of

POLL_SECONDS = 2.0
"""Time between two requests for the state of a workflow."""
PATIENCE_SECONDS = 120.0
"""How long the cluster may be unreachable while waiting: enough for a restart of the API server. Not tuned."""
COUNTS = StepState._fields[1:6]
"""The fields of a step's state that count pods."""


def watch(
    api: WorkflowApi,
    state: WorkflowState,
    on_progress: Callable[[WorkflowState], None],
    poll_seconds: float = POLL_SECONDS,
    patience_seconds: float = PATIENCE_SECONDS,
) -> WorkflowState:
    """Return the state of a workflow when it has ended; `state` is the last one known.

    `on_progress` is called with each other state. A failed workflow raises nothing; its state says that it failed. If
    the cluster cannot be reached, requests are repeated for `patience_seconds`; the workflow runs meanwhile.

    Raises:
        InvalidInput: the workflow is not there any more, or may not be read.
        Unavailable: the cluster cannot be reached.
    """
    while not state.ended:
        time.sleep(poll_seconds)
        before, state = state, state_of(patiently(api, state.name, poll_seconds, patience_seconds))
        if state != before:
            on_progress(state)
    return state


def patiently(
    api: WorkflowApi, name: str, poll_seconds: float = POLL_SECONDS, patience_seconds: float = PATIENCE_SECONDS
) -> Mapping[str, Any]:
    """The document of a workflow that was there before.

    While the cluster cannot be reached, the request is repeated for `patience_seconds`.

    Raises:
        InvalidInput: the workflow is not there any more, or may not be read.
        Unavailable: the cluster cannot be reached.
    """
    deadline = time.monotonic() + patience_seconds
    while True:
        try:
            return api.workflow(name)
        except Refused as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            raise InvalidInput(
                f"workflow {name}: was deleted while it was watched; how it ended is not known"
            ) from error
        except Unavailable:
            if time.monotonic() > deadline:
                raise
            time.sleep(poll_seconds)


def headline(state: WorkflowState) -> str:
    """The state of a workflow without its steps, in a line. Names come from the cluster, with any letters."""
    return f"{state.name}: {state.phase}, {state.done_pods} of {state.known_pods} pods"


def changes(before: WorkflowState, state: WorkflowState) -> Iterator[str]:
    """Yield a line for the workflow, each step and each failure that is not as before."""
    if headline(before) != headline(state):
        yield headline(state)
    told = set(before.steps)
    for step in state.steps:
        if step not in told:
            words = [f"{count} {name}" for name in COUNTS if (count := getattr(step, name))]
            # Without a progress of its own, Argo counts a pod as one unit.
            if step.total not in (0, sum(step[1:5])):
                words.append(f"progress {step.done}/{step.total}")
            yield f"{state.name}: {step.name}: {', '.join(words)}"
    known = {*before.failures, *before.waits}
    yield from (f"{state.name}: {line}" for line in (*state.waits, *state.failures) if line not in known)
