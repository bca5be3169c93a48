"""How steps end in a real workflow engine: at once for what can never work, again for what may."""

import shutil
import subprocess
from datetime import UTC, datetime
from functools import partial

import pytest

from tests.cluster.installation import NAMESPACE, FirstRun, Installation, plan_alone, pods_of, wait_for

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


def test_pods_that_are_taken_away_use_up_no_tries(installation: Installation) -> None:
    """Three pods are deleted where what fails by itself is retried once; the fourth is done."""
    write = "[(folder / name).write_text('[]') for name in ('shards', 'evaluations')]"
    wait = "import pathlib, time; {{retries}} < 3 and time.sleep(600)"
    script = f"{wait}; folder = pathlib.Path('/tmp/outputs'); folder.mkdir(); {write}"
    workflow = plan_alone(installation, command=["python", "-c"], args=[script])
    strategy = workflow["spec"]["templates"][0]["retryStrategy"]
    strategy.update(limit=10, expression=strategy["expression"].replace("asInt(retries) < 120", "asInt(retries) < 1"))
    name = installation.start(workflow)
    for count in (1, 2, 3):
        pod = wait_for(f"try {count}", partial(_pod_of_try, installation, name, count), 180)
        installation.core.delete_namespaced_pod(pod, NAMESPACE)
    ended = installation.ended(name)

    assert ended["status"]["phase"] == "Succeeded"
    assert [node["phase"] == "Succeeded" for node in pods_of(ended, name)] == [False, False, False, True]


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


def _pod_of_try(installation: Installation, workflow: str, count: int) -> str | None:
    """The pod of that try, once it has run long enough that Argo takes its deletion for the try's end.

    A pod that is deleted within ten seconds of its start is made again within the same try.
    """
    document = installation.get("workflows", workflow)
    tries = pods_of(document, workflow) if document.get("status", {}).get("nodes") else []
    running = [pod.metadata.name for pod in installation.pods(workflow, "plan") if pod.status.phase == "Running"]
    if len(tries) != count or not running:
        return None
    seconds = (datetime.now(UTC) - datetime.fromisoformat(tries[-1]["startedAt"])).total_seconds()
    return running[0] if tries[-1]["phase"] == "Running" and seconds > 15 else None
