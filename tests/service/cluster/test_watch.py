"""Watching workflows by name, through the Kubernetes API and through Argo's server."""

import re
import signal
import subprocess
import sys
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from tests.service.cluster.argo_cluster import NAME, Answer, ArgoCluster, pod, retry
from watchmove.pipeline.errors import InvalidInput
from watchmove.service.cli.main import app
from watchmove.service.cluster.watch import changes
from watchmove.service.cluster.workflow_api import connect
from watchmove.service.cluster.workflow_names import find_workflow
from watchmove.service.cluster.workflow_state import StepState, WorkflowState

DONE = {"phase": "Succeeded", "progress": "1/1"}
RUNNING = {"phase": "Running", "progress": "0/1"}
RUN = {"parameters": [{"name": "run", "value": "daily"}]}


def watched(*words: str, **environment: str) -> Result:
    """What `watchmove watch` does in the namespace `science`."""
    return CliRunner(env=environment).invoke(app, ["watch", *words, "-n", "science"])


def found(name: str = "") -> str:
    """The name of the workflow that a name means."""
    return str(find_workflow(connect("science"), "science", name)["metadata"]["name"])


def test_each_change_is_a_line_where_output_is_no_terminal(cluster: ArgoCluster) -> None:
    """The workflow, its steps and its failures have a line each when they change, and none when they do not."""
    first = {"a": pod("plan(0)", "Failed", "75", message="watchmove: unavailable"), "r": retry("Running", "a")}
    then = {**first, "b": pod("plan(1)", "Succeeded", progress="7/7"), "r": retry("Succeeded", "a", "b")}
    cluster.statuses = [{**RUNNING, "nodes": first}, {**DONE, "nodes": then}]
    cluster.add(NAME, {})
    done = watched(NAME)

    assert done.exit_code == 0, done.stderr
    assert done.stdout.splitlines() == [
        f"{NAME}: Running, 0 of 1 pods",
        f"{NAME}: plan: 1 pending, 1 retried",
        f"{NAME}: plan(0): watchmove: unavailable",
        f"{NAME}: Succeeded, 1 of 1 pods",
        f"{NAME}: plan: 1 succeeded, 1 retried, progress 7/7",
    ]


def test_a_signal_ends_the_watching_alone(cluster: ArgoCluster) -> None:
    """The code is that of a stopped command, and the message says that the workflow goes on."""
    cluster.add("w", RUNNING)
    command = [sys.executable, "-m", "watchmove", "watch", "w", "-n", "science"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        first = watching.stdout.readline()
        watching.send_signal(signal.SIGINT)
        _, errors = watching.communicate(timeout=60)

    assert first == "w: Running, 0 of 1 pods\n"
    assert watching.returncode == 143
    assert errors.startswith("watchmove: stopped: received a signal; workflow w goes on")
    assert cluster.patched == []


def test_a_terminal_shows_the_state_in_place(kubernetes: ArgoCluster) -> None:
    """On a terminal there is a table of the steps, and below it the last failures."""
    failed = {f"p{i}": pod(f"extract({i}:{i})", "Failed", "65", message="no\x1b]0;x\x07 [b]video") for i in range(7)}
    kubernetes.add("w", {"phase": "Failed", "progress": "0/7", "nodes": failed})
    done = watched("w", FORCE_COLOR="1", COLUMNS="100")
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", done.stdout)

    assert done.exit_code == 65
    assert re.search(r"extract +│ +│ +│ +│ +7 │ +│ +│", text)
    assert "2 earlier failures\nextract(2:2): no?]0;x? [b]video\n" in text.replace(" \n", "\n")
    assert "\x07" not in done.output


@pytest.mark.parametrize(("code", "ends_with"), [("75", 75), ("143", 75), ("65", 65)])
def test_a_workflow_that_failed_ends_as_after_submission(cluster: ArgoCluster, code: str, ends_with: int) -> None:
    """The code says whether another submission may help, and the message says which pod failed, printable."""
    cluster.add("w", {"phase": "Failed", "nodes": {"a": pod("plan(0)", "Failed", code, message="bad \x1b[2J")}})
    done = watched("w")

    assert done.exit_code == ends_with
    assert "workflow w ended as Failed: plan(0): bad ?[2J" in done.stderr
    assert "\x1b" not in done.output


def test_without_a_name_it_is_the_last_workflow(cluster: ArgoCluster) -> None:
    """The last is the one that was created last, in whatever order they are listed."""
    cluster.add("b", RUNNING, 1)
    cluster.add("c", DONE, 3)
    cluster.add("a", DONE, 2)

    assert found() == "c"


def test_the_name_of_a_run_finds_its_workflow(cluster: ArgoCluster) -> None:
    """Of the workflows of a run it is the one that goes on, or else the last."""
    cluster.add("a", DONE, 1, arguments=RUN)
    cluster.add("b", DONE, 2, arguments=RUN)
    last = found("daily")
    cluster.workflows["a"]["status"] = RUNNING

    assert (last, found("daily"), found("b")) == ("b", "a", "b")


def test_an_unknown_name_lists_the_closest(cluster: ArgoCluster) -> None:
    """A misspelt name of a workflow or of a run is one line with what was probably meant."""
    cluster.add("watchmove-x7k2p", DONE, 1)
    cluster.add("other", DONE, 2, arguments=RUN)
    cluster.add("sly", DONE, 0, arguments={"parameters": [{"name": "run", "value": "dail\x1b[2J"}]})

    for given, meant in (("watchmove-x7k2q", "similar: watchmove-x7k2p"), ("dayly", "similar: daily")):
        with pytest.raises(InvalidInput, match=f"{given}: no workflow or run .* namespace science; {meant}"):
            found(given)
    with pytest.raises(InvalidInput, match="the last are: other, daily, watchmove-x7k2p"):
        found("zzz")


@pytest.mark.parametrize("name", ["", "a"])
@pytest.mark.usefixtures("cluster")
def test_an_empty_namespace_is_probably_the_wrong_one(name: str) -> None:
    """A namespace that does not exist has no workflows either."""
    with pytest.raises(InvalidInput, match="namespace science: has no workflows; check --namespace"):
        found(name)


@pytest.mark.parametrize(("code", "ends_with"), [(401, 65), (403, 65), (503, 75)])
def test_a_refused_request_ends_as_its_answer_says(cluster: ArgoCluster, code: int, ends_with: int) -> None:
    """Missing permissions are invalid input with advice; an outage may pass."""
    cluster.refusals, cluster.sentence = [code], "you may not"
    done = watched("a")

    assert done.exit_code == ends_with
    assert f"{code} you may not; " in done.stderr
    assert ("docs/how-to/cluster.md" in done.stderr) is (code == 403)


def test_a_cluster_that_is_not_there_may_come_back(cluster: ArgoCluster) -> None:
    """A refused connection may succeed later."""
    cluster.close()
    done = watched("a")

    assert done.exit_code == 75
    assert "cannot be reached" in done.stderr


def test_a_step_that_does_not_change_has_no_line() -> None:
    """Of thousands of pods only what is different is said."""
    steps = (StepState("plan", 0, 0, 1, 0, 0, 1, 1), StepState("extract", 3, 1, 0, 0, 0, 0, 4))
    before = WorkflowState("w", "Running", 1, 5, ("x: bad",), (), steps)
    state = before._replace(steps=(steps[0], steps[1]._replace(pending=2, running=2)), failures=("x: bad", "y: bad"))

    assert list(changes(before, state)) == ["w: extract: 2 pending, 2 running", "w: y: bad"]
    assert list(changes(state, state)) == []


def test_a_workflow_that_is_deleted_while_it_is_watched_is_no_misspelt_name(cluster: ArgoCluster) -> None:
    """The advice of a name that does not exist would not fit."""
    cluster.add("w", RUNNING)
    answer, looks = cluster.answer, iter((1, 2))

    def deleted_after_two(method: str, path: str, body: dict[str, Any]) -> Answer:
        if not next(looks, None):
            cluster.workflows.clear()
        return answer(method, path, body)

    cluster.answer = deleted_after_two  # type: ignore[method-assign]
    done = watched("w")

    assert done.exit_code == 65
    assert "workflow w: was deleted while it was watched" in done.stderr


def test_what_pods_wait_for_is_shown(cluster: ArgoCluster) -> None:
    """In a line of its own, until it is another reason."""
    waiting = {"a": pod("plan(0)", "Pending", message="ErrImagePull: no such host")}
    cluster.statuses = [{**RUNNING, "nodes": waiting}, {**DONE, "nodes": {"a": pod("plan(0)", "Succeeded")}}]
    cluster.add(NAME, {})
    terminal = watched(NAME, FORCE_COLOR="1", COLUMNS="100")
    cluster.statuses = [{**RUNNING, "nodes": waiting}, {**RUNNING, "nodes": waiting}, DONE]

    assert "plan: 1 waiting: ErrImagePull: no such host" in terminal.stdout
    assert watched(NAME).stdout.count(f"{NAME}: plan: 1 waiting: ErrImagePull: no such host\n") == 1
