"""What the pods of a workflow have written, line by line."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

from watchmove.pipeline.errors import InvalidInput, Unavailable
from watchmove.service.cluster.api_errors import Refused
from watchmove.service.cluster.watch import POLL_SECONDS, patiently
from watchmove.service.cluster.workflow_api import WorkflowApi
from watchmove.service.cluster.workflow_state import (
    HIDDEN_NODES,
    Node,
    has_ended,
    has_failed,
    hides_nodes,
    pod_name,
    pods_of,
    step_of,
)

_MOST_FOLLOWED = 100
"""Most pods that are followed at the same time; more than a run has in parallel. Not tuned."""


class LogLine(NamedTuple):
    """A line of a pod, or a remark on its log; `node` is the name that Argo shows for the pod."""

    node: str
    text: str


class _End(NamedTuple):
    """The end of a log that is followed; `lines` of it have been read, `before` of them by earlier readers."""

    key: str
    error: Exception | None
    before: int
    lines: int


class Choice(NamedTuple):
    """Of which pods the logs are read: those of one step, or of all if `step` is empty; all, or the failed ones."""

    step: str = ""
    failed: bool = False

    def pods(self, document: Mapping[str, Any]) -> dict[str, Node]:
        """The nodes of the chosen pods by their ids, in the order in which they began.

        Raises:
            InvalidInput: the workflow has ended and never had the step, or its pods cannot be known.
        """
        if hides_nodes(document):
            raise InvalidInput(f"workflow {document['metadata']['name']}: {HIDDEN_NODES}")
        pods = pods_of(document)
        own = {key: node for key, node in pods.items() if self.step in ("", step_of(node), node.get("displayName"))}
        if self.step and not own and has_ended(document):
            steps = ", ".join(dict.fromkeys(step_of(node) for node in pods.values())) or "none"
            name = document["metadata"]["name"]
            raise InvalidInput(f"--step {self.step}: workflow {name} has no pod of it; it has pods of: {steps}")
        return {key: node for key, node in own.items() if has_failed(node) or not self.failed}


def read_logs(api: WorkflowApi, document: Mapping[str, Any], choice: Choice) -> Iterator[LogLine]:
    """Yield what the chosen pods of a workflow have written until now, pod by pod.

    A log that cannot be read is a remark, and the others follow.

    Raises:
        InvalidInput: the step does not exist, or logs may not be read.
        Unavailable: some logs could not be read, and may be later.
    """
    broken = 0
    for key, node in choice.pods(document).items():
        name, lines = str(node.get("displayName", key)), 0
        if node.get("phase") == "Pending":
            why = " ".join(str(node.get("message") or "").split())
            yield LogLine(name, f"(has not started: {why})" if why else "(has not started)")
            continue
        try:
            for line in api.log(str(document["metadata"]["name"]), pod_name(document, key, node), follow=False):
                lines += 1
                yield LogLine(name, line)
        except (Refused, Unavailable) as error:
            broken += isinstance(error, Unavailable)
            yield LogLine(name, _remark(error))
        else:
            if not lines:
                yield LogLine(name, "(no lines: the pod wrote none, or is gone)")
    if broken:
        raise Unavailable(f"logs of {broken} pods could not be read; try again")


def follow_logs(
    api: WorkflowApi, document: Mapping[str, Any], choice: Choice, poll_seconds: float = POLL_SECONDS
) -> Iterator[LogLine]:
    """Yield what the chosen pods have written and write, as it comes, until the workflow has ended.

    A log that breaks off, as by a connection that is lost, goes on with the next line, unless another try brings none.

    Raises:
        InvalidInput: the step does not exist, or logs may not be read.
        Unavailable: the cluster cannot be reached.
    """
    come: SimpleQueue[LogLine | _End] = SimpleQueue()
    begun: set[str] = set()
    active: set[str] = set()
    read: Counter[str] = Counter()
    while True:
        name, pods = str(document["metadata"]["name"]), choice.pods(document)
        waiting = [key for key, node in pods.items() if key not in begun and node.get("phase") != "Pending"]
        for key in waiting[: _MOST_FOLLOWED - len(active)]:
            reader = _reader(api, name, pod_name(document, key, pods[key]))
            threading.Thread(target=_copy, args=(reader, key, pods[key], read[key], come), daemon=True).start()
            begun.add(key)
            active.add(key)
        if has_ended(document) and not active:
            return
        for one in _arrived(come, poll_seconds):
            if isinstance(one, LogLine):
                yield one
                continue
            active.discard(one.key)
            read[one.key] = one.lines
            if isinstance(one.error, Unavailable) and one.lines > one.before:
                begun.discard(one.key)
            elif _is_early(one.error) and not has_ended(document):
                begun.discard(one.key)  # Argo may call a pod running while its image is pulled
            elif one.error:
                yield LogLine(str(pods[one.key].get("displayName", one.key)), _remark(one.error))
            if not active:
                break
        document = patiently(api, name)


def _reader(api: WorkflowApi, workflow: str, pod: str) -> Callable[[], Iterator[str]]:
    return lambda: api.log(workflow, pod, follow=True)


def _copy(
    read: Callable[[], Iterator[str]], key: str, node: Node, before: int, to: "SimpleQueue[LogLine | _End]"
) -> None:
    """Hand over the lines of a pod after the first `before`, and then the end of its log."""
    failure, lines = None, 0
    try:
        for lines, line in enumerate(read(), 1):
            if lines > before:
                to.put(LogLine(str(node.get("displayName", key)), line))
    except Exception as error:  # noqa: BLE001 (raised again by the thread that reads the queue)
        failure = error
    to.put(_End(key, failure, before, max(lines, before)))


def _arrived(come: "SimpleQueue[LogLine | _End]", seconds: float) -> Iterator[LogLine | _End]:
    """Yield what comes within a time."""
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        try:
            yield come.get(timeout=left)
        except Empty:
            return


def _is_early(error: Exception | None) -> bool:
    """Whether a log could not be read because the container has not started."""
    return isinstance(error, Refused) and error.status == HTTPStatus.BAD_REQUEST


def _remark(error: Exception) -> str:
    """What is said of one pod's log that cannot be read.

    Raises:
        Exception: the error itself, if the logs of other pods cannot be read either.
    """
    if _is_early(error):
        return "(its container has not started)"
    if isinstance(error, Refused) and error.status == HTTPStatus.NOT_FOUND:
        return "(the pod is gone, and its log with it)"
    if isinstance(error, Unavailable):
        return f"(the log breaks off: {error})"
    raise error
