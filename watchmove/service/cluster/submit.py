"""Submission: start a workflow from an installed template, as `argo submit --from workflowtemplate/NAME` does."""

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from watchmove.pipeline.errors import InvalidInput, Unavailable
from watchmove.service.cluster.workflow_api import WorkflowApi, connect

POLL_SECONDS = 2.0
PATIENCE_SECONDS = 120.0
_ENDED = ("Succeeded", "Failed", "Error")


class WorkflowState(NamedTuple):
    """Where a workflow stands: `phase` is Argo's word, `done_pods` of `known_pods` have ended.

    `failures` has a line for each pod that failed, those included that were run again since.
    """

    name: str
    phase: str
    done_pods: int
    known_pods: int
    failures: tuple[str, ...]

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self.phase in _ENDED

    @property
    def succeeded(self) -> bool:
        """Whether it ended well."""
        return self.phase == "Succeeded"


def submit(
    template: str,
    namespace: str,
    parameters: Mapping[str, str],
    wait: bool,
    on_progress: Callable[[WorkflowState], None],
    poll_seconds: float = POLL_SECONDS,
    patience_seconds: float = PATIENCE_SECONDS,
) -> WorkflowState:
    """Start a workflow and, if asked to `wait`, tell `on_progress` of each change until it ends.

    A workflow that fails is no exception: its state says so. A cluster that cannot be reached while waiting is asked
    again for `patience_seconds`; the workflow goes on meanwhile.

    Raises:
        InvalidInput: no such template or parameter, no right to start it, or no cluster is named.
        Unavailable: the cluster cannot be reached.
    """
    api = connect(namespace)
    _check_parameters(api.template(template), template, parameters)
    state = WorkflowState(api.create(template, parameters), "Pending", 0, 0, ())
    on_progress(state)
    while wait and not state.ended:
        time.sleep(poll_seconds)
        before, state = state, _look(api, state.name, poll_seconds, patience_seconds)
        if state != before:
            on_progress(state)
    return state


def _check_parameters(document: Mapping[str, Any], template: str, parameters: Mapping[str, str]) -> None:
    known = [row["name"] for row in document.get("spec", {}).get("arguments", {}).get("parameters", [])]
    for name in parameters:
        if name not in known:
            listed = ", ".join(sorted(known)) or "none"
            raise InvalidInput(f"parameter {name}: workflowtemplate {template} has no such one; known there: {listed}")


def _look(api: WorkflowApi, name: str, poll_seconds: float, patience_seconds: float) -> WorkflowState:
    """The workflow's state, asked for again while the cluster cannot be reached, but not for ever."""
    give_up_at = time.monotonic() + patience_seconds
    while True:
        try:
            return state_of(api.workflow(name))
        except Unavailable:
            if time.monotonic() > give_up_at:
                raise
            time.sleep(poll_seconds)


def state_of(document: Mapping[str, Any]) -> WorkflowState:
    """The state that a Workflow document tells."""
    status = document.get("status") or {}
    done, _, known = str(status.get("progress") or "0/0").partition("/")
    nodes = (status.get("nodes") or {}).values()
    failures = tuple(
        f"{node.get('displayName', '')}: {_sentence(str(node.get('message', 'no message')))}"
        for node in nodes
        if node.get("type") == "Pod" and node.get("phase") in ("Failed", "Error")
    )
    if status.get("message") and not failures:
        failures = (str(status["message"]),)
    phase = str(status.get("phase") or "Pending")
    return WorkflowState(str(document["metadata"]["name"]), phase, int(done), int(known or 0), failures)


def _sentence(message: str) -> str:
    """The one line of a pod's last words that watchmove wrote about its ending, else the first line."""
    lines = message.splitlines() or [""]
    return next((line for line in lines if "watchmove: " in line), lines[0])
