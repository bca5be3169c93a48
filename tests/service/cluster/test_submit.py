"""Submission through the Kubernetes API and through Argo's server, against a real HTTP server."""

import base64
import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.service.cluster.argo_cluster import TEMPLATE, Answer, ArgoCluster, pod, retry
from watchmove.pipeline.errors import InvalidInput, Unavailable
from watchmove.service.cli.main import app
from watchmove.service.cluster.submit import submit
from watchmove.service.cluster.watch import watch
from watchmove.service.cluster.workflow_api import connect
from watchmove.service.cluster.workflow_state import WorkflowState, state_of

EXECUTOR_BEFORE = 'time=2026-11-30T18:14:36.096Z level=INFO msg="waiting for signals" argo=true signalPath=/ctr/main'
EXECUTOR_AFTER = 'time=2026-11-30T18:14:38.111Z level=INFO msg="sub-process exited" error="exit status 65" argo=true'
FAILED = '{"ending": "invalid input", "exit_code": 65, "reason": "no video there", "event": "failed", "level": "error"}'


def _submit(template: str = "watchmove", parameters: dict[str, str] | None = None) -> WorkflowState:
    return submit(connect("science"), template, parameters or {})


def _submit_and_wait(patience_seconds: float = 0.1) -> tuple[WorkflowState, list[WorkflowState]]:
    """Submit and watch with short waits; return the last state and all reported states."""
    told: list[WorkflowState] = []
    state = watch(connect("science"), _submit(), told.append, poll_seconds=0.01, patience_seconds=patience_seconds)
    return state, told


def test_the_name_comes_back_at_once_when_nobody_waits(cluster: ArgoCluster) -> None:
    """Without --wait the workflow is started and its state is not requested."""
    state = _submit()

    assert len(cluster.posted) == 1
    assert state == WorkflowState("watchmove-abcde", "Pending", 0, 0, ())
    assert len(cluster.requested) == 2


def test_the_token_is_sent(cluster: ArgoCluster) -> None:
    """Every request carries the credentials of the environment."""
    _submit_and_wait()

    assert cluster.tokens == {"Bearer secret"}


def test_parameters_reach_the_workflow(cluster: ArgoCluster) -> None:
    """The workflow names its template and has the parameter, whichever API reads it."""
    _submit(parameters={"draw-world": "true"})

    (body,) = cluster.posted
    assert body["spec"]["workflowTemplateRef"] == {"name": "watchmove"}
    assert body["spec"]["arguments"]["parameters"] == [{"name": "draw-world", "value": "true"}]
    assert body["metadata"]["generateName"] == "watchmove-"


def test_waiting_tells_of_changes_only_and_ends_with_the_workflow(cluster: ArgoCluster) -> None:
    """Each new state is reported once, and the last is returned."""
    running = {"phase": "Running", "progress": "1/3"}
    cluster.statuses = [running, running, {"phase": "Running", "progress": "2/3"}, {"phase": "Succeeded"}]
    state, told = _submit_and_wait()

    assert state.succeeded
    assert [(one.phase, one.done_pods) for one in told] == [
        ("Running", 1),
        ("Running", 2),
        ("Succeeded", 0),
    ]


def test_a_failed_workflow_says_which_step_and_why(cluster: ArgoCluster) -> None:
    """The state contains the failed pod's message, and no exception is raised."""
    node = {"type": "Pod", "displayName": "plan(0)", "phase": "Failed", "message": "main: Error (exit code 65)"}
    steps = {"type": "DAG", "displayName": "watchmove", "phase": "Failed", "message": "child failed"}
    cluster.statuses = [{"phase": "Failed", "progress": "0/1", "nodes": {"a": node, "b": steps}}]
    state, _ = _submit_and_wait()

    assert not state.succeeded
    assert state.failures == ("plan(0): main: Error (exit code 65)",)


def test_a_template_that_is_not_installed_is_one_line(cluster: ArgoCluster) -> None:
    """The error names the template, the namespace and what would fix it."""
    with pytest.raises(
        InvalidInput, match=r"namespace science: workflowtemplate nightly: 404 .*kubectl apply -k"
    ) as caught:
        _submit(template="nightly")

    assert "\n" not in str(caught.value)
    assert cluster.posted == []


def test_a_parameter_that_the_template_does_not_have_is_refused(cluster: ArgoCluster) -> None:
    """A misspelt parameter is found before anything is started."""
    with pytest.raises(InvalidInput, match=r"parameter draw-wrold: .* known there: draw-world, nodes, run"):
        _submit(parameters={"draw-wrold": "true"})

    assert cluster.posted == []


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("draw-world=yes", "parameter draw-world = 'yes': must be one of true, false"),
        ("draw-world=", "parameter draw-world = '': must be one of true, false"),
        *((f"nodes={value}", "must be a whole number from 1") for value in ("", "two", "0", "-1", "1.5", "1e3", "0x2")),
        *(
            (f"run={value}", "a run's name is letters")
            for value in ("a b", "a\nb", "../x", "{{workflow.name}}", "$(id)")
        ),
    ],
)
def test_a_value_that_is_not_permitted_is_refused(cluster: ArgoCluster, given: str, why: str) -> None:
    """Argo itself refuses no value: a wrong number of nodes would be found after all of extraction."""
    done = CliRunner().invoke(app, ["submit", "-n", "science", "-p", given])

    assert done.exit_code == 65
    assert why in done.stderr
    assert cluster.posted == []


@pytest.mark.parametrize("given", ["draw-world=true", "nodes=16", "run=", "run=1e3", "run=null", "run=0x10"])
def test_a_value_that_is_permitted_arrives_as_it_was_given(cluster: ArgoCluster, given: str) -> None:
    """A name that YAML would read as another type stays a text."""
    done = CliRunner().invoke(app, ["submit", "-n", "science", "-p", given])
    name, _, value = given.partition("=")

    assert done.exit_code == 0, done.stderr
    assert cluster.posted[0]["spec"]["arguments"]["parameters"] == [{"name": name, "value": value}]


def test_a_template_that_only_has_steps_for_others_is_refused(
    cluster: ArgoCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Argo would make the workflow, and let it fail for its missing entrypoint."""
    monkeypatch.delitem(TEMPLATE["spec"], "entrypoint")

    with pytest.raises(InvalidInput, match="workflowtemplate watchmove: only has steps for other templates"):
        _submit()
    assert cluster.posted == []


@pytest.mark.parametrize("code", [401, 403, 422, 499])
def test_a_refusal_can_never_work(cluster: ArgoCluster, code: int) -> None:
    """Missing permissions and malformed requests are invalid input; the cluster's message is included."""
    cluster.refusals, cluster.sentence = [code], "you may not"

    with pytest.raises(InvalidInput, match=f"{code} you may not; "):
        _submit()


@pytest.mark.parametrize("code", [409, 429, 500, 503])
def test_an_overloaded_cluster_may_work_later(cluster: ArgoCluster, code: int) -> None:
    """Throttling and server errors may succeed later."""
    cluster.refusals = [code]

    with pytest.raises(Unavailable, match=str(code)):
        _submit()


def test_a_short_outage_while_waiting_is_sat_out(cluster: ArgoCluster) -> None:
    """A workflow runs on while the API does not answer, so waiting continues as well."""
    cluster.statuses = [{"phase": "Running", "progress": "0/1"}, {"phase": "Succeeded", "progress": "1/1"}]
    template_and_start_pass_then_two_fail = iter([[], [], [503, 503]])
    answer = cluster.answer

    def with_outage(method: str, path: str, body: dict[str, Any]) -> Answer:
        cluster.refusals.extend(next(template_and_start_pass_then_two_fail, []))
        return answer(method, path, body)

    cluster.answer = with_outage  # type: ignore[method-assign]
    state, _ = _submit_and_wait(patience_seconds=60.0)  # a busy machine may be slow between two requests

    assert state.succeeded


def test_a_cluster_that_is_not_there_may_come_back(cluster: ArgoCluster) -> None:
    """A refused connection is reported in one line and may succeed later."""
    cluster.close()

    with pytest.raises(Unavailable, match="cannot be reached") as caught:
        _submit()

    assert "\n" not in str(caught.value)


def test_without_any_cluster_the_line_says_what_to_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without KUBECONFIG and ARGO_SERVER the error says what to set."""
    monkeypatch.delenv("ARGO_SERVER", raising=False)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "absent"))

    with pytest.raises(InvalidInput, match="set KUBECONFIG, or ARGO_SERVER and ARGO_TOKEN"):
        _submit()


def test_a_workflow_that_argo_has_not_seen_yet_is_pending() -> None:
    """A document without a status gives the state Pending."""
    assert state_of({"metadata": {"name": "w"}}) == WorkflowState("w", "Pending", 0, 0, ())


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        (
            'main: Error (exit code 65): {"step": "plan"}\nwatchmove: no video there\nError: exit status 65\n',
            "watchmove: no video there",
        ),
        (
            f"main: Error (exit code 65): {EXECUTOR_BEFORE}\n{FAILED}\n{EXECUTOR_AFTER}\nError: exit status 65\n",
            "invalid input: no video there",
        ),
        (
            f'main: Error (exit code 65): {{"event": "step"}}\n{FAILED}\n{EXECUTOR_AFTER}\n',
            "invalid input: no video there",
        ),
        (f"main: OOMKilled (exit code 137): {EXECUTOR_BEFORE}\n{EXECUTOR_AFTER}\n", "main: OOMKilled (exit code 137)"),
        (
            f"main: Error (exit code 1): {EXECUTOR_BEFORE}\nTraceback\nValueError\n",
            "main: Error (exit code 1): Traceback",
        ),
        ("main: Error (exit code 65): {cut off\n", "main: Error (exit code 65): {cut off"),
        ("init: Error (exit code 143)", "init: Error (exit code 143)"),
        ("pod deleted", "pod deleted"),
        ("", ""),
    ],
)
def test_of_a_pods_last_words_those_about_its_ending_are_kept(words: str, kept: str) -> None:
    """In Argo's message are a pod's log and, since Argo 4 also before it, lines of Argo's executor."""
    node = {"type": "Pod", "displayName": "plan(0)", "phase": "Failed", "message": words}
    state = state_of({"metadata": {"name": "w"}, "status": {"phase": "Failed", "nodes": {"a": node}}})

    assert state.failures == (f"plan(0): {kept}",)


@pytest.mark.parametrize(
    ("nodes", "codes"),
    [
        ({"a": pod("x", "Failed", "75"), "b": pod("x", "Succeeded", "0")}, (75,)),
        ({"a": pod("x", "Failed", "65"), "b": pod("x", "Failed", "75"), "r": retry("Failed", "a", "b")}, (75,)),
        ({"a": pod("x", "Error"), "b": pod("x", "Failed")}, (-1, None)),
        ({"a": pod("x", "Error", message='pods "w-x-1" is forbidden: maximum cpu usage per Container is 1')}, (None,)),
        ({}, ()),
    ],
)
def test_the_codes_of_a_workflow_are_those_of_the_last_attempts(
    nodes: dict[str, object], codes: tuple[int | None, ...]
) -> None:
    """An attempt that Argo has retried decides nothing; a lost pod has a code of its own, one not admitted has none."""
    state = state_of({"metadata": {"name": "w"}, "status": {"phase": "Failed", "nodes": nodes}})

    assert state.exit_codes == codes


@pytest.mark.parametrize(("code", "ends_with"), [("75", 75), ("137", 75), ("143", 75), ("65", 65), ("70", 65)])
def test_waiting_ends_with_the_code_of_what_may_help(cluster: ArgoCluster, code: str, ends_with: int) -> None:
    """A workflow that failed for an outage may be submitted again; another may not."""
    cluster.statuses = [{"phase": "Failed", "progress": "0/1", "nodes": {"a": pod("x", "Failed", code)}}]
    done = CliRunner().invoke(app, ["submit", "--wait", "-n", "science"])

    assert done.exit_code == ends_with, done.stderr
    assert ("submit it again with the same run" in done.stderr) is (ends_with == 75)


def test_failures_of_a_large_workflow_are_named() -> None:
    """From some hundreds of pods on, Argo stores the nodes compressed; damaged ones leave what the workflow says."""
    node = {"type": "Pod", "phase": "Failed", "displayName": "extract(3:3)", "message": "watchmove: invalid input: x"}
    packed = base64.b64encode(gzip.compress(json.dumps({"a": node}).encode())).decode()
    status = {"phase": "Failed", "message": "child 'w-1' failed"}
    known, damaged = (
        state_of({"metadata": {"name": "w"}, "status": {**status, "compressedNodes": nodes}})
        for nodes in (packed, packed[:20])
    )

    assert known.failures == ("extract(3:3): watchmove: invalid input: x",)
    assert damaged.failures == ("child 'w-1' failed",)
