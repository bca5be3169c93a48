"""What is read of the status that Argo's controller writes."""

from typing import Any

import pytest

from tests.service.cluster.argo_cluster import pod, retry
from watchmove.pipeline.errors import InvalidInput
from watchmove.service.cluster.logs import Choice
from watchmove.service.cluster.workflow_names import parameters_of
from watchmove.service.cluster.workflow_state import (
    HIDDEN_NODES,
    StepState,
    WorkflowState,
    pod_name,
    pods_of,
    state_of,
)


def state(phase: str, nodes: dict[str, Any], **spec: Any) -> WorkflowState:
    """The state of a workflow in this phase with these nodes."""
    return state_of({"metadata": {"name": "w"}, "spec": spec, "status": {"phase": phase, "nodes": nodes}})


def test_pods_are_counted_by_step_and_phase() -> None:
    """A step is what precedes the index in a name; steps stand in the order in which they began."""
    nodes = {
        "e": pod("report", "Pending"),
        "a": pod("extract(0:0)(0)", "Succeeded", startedAt="2026-01-01T00:02:00Z"),
        "b": pod("extract(1:1)(0)", "Running", startedAt="2026-01-01T00:02:00Z"),
        "c": pod("extract(2:2)(0)", "Error", startedAt="2026-01-01T00:02:01Z"),
        "d": pod("plan(0)", "Succeeded", startedAt="2026-01-01T00:01:00Z"),
        "f": {"type": "DAG", "displayName": "extract", "phase": "Running"},
    }

    assert state("Running", nodes).steps == (
        StepState("plan", 0, 0, 1, 0),
        StepState("extract", 0, 1, 1, 1),
        StepState("report", 1, 0, 0, 0),
    )


def test_only_the_last_attempt_of_a_pod_is_counted() -> None:
    """A failure that Argo has repaired by another attempt is none of the step."""
    nodes = {
        "a": pod("extract(0:0)(0)", "Failed", "75"),
        "b": pod("extract(0:0)(1)", "Succeeded"),
        "r": retry("Succeeded", "a", "b"),
    }

    assert state("Running", nodes).steps == (StepState("extract", 0, 0, 1, 0, retried=1),)


@pytest.mark.parametrize(
    ("phase", "spec", "expected"),
    [
        ("Running", {}, StepState("plan", 1, 0, 0, 0, retried=1)),
        ("Running", {"shutdown": "Stop"}, StepState("plan", 0, 0, 0, 1)),
        ("Failed", {"shutdown": "Stop"}, StepState("plan", 0, 0, 0, 1)),
    ],
)
def test_a_pod_waits_for_its_next_attempt_unless_the_workflow_is_stopped(
    phase: str, spec: dict[str, Any], expected: StepState
) -> None:
    """While Argo waits before the next attempt there is none; after a stop there will be none."""
    nodes = {"a": pod("plan(0)", "Failed", "75"), "r": retry("Running", "a")}

    assert state(phase, nodes, **spec).steps == (expected,)


def test_the_progress_of_a_step_is_that_of_its_pods() -> None:
    """Argo's N/M is added up; a pod without one, or with one that is no number, adds nothing."""
    nodes = {
        "a": pod("extract(0:0)", "Running", progress="3/40"),
        "b": pod("extract(1:1)", "Running", progress="2/40"),
        "c": pod("extract(2:2)", "Running", progress="some"),
        "d": pod("extract(3:3)", "Pending"),
    }
    (step,) = state("Running", nodes).steps

    assert (step.done, step.total) == (5, 80)


@pytest.mark.parametrize(
    ("workflow", "annotations", "key", "node", "expected"),
    [
        ("w", {}, "w-12", {"templateName": "plan"}, "w-plan-12"),
        ("w", {}, "w-12", {"templateRef": {"name": "watchmove-plan", "template": "plan"}}, "w-plan-12"),
        ("w", None, "w", {"templateName": "plan"}, "w"),
        ("w", {"workflows.argoproj.io/pod-name-format": "v1"}, "w-12", {"templateName": "plan"}, "w-12"),
        ("w" * 250, {}, "w" * 250 + "-12", {"templateName": "plan"}, "w" * 242 + "-12"),
    ],
)
def test_a_pods_name_is_the_one_that_argo_gives(
    workflow: str, annotations: dict[str, str] | None, key: str, node: dict[str, Any], expected: str
) -> None:
    """Workflow, template and number; the workflow's alone if it is a single pod, and the node's id in the old form."""
    assert pod_name({"metadata": {"name": workflow, "annotations": annotations}}, key, node) == expected


def test_nodes_of_a_workflow_without_a_status_are_none() -> None:
    """A workflow that Argo has not seen has no pods."""
    assert pods_of({"metadata": {"name": "w"}}) == {}


def test_what_pods_wait_for_is_said_once_for_a_step() -> None:
    """An image that cannot be pulled leaves pods pending for days; Argo has the reason in their nodes."""
    why = "ImagePullBackOff: Back-off pulling image"
    nodes = {
        "a": pod("extract(0:0)(0)", "Pending", message=why),
        "b": pod("extract(1:1)(0)", "Pending", message=why),
        "c": pod("extract(2:2)(0)", "Pending", message="Unschedulable: 0/1 nodes\nare available"),
        "d": pod("extract(3:3)(0)", "Pending", message="PodInitializing"),
        "e": pod("plan(0)", "Succeeded", message="done"),
    }

    assert state("Running", nodes).waits == (
        f"extract: 2 waiting: {why}",
        "extract: 1 waiting: Unschedulable: 0/1 nodes are available",
    )
    assert state("Failed", nodes).waits == ()


def test_a_suspended_workflow_says_so() -> None:
    """It is otherwise one whose first pod takes long."""
    assert state("Running", {}, suspend=True).waits == ("suspended: no pod starts until it is resumed",)


@pytest.mark.parametrize("status", [{"offloadNodeStatusVersion": "fnv:1"}, {"compressedNodes": "KLUv/QBY"}])
def test_nodes_that_cannot_be_read_are_not_taken_for_none(status: dict[str, Any]) -> None:
    """Argo keeps the nodes of large workflows in its database, or compresses them in a way of its choice."""
    document = {"metadata": {"name": "w"}, "status": {"phase": "Running", **status}}

    assert state_of(document).waits == (HIDDEN_NODES,)
    with pytest.raises(InvalidInput, match="workflow w: its pods are not known"):
        Choice().pods(document)


@pytest.mark.parametrize(("value", "text"), [(0, "0"), (False, "false"), (None, ""), ("", ""), (1.5, "1.5")])
def test_a_parameter_that_is_no_text_is_what_argo_reads(value: object, text: str) -> None:
    """Kubernetes keeps a number or truth value of a manifest as it was written."""
    parameters = [{"name": "run", "value": value}]

    assert parameters_of({"spec": {"arguments": {"parameters": parameters}}}) == {"run": text}


def test_steps_of_a_workflow_with_thousands_are_told_apart_at_once() -> None:
    """A workflow of another template may have as many steps as pods; a pod is looked at a few times, not for each."""
    looks = 0

    class Counted(dict[str, Any]):
        def get(self, key: str, default: Any = None) -> Any:
            nonlocal looks
            looks += key == "displayName"
            return super().get(key, default)

    nodes = {f"w-{i}": Counted(pod(f"step-{i}", "Running")) for i in range(500)}

    assert len(state("Running", nodes).steps) == 500
    assert looks < 10 * 500
