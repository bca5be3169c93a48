"""Submission, by both ways to Argo, against a real HTTP server."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.service.cluster.argo_cluster import ArgoCluster
from watchmove.pipeline.errors import InvalidInput, Unavailable
from watchmove.service.cluster.submit import WorkflowState, state_of, submit


@pytest.fixture
def reachable() -> Iterator[ArgoCluster]:
    """A cluster that the environment does not name yet."""
    cluster = ArgoCluster()
    yield cluster
    cluster.close()


@pytest.fixture(params=["kubernetes", "argo-server"])
def cluster(
    reachable: ArgoCluster, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> ArgoCluster:
    """A cluster that the environment leads to, by its own API or by Argo's server."""
    if request.param == "kubernetes":
        monkeypatch.delenv("ARGO_SERVER", raising=False)
        monkeypatch.setenv("KUBECONFIG", str(reachable.write_kubeconfig(tmp_path / "kubeconfig")))
    else:
        monkeypatch.setenv("ARGO_SERVER", reachable.address)
        monkeypatch.setenv("ARGO_SECURE", "false")
        monkeypatch.setenv("ARGO_TOKEN", "Bearer secret")
    return reachable


def _submit(**arguments: Any) -> tuple[WorkflowState, list[WorkflowState]]:
    """Submit with short waits; what came back, and what was told on the way."""
    told: list[WorkflowState] = []
    plain: dict[str, Any] = {"template": "watchmove", "namespace": "science", "parameters": {}, "wait": False}
    quick = {"poll_seconds": 0.01, "patience_seconds": 0.1}
    return submit(**{**plain, **quick, **arguments}, on_progress=told.append), told


def test_the_name_comes_back_at_once_when_nobody_waits(cluster: ArgoCluster) -> None:
    """Without waiting the workflow is started and not looked at."""
    state, told = _submit()

    assert len(cluster.posted) == 1
    assert state == WorkflowState("watchmove-abcde", "Pending", 0, 0, ())
    assert told == [state]


def test_the_token_is_sent(cluster: ArgoCluster) -> None:
    """Either way the credentials of the environment go with every request."""
    _submit(wait=True)

    assert cluster.tokens == {"Bearer secret"}


def test_parameters_reach_the_workflow(cluster: ArgoCluster) -> None:
    """A parameter is in the body in the form that the respective API reads."""
    _submit(parameters={"draw-world": "true"})

    body = cluster.posted[0]
    if "spec" in body:
        assert body["spec"]["workflowTemplateRef"] == {"name": "watchmove"}
        assert body["spec"]["arguments"]["parameters"] == [{"name": "draw-world", "value": "true"}]
        assert body["metadata"]["generateName"] == "watchmove-"
    else:
        assert body["resourceKind"] == "WorkflowTemplate"
        assert body["resourceName"] == "watchmove"
        assert body["submitOptions"]["parameters"] == ["draw-world=true"]


def test_waiting_tells_of_changes_only_and_ends_with_the_workflow(cluster: ArgoCluster) -> None:
    """Each new state is told once, and the last is returned."""
    running = {"phase": "Running", "progress": "1/3"}
    cluster.statuses = [running, running, {"phase": "Running", "progress": "2/3"}, {"phase": "Succeeded"}]
    state, told = _submit(wait=True)

    assert state.succeeded
    assert [(one.phase, one.done_pods) for one in told] == [
        ("Pending", 0),
        ("Running", 1),
        ("Running", 2),
        ("Succeeded", 0),
    ]


def test_a_failed_workflow_says_which_step_and_why(cluster: ArgoCluster) -> None:
    """The message of the pod that failed is in the state; no exception."""
    node = {"type": "Pod", "displayName": "plan(0)", "phase": "Failed", "message": "main: Error (exit code 65)"}
    steps = {"type": "DAG", "displayName": "watchmove", "phase": "Failed", "message": "child failed"}
    cluster.statuses = [{"phase": "Failed", "progress": "0/1", "nodes": {"a": node, "b": steps}}]
    state, _ = _submit(wait=True)

    assert not state.succeeded
    assert state.failures == ("plan(0): main: Error (exit code 65)",)


def test_a_template_that_is_not_installed_is_one_line(cluster: ArgoCluster) -> None:
    """The name, the namespace and what would do."""
    with pytest.raises(
        InvalidInput, match=r"namespace science: workflowtemplate nightly: 404 .*kubectl apply -k"
    ) as caught:
        _submit(template="nightly")

    assert "\n" not in str(caught.value)
    assert cluster.posted == []


def test_a_parameter_that_the_template_does_not_have_is_refused(cluster: ArgoCluster) -> None:
    """A typing mistake is found before anything is started."""
    with pytest.raises(InvalidInput, match=r"parameter draw-wrold: .* known there: draw-world"):
        _submit(parameters={"draw-wrold": "true"})

    assert cluster.posted == []


@pytest.mark.parametrize("code", [401, 403, 422])
def test_a_refusal_can_never_work(cluster: ArgoCluster, code: int) -> None:
    """Missing rights and malformed requests are no reason to try again; the cluster's own sentence is passed on."""
    cluster.refusals, cluster.sentence = [code], "you may not"

    with pytest.raises(InvalidInput, match=f"{code} you may not; "):
        _submit()


@pytest.mark.parametrize("code", [409, 429, 500, 503])
def test_an_overloaded_cluster_may_work_later(cluster: ArgoCluster, code: int) -> None:
    """Throttling and server faults are worth another try."""
    cluster.refusals = [code]

    with pytest.raises(Unavailable, match=str(code)):
        _submit()


def test_a_short_outage_while_waiting_is_sat_out(cluster: ArgoCluster) -> None:
    """The workflow goes on while its cluster's API does not answer, so waiting does too."""
    cluster.statuses = [{"phase": "Running", "progress": "0/1"}, {"phase": "Succeeded", "progress": "1/1"}]
    template_and_start_pass_then_two_fail = iter([[], [], [503, 503]])
    answer = cluster.answer

    def with_outage(method: str, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        cluster.refusals.extend(next(template_and_start_pass_then_two_fail, []))
        return answer(method, path, body)

    cluster.answer = with_outage  # type: ignore[method-assign]
    state, _ = _submit(wait=True)

    assert state.succeeded


def test_a_cluster_that_is_not_there_may_come_back(cluster: ArgoCluster) -> None:
    """Nobody at the address: one line, and worth another try."""
    cluster.close()

    with pytest.raises(Unavailable, match="cannot be reached") as caught:
        _submit()

    assert "\n" not in str(caught.value)


def test_without_any_cluster_the_line_says_what_to_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No KUBECONFIG and no ARGO_SERVER."""
    monkeypatch.delenv("ARGO_SERVER", raising=False)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "absent"))

    with pytest.raises(InvalidInput, match="set KUBECONFIG, or ARGO_SERVER and ARGO_TOKEN"):
        _submit()


def test_a_workflow_that_argo_has_not_seen_yet_is_pending() -> None:
    """A document without a status has a state all the same."""
    assert state_of({"metadata": {"name": "w"}}) == WorkflowState("w", "Pending", 0, 0, ())


def test_of_a_pods_last_words_the_line_about_its_ending_is_kept() -> None:
    """Argo's message holds the end of the pod's log; progress and the executor's own lines are left out."""
    words = 'main: Error (exit code 65): {"step": "plan"}\nwatchmove: no video there\nError: exit status 65\n'
    node = {"type": "Pod", "displayName": "plan(0)", "phase": "Failed", "message": words}
    state = state_of({"metadata": {"name": "w"}, "status": {"phase": "Failed", "nodes": {"a": node}}})

    assert state.failures == ("plan(0): watchmove: no video there",)
