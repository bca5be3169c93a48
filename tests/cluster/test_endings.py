"""How steps end in a real workflow engine: at once for what can never work, again for what may."""

import shutil
import subprocess

import pytest

from tests.cluster.installation import NAMESPACE, FirstRun, Installation, plan_alone, pods_of

pytestmark = pytest.mark.timeout(1800)

NOBODY = "http://127.0.0.1:9"


def test_settings_that_can_never_work_fail_at_once(installation: Installation) -> None:
    """Exit code 65 ends the step after one try."""
    arguments = ["plan", "--settings", "/etc/watchmove/absent.yaml", "--run", "a"]
    ended = installation.ended(installation.start(plan_alone(installation, args=arguments)))
    tries = pods_of(ended, ended["metadata"]["name"])

    assert [node["outputs"]["exitCode"] for node in tries] == ["65"]
    assert "absent.yaml" in tries[0]["message"]


def test_a_store_that_cannot_be_reached_is_tried_again(installation: Installation) -> None:
    """Exit code 75 is retried, as often as the limit says."""
    environment = [{"name": "AWS_ENDPOINT_URL_S3", "value": NOBODY}]
    ended = installation.ended(installation.start(plan_alone(installation, env=environment)))
    tries = pods_of(ended, ended["metadata"]["name"])

    assert [node["outputs"]["exitCode"] for node in tries] == ["75", "75"]


def test_a_workflow_that_is_retried_ends(installation: Installation, first_run: FirstRun) -> None:
    """As by `argo retry`, after fan-outs that are done: its last step alone is done again."""
    if not shutil.which("argo"):
        pytest.skip("argo is not on PATH: what a retry changes in a workflow is the command's own business")
    name = first_run.workflow["metadata"]["name"]
    words = ["--restart-successful", "--node-field-selector", "templateName=report"]
    subprocess.run(["argo", "retry", name, "-n", NAMESPACE, *words], check=True)
    again = installation.ended(name)

    assert again["status"]["phase"] == "Succeeded"
    assert again["status"]["finishedAt"] > first_run.workflow["status"]["finishedAt"]
