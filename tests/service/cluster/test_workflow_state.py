"""What is read of the status that Argo's controller writes."""

from typing import Any

import pytest

from tests.service.cluster.argo_cluster import pod, retry
from watchmove.service.cluster.workflow_state import StepState, WorkflowState, pod_name, pods_of, state_of


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
