"""The state of a workflow and of its steps, as Argo's controller writes it into the workflow's document."""

import base64
import json
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

_GZIP = 16 + zlib.MAX_WBITS
"""zlib's word for data with a header of gzip."""
_MOST_NODES_BYTES = 64 * 2**20
"""Most bytes of unpacked nodes that are read. A bound on memory, not a tuned value."""
POD_LOST = -1
"""Exit code of a pod that left none, as in the retry strategies of the templates."""
_ENDED = ("Succeeded", "Failed", "Error")
_FAILED = ("Failed", "Error")
_MOST_NAME_LETTERS = 242
"""Letters that Argo keeps of a pod's name before its number, so that a name has at most 253."""
_ENDED_AS = re.compile(r"\S+: \w+ \(exit code \d+\): ")
"""What Argo writes before the log of a container that failed, as in `main: OOMKilled (exit code 137): `."""
_EXECUTOR = " argo=true"
"""Mark of the lines that Argo's executor writes into the log of the container whose program it starts."""
_FORBIDDEN = " is forbidden: "
"""In the message of a pod that the API server did not admit, as a LimitRange or the namespace's security forbids it."""
_STARTS = (None, "", "PodInitializing", "ContainerCreating")
"""Messages of pods that wait for nothing."""
_POD_NAMES = "workflows.argoproj.io/pod-name-format"
"""Annotation of a workflow: v2, the default, or v1 if Argo names pods by their nodes' ids."""

HIDDEN_NODES = "its pods are not known, as Argo keeps their state in a database or compressed; ARGO_SERVER may help"
"""What is said of a workflow whose nodes cannot be read."""

Node = Mapping[str, Any]
"""One node in the status of a workflow: a pod, or a group of nodes."""


class StepState(NamedTuple):
    """How many of a step's pods are in which phase, and their `progress`: `done` of `total` units.

    A pod that was replaced by another attempt is counted in `retried` alone; one that waits for its next attempt is
    `pending`.
    """

    name: str
    pending: int
    running: int
    succeeded: int
    failed: int
    retried: int = 0
    done: int = 0
    total: int = 0


class WorkflowState(NamedTuple):
    """The state of a workflow: `phase` is Argo's, and `done_pods` of `known_pods` have ended.

    `failures` has a line for each failed pod, including pods that Argo has retried since; `waits`, one for each reason
    for which pods of a step have not started, and one if the workflow stands still or hides its pods. `exit_codes` has
    those of the failed pods that Argo has not retried: -1 for a pod that was lost, None for one that left none. `steps`
    has those that have begun, in the order in which they did.
    """

    name: str
    phase: str
    done_pods: int
    known_pods: int
    failures: tuple[str, ...]
    exit_codes: tuple[int | None, ...] = ()
    steps: tuple[StepState, ...] = ()
    waits: tuple[str, ...] = ()

    @property
    def ended(self) -> bool:
        """Whether the workflow has ended, in success or failure."""
        return self.phase in _ENDED

    @property
    def succeeded(self) -> bool:
        """Whether the workflow has ended in success."""
        return self.phase == "Succeeded"


def phase_of(document: Mapping[str, Any]) -> str:
    """The phase in a Workflow document; Pending while Argo's controller has not seen it."""
    return str((document.get("status") or {}).get("phase") or "Pending")


def has_ended(document: Mapping[str, Any]) -> bool:
    """Whether a Workflow document says that the workflow has ended, in success or failure."""
    return phase_of(document) in _ENDED


def state_of(document: Mapping[str, Any]) -> WorkflowState:
    """The state in a Workflow document of Argo."""
    status = document.get("status") or {}
    done, known = _progress(status)
    pods = pods_of(document)
    failures = tuple(
        f"{node.get('displayName', '')}: {_sentence(str(node.get('message', 'no message')))}"
        for node in pods.values()
        if has_failed(node)
    )
    # If it failed before any pod did, only the workflow itself says why.
    if status.get("message") and not failures:
        failures = (str(status["message"]),)
    # A node of the type Retry has its attempts as children, in their order.
    retries = [node for node in nodes_of(document).values() if node.get("type") == "Retry" and node.get("children")]
    replaced = {child for node in retries for child in node["children"][:-1]}
    # Of a workflow that is stopped, retries remain in their phase without another attempt.
    goes_on = not (has_ended(document) or (document.get("spec") or {}).get("shutdown"))
    awaited = {node["children"][-1] for node in retries if goes_on and node.get("phase") in ("Pending", "Running")}
    codes = tuple(_exit_code(node) for key, node in pods.items() if key not in replaced and has_failed(node))
    steps = tuple(_step_states(pods, replaced, awaited))
    name, waits = str(document["metadata"]["name"]), () if has_ended(document) else tuple(_waits(document, pods))
    return WorkflowState(name, phase_of(document), done, known, failures, codes, steps, waits)


def pods_of(document: Mapping[str, Any]) -> dict[str, Node]:
    """The nodes of a workflow's pods by their ids, in the order in which they began.

    Nodes of other types (DAGs, retries) fail because of a pod, and would repeat its failure.
    """
    pods = [(key, node) for key, node in nodes_of(document).items() if node.get("type") == "Pod"]
    return dict(sorted(pods, key=lambda row: (str(row[1].get("startedAt") or "~"), row[0])))


def hides_nodes(document: Mapping[str, Any]) -> bool:
    """Whether Argo keeps the nodes of a workflow where they cannot be read: in its database, or in an unknown form."""
    status = document.get("status") or {}
    return bool(status.get("offloadNodeStatusVersion") or status.get("compressedNodes")) and not nodes_of(document)


def nodes_of(document: Mapping[str, Any]) -> dict[str, Node]:
    """All nodes of a workflow by their ids."""
    status = document.get("status") or {}
    found: dict[str, Node] = status.get("nodes") or _unpacked(status.get("compressedNodes"))
    return found


def step_of(node: Node) -> str:
    """The name of the step whose pod a node is: `extract` of `extract(3:3)(0)`."""
    return str(node.get("displayName", "")).partition("(")[0]


def has_failed(node: Node) -> bool:
    """Whether a node's pod has failed, or was lost."""
    return node.get("phase") in _FAILED


def pod_name(document: Mapping[str, Any], key: str, node: Node) -> str:
    """The name that Argo gave the pod of a node with the id `key`."""
    metadata = document["metadata"]
    workflow = str(metadata["name"])
    if (metadata.get("annotations") or {}).get(_POD_NAMES) == "v1" or key == workflow:
        return key
    template = (node.get("templateRef") or {}).get("template") or node.get("templateName")
    prefix = f"{workflow}-{template}" if template else workflow
    return f"{prefix[:_MOST_NAME_LETTERS]}-{key.rpartition('-')[2]}"


def _step_states(pods: Mapping[str, Node], replaced: set[str], awaited: set[str]) -> Iterator[StepState]:
    """The states of steps; `replaced` and `awaited` are the ids of attempts that have or will get a successor."""
    steps: dict[str, dict[str, Node]] = {}
    for key, node in pods.items():
        steps.setdefault(step_of(node), {})[key] = node
    for name, own in steps.items():
        again = {key for key, node in own.items() if key in replaced or (key in awaited and has_failed(node))}
        phases = Counter(
            "Failed" if has_failed(node) else node.get("phase") for key, node in own.items() if key not in again
        )
        units = [_progress(node) for key, node in own.items() if key not in again]
        yield StepState(
            name,
            phases["Pending"] + len(again - replaced),
            phases["Running"],
            phases["Succeeded"],
            phases["Failed"],
            len(again),
            sum(done for done, _ in units),
            sum(total for _, total in units),
        )


def _waits(document: Mapping[str, Any], pods: Mapping[str, Node]) -> Iterator[str]:
    """Yield why a workflow that has not ended, or pods of its steps, do not go on."""
    if (document.get("spec") or {}).get("suspend"):
        yield "suspended: no pod starts until it is resumed"
    if hides_nodes(document):
        yield HIDDEN_NODES
    # Argo writes into a pending pod's node what Kubernetes says of it, such as ImagePullBackOff.
    pending = [node for node in pods.values() if node.get("phase") == "Pending" and node.get("message") not in _STARTS]
    words = Counter((step_of(node), " ".join(str(node["message"]).split())) for node in pending)
    yield from (f"{step}: {count} waiting: {why}" for (step, why), count in words.items())


def _progress(status: Node) -> tuple[int, int]:
    """Argo's progress of a node or a workflow, `N/M`; zeros if it has none."""
    done, slash, total = str(status.get("progress") or "").partition("/")
    return (int(done), int(total)) if slash and done.isdecimal() and total.isdecimal() else (0, 0)


def _exit_code(node: Node) -> int | None:
    """The exit code of a failed pod: -1 if it was lost, None if it never ran, or ran out of time."""
    code = str((node.get("outputs") or {}).get("exitCode", ""))
    lost = node["phase"] == "Error" and _FORBIDDEN not in str(node.get("message"))
    return int(code) if code.isdecimal() else POD_LOST if lost else None


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
    """How a pod ended, from Argo's message: as watchmove says, or else in Argo's words with the first line of the log.

    The message is what Argo says of the container, and then the last lines of the container's log, among which are
    those of Argo's executor.
    """
    found = _ENDED_AS.match(message)
    ended_as = found[0] if found else ""
    lines = [line for line in message.removeprefix(ended_as).splitlines() if _EXECUTOR not in line]
    said = next(filter(None, map(_failure, lines)), "")
    return said or (ended_as + "".join(lines[:1])).removesuffix(": ")


def _failure(line: str) -> str:
    """What a line of a log says about the end of a step; empty if it is about something else."""
    if line.startswith("{"):
        try:
            document = json.loads(line)
        except ValueError:
            return ""
        return f"{document['ending']}: {document['reason']}" if {"ending", "reason"} <= document.keys() else ""
    return line if "watchmove: " in line else ""
