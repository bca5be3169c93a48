"""Submission of a workflow from an installed template, as by `argo submit --from workflowtemplate/NAME`."""

import base64
import json
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from watchmove.pipeline.errors import InvalidInput, Unavailable
from watchmove.service.cluster.workflow_api import WorkflowApi, connect

POLL_SECONDS = 2.0
"""Time between two requests for the state of a workflow."""
PATIENCE_SECONDS = 120.0
"""How long the cluster may be unreachable while waiting: enough for a restart of the API server. Not tuned."""
_GZIP = 16 + zlib.MAX_WBITS
"""zlib's word for data with a header of gzip."""
_MOST_NODES_BYTES = 64 * 2**20
"""Most bytes of unpacked nodes that are read. A bound on memory, not a tuned value."""
POD_LOST = -1
"""Exit code of a pod that left none, as in the retry strategies of the templates."""
_ENDED = ("Succeeded", "Failed", "Error")


class WorkflowState(NamedTuple):
    """The state of a workflow: `phase` is Argo's, and `done_pods` of `known_pods` have ended.

    `failures` has a line for each failed pod, including pods that Argo has retried since. `exit_codes` has those of the
    failed pods that Argo has not retried: -1 for a pod that was lost, None for one that left none.
    """

    name: str
    phase: str
    done_pods: int
    known_pods: int
    failures: tuple[str, ...]
    exit_codes: tuple[int | None, ...] = ()

    @property
    def ended(self) -> bool:
        """Whether the workflow has ended, in success or failure."""
        return self.phase in _ENDED

    @property
    def succeeded(self) -> bool:
        """Whether the workflow has ended in success."""
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
    """Start a workflow and return its state; with `wait`, return when it has ended.

    `on_progress` is called with each new state. A failed workflow raises nothing; its state says that it failed. If the
    cluster cannot be reached while waiting, requests are repeated for `patience_seconds`; the workflow runs meanwhile.

    Raises:
        InvalidInput: the template or parameter does not exist, it may not be started, or no cluster is configured.
        Unavailable: the cluster cannot be reached.
    """
    api = connect(namespace)
    # First, so that a misspelt parameter is found before anything is started.
    _check_parameters(api.template(template), template, parameters)
    state = WorkflowState(api.create(template, parameters), "Pending", 0, 0, ())
    on_progress(state)
    while wait and not state.ended:
        time.sleep(poll_seconds)
        before, state = state, _state(api, state.name, poll_seconds, patience_seconds)
        if state != before:
            on_progress(state)
    return state


def _check_parameters(document: Mapping[str, Any], template: str, parameters: Mapping[str, str]) -> None:
    known = [row["name"] for row in document.get("spec", {}).get("arguments", {}).get("parameters", [])]
    for name in parameters:
        if name not in known:
            listed = ", ".join(sorted(known)) or "none"
            raise InvalidInput(f"parameter {name}: not in workflowtemplate {template}; known there: {listed}")


def _state(api: WorkflowApi, name: str, poll_seconds: float, patience_seconds: float) -> WorkflowState:
    """The workflow's state; while the cluster cannot be reached, the request is repeated for `patience_seconds`."""
    deadline = time.monotonic() + patience_seconds
    while True:
        try:
            return state_of(api.workflow(name))
        except Unavailable:
            if time.monotonic() > deadline:
                raise
            time.sleep(poll_seconds)


def state_of(document: Mapping[str, Any]) -> WorkflowState:
    """The state in a Workflow document of Argo."""
    # The document has no status until Argo's controller has seen it.
    status = document.get("status") or {}
    done, _, known = str(status.get("progress") or "0/0").partition("/")
    nodes = status.get("nodes") or _unpacked(status.get("compressedNodes"))
    # Nodes of other types (DAGs, retries) fail because of a pod, and would repeat its failure.
    failures = tuple(
        f"{node.get('displayName', '')}: {_sentence(str(node.get('message', 'no message')))}"
        for node in nodes.values()
        if node.get("type") == "Pod" and node.get("phase") in ("Failed", "Error")
    )
    # If it failed before any pod did, only the workflow itself says why.
    if status.get("message") and not failures:
        failures = (str(status["message"]),)
    phase = str(status.get("phase") or "Pending")
    codes = tuple(_exit_codes(nodes))
    return WorkflowState(str(document["metadata"]["name"]), phase, int(done), int(known or 0), failures, codes)


def _exit_codes(nodes: Mapping[str, Mapping[str, Any]]) -> Iterator[int | None]:
    """The exit codes of the failed pods that decide how the workflow ended: the last attempt of each step."""
    # A node of the type Retry has its attempts as children, in their order.
    attempts = (node.get("children") or () for node in nodes.values() if node.get("type") == "Retry")
    retried = {child for children in attempts for child in children[:-1]}
    for name, node in nodes.items():
        if name not in retried and node.get("type") == "Pod" and node.get("phase") in ("Failed", "Error"):
            code = str((node.get("outputs") or {}).get("exitCode", ""))
            # a pod that was lost is in error; one that failed without a code never ran, or ran out of time
            yield int(code) if code.isdecimal() else POD_LOST if node["phase"] == "Error" else None


def _unpacked(nodes: str | None) -> dict[str, Any]:
    """The nodes that Argo stores compressed in the document of a large workflow: JSON, by gzip, in Base64."""
    if not nodes:
        return {}
    try:
        found = json.loads(zlib.decompressobj(_GZIP).decompress(base64.b64decode(nodes), _MOST_NODES_BYTES))
    except (ValueError, zlib.error):
        return {}  # the failures of pods only add to what the workflow itself says
    return found if isinstance(found, dict) else {}


def _sentence(message: str) -> str:
    """The line of a pod's termination message that watchmove wrote about its end, or else the first line."""
    lines = message.splitlines() or [""]
    return next((line for line in lines if "watchmove: " in line), lines[0])
