"""Stopping a workflow and submitting it again, through the Kubernetes API and through Argo's server."""

from typing import Any

import pytest
from typer.testing import CliRunner, Result

from tests.service.cluster.argo_cluster import NAME, ArgoCluster
from watchmove.service.cli.main import app

RUNNING, FAILED, DONE = {"phase": "Running"}, {"phase": "Failed"}, {"phase": "Succeeded"}
REFERENCE = {"name": "watchmove"}


def done(command: str, *words: str) -> Result:
    """What a command does in the namespace `science`."""
    return CliRunner().invoke(app, [command, *words, "-n", "science"])


def with_run(run: str) -> dict[str, Any]:
    """The arguments of a workflow that name its run."""
    return {"parameters": [{"name": "draw-world", "value": "true"}, {"name": "run", "value": run}]}


def test_stopping_asks_argo_and_says_how_to_go_on(cluster: ArgoCluster) -> None:
    """The one change is that Argo stops the workflow by its own means, so that the exit handler runs."""
    cluster.add("w", RUNNING, workflowTemplateRef=REFERENCE)
    stopped = done("stop", "w")

    assert stopped.exit_code == 0, stopped.stderr
    ((kind, body),) = cluster.patched
    if "spec" in body:
        assert (kind, body) == ("application/merge-patch+json", {"spec": {"shutdown": "Stop"}})
    else:
        assert cluster.requested[-1] == "/api/v1/workflows/science/w/stop"
    assert "w: is stopping\nkept: " in stopped.stdout
    assert "watchmove resubmit w -n science" in stopped.stdout


def test_stopping_twice_asks_once(cluster: ArgoCluster) -> None:
    """The second request changes nothing, and would not weaken a termination."""
    cluster.add("w", RUNNING)
    done("stop", "w")
    again = done("stop", "w")

    assert again.exit_code == 0, again.stderr
    assert "was asked to stop before" in again.stdout
    assert len(cluster.patched) == 1


@pytest.mark.parametrize(("status", "goes_on"), [(DONE, False), (FAILED, True)])
def test_a_finished_workflow_is_said_to_be_finished(
    cluster: ArgoCluster, status: dict[str, Any], goes_on: bool
) -> None:
    """Nothing is changed; one that failed can be continued."""
    cluster.add("w", status)
    stopped = done("stop", "w")

    assert stopped.exit_code == 0, stopped.stderr
    assert stopped.stdout.startswith(f"w: has ended ({status['phase']}); nothing to stop")
    assert ("watchmove resubmit w" in stopped.stdout) is goes_on
    assert cluster.patched == []


def test_a_failed_workflow_is_submitted_again(cluster: ArgoCluster) -> None:
    """The copy has the template, the parameters and the labels of its user, and none of what Argo said of the first."""
    cluster.add("w", FAILED, workflowTemplateRef=REFERENCE, arguments=with_run("daily"), shutdown="Stop", priority=3)
    labels = {"team": "a", "workflows.argoproj.io/phase": "Failed", "workflows.argoproj.io/cron-workflow": "watchmove"}
    cluster.workflows["w"]["metadata"].update(labels=labels, generateName="watchmove-")
    again = done("resubmit", "w")

    assert again.exit_code == 0, again.stderr
    assert again.stdout == f"{NAME}: submitted, to continue run daily of w\n"
    (body,) = cluster.posted
    assert body["metadata"] == {
        "generateName": "watchmove-",
        "labels": {
            "team": "a",
            "workflows.argoproj.io/workflow-template": "watchmove",
            "workflows.argoproj.io/resubmitted-from-workflow": "w",
        },
    }
    assert body["spec"] == {"workflowTemplateRef": REFERENCE, "arguments": with_run("daily"), "priority": 3}


@pytest.mark.parametrize("spec", [{}, {"arguments": None}, {"arguments": {"parameters": [{"name": "run"}]}}])
def test_the_run_of_a_workflow_without_one_has_its_name(cluster: ArgoCluster, spec: dict[str, Any]) -> None:
    """By default the run has the name of the workflow, which for the copy would be another one."""
    cluster.add("w", FAILED, workflowTemplateRef=REFERENCE, **spec)
    again = done("resubmit", "w")

    assert again.exit_code == 0, again.stderr
    assert cluster.posted[0]["spec"]["arguments"]["parameters"] == [{"name": "run", "value": "w"}]
    assert cluster.posted[0]["metadata"]["generateName"] == "w-"


def test_a_workflow_without_a_template_is_copied_as_it_is(cluster: ArgoCluster) -> None:
    """A workflow that is its own template needs no other."""
    spec: dict[str, Any] = {"entrypoint": "main", "templates": [{"name": "main"}]}
    cluster.add("w", FAILED, **spec)
    again = done("resubmit", "w")

    assert again.exit_code == 0, again.stderr
    assert cluster.posted[0]["spec"] == spec
    assert not any("template" in path for path in cluster.requested)


@pytest.mark.parametrize(
    ("status", "why"), [(RUNNING, "has not ended"), ({}, "has not ended"), (DONE, "has succeeded")]
)
def test_only_what_failed_is_submitted_again(cluster: ArgoCluster, status: dict[str, Any], why: str) -> None:
    """Another workflow on the same run would do the same work, or none."""
    cluster.add("w", status, workflowTemplateRef=REFERENCE)
    again = done("resubmit", "w")

    assert again.exit_code == 65
    assert f"workflow w: {why}" in again.stderr
    assert cluster.posted == []


def test_a_run_that_goes_on_elsewhere_is_left_alone(cluster: ArgoCluster) -> None:
    """A second request while the first copy runs makes no second copy."""
    cluster.add("w", FAILED, workflowTemplateRef=REFERENCE)
    cluster.add("w-2", RUNNING, workflowTemplateRef=REFERENCE, arguments=with_run("w"))
    again = done("resubmit", "w")

    assert again.exit_code == 65
    assert "workflow w-2 continues its run" in again.stderr
    assert cluster.posted == []


def test_a_suspended_workflow_is_resumed_for_its_end(cluster: ArgoCluster) -> None:
    """Argo looks at no request to stop while a workflow is suspended, so it would never end."""
    cluster.add("w", RUNNING, suspend=True)
    done("stop", "w")

    assert cluster.workflows["w"]["spec"] == {"shutdown": "Stop"}


def test_a_template_that_has_changed_is_checked_before_anything_is_made(cluster: ArgoCluster) -> None:
    """A parameter that the installed template lacks is one line with those it has."""
    arguments = {"parameters": [{"name": "shards", "value": "3"}]}
    cluster.add("w", FAILED, workflowTemplateRef=REFERENCE, arguments=arguments)
    again = done("resubmit", "w")

    assert again.exit_code == 65
    assert "parameter shards: not in workflowtemplate watchmove; known there: draw-world, nodes, run" in again.stderr
    assert cluster.posted == []


@pytest.mark.parametrize("command", ["stop", "resubmit"])
@pytest.mark.parametrize(("code", "ends_with"), [(403, 65), (500, 75)])
def test_a_refusal_changes_nothing(cluster: ArgoCluster, command: str, code: int, ends_with: int) -> None:
    """Missing permissions are invalid input, an overloaded server may work later."""
    cluster.add("w", RUNNING)
    cluster.refusals = [code]
    refused = done(command, "w")

    assert refused.exit_code == ends_with
    assert (cluster.patched, cluster.posted) == ([], [])
