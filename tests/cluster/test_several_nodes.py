"""Pretraining on three pods at once, one of which is lost while it learns."""

import re
from typing import Any

import pytest

from tests.cluster.installation import NAMESPACE, Bucket, FirstRun, Installation, wait_for

pytestmark = pytest.mark.timeout(1800)

SEED, STEPS, EVERY = 7, 16, 2
"""So many steps that the training has not ended before the loss of a pod is noticed, also on a busy machine."""
ARGUMENT = "- {{=toJson(inputs.parameters.run)}}\n"


def _three_nodes(installation: Installation, run: str, seed: int = SEED) -> dict[str, Any]:
    """The installed workflow's task of several nodes, and its end: another backbone of a run's own snapshot."""
    train, _ = installation.get("workflowtemplates", "watchmove-pretrain-nodes")["spec"]["templates"]
    train["resource"]["manifest"] = _with_settings(train["resource"]["manifest"], seed)
    whole = installation.get("workflowtemplates", "watchmove")["spec"]
    leave = next(template for template in whole["templates"] if template["name"] == whole["onExit"])
    values = {"run": run, "nodes": "3", "processes": "1"}
    arguments = {"parameters": [{"name": name, "value": value} for name, value in values.items()]}
    shared = {key: whole[key] for key in ("serviceAccountName", "securityContext", "onExit")}
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"generateName": "three-nodes-"},
        "spec": {**shared, "entrypoint": train["name"], "arguments": arguments, "templates": [train, leave]},
    }


def _with_settings(manifest: str, seed: int) -> str:
    """The Job's manifest for a training that is short, and that nobody has had."""
    indent = re.search(rf"^( *){re.escape(ARGUMENT)}", manifest, re.MULTILINE)
    assert indent is not None
    settings = {
        "seed": seed,
        "iterations": STEPS,
        "checkpoint_every_iterations": EVERY,
        "validate_every_iterations": STEPS,
    }
    words = [part for name, value in settings.items() for part in ("--set", f"pretrain.{name}={value}")]
    return manifest.replace(indent[0], indent[0] + "".join(f"{indent[1]}- {word}\n" for word in words))


def _by_index(installation: Installation, workflow: str) -> dict[str, list[Any]]:
    """The Job's pods that are there now, by index, in the order in which they were made."""
    label = f"batch.kubernetes.io/job-name,app.kubernetes.io/instance={workflow}"
    pods: dict[str, list[Any]] = {"0": [], "1": [], "2": []}
    for pod in installation.core.list_namespaced_pod(NAMESPACE, label_selector=label).items:
        pods[pod.metadata.labels["batch.kubernetes.io/job-completion-index"]].append(pod)
    return {index: sorted(own, key=lambda pod: pod.metadata.creation_timestamp) for index, own in pods.items()}


def _exit_codes(pods: list[Any]) -> list[int]:
    statuses = [status for pod in pods for status in pod.status.container_statuses or ()]
    return [status.state.terminated.exit_code for status in statuses if status.state.terminated]


def test_a_lost_pod_of_three_costs_what_came_after_the_last_checkpoint(
    installation: Installation, first_run: FirstRun, bucket: Bucket
) -> None:
    """The others end with 75, all three are started again, and training goes on where it was saved."""
    before = {record["backbone"] for record in bucket.records("store/backbones/")}
    name = installation.start(_three_nodes(installation, first_run.workflow["metadata"]["name"]))

    def first_rank_that_has_saved() -> bool:
        steps = installation.training_iteration(_by_index(installation, name)["0"])
        return steps > EVERY

    wait_for("three ranks to learn", first_rank_that_has_saved, 600)
    (lost,) = _by_index(installation, name)["1"]
    installation.core.delete_namespaced_pod(lost.metadata.name, NAMESPACE, grace_period_seconds=0)
    # seen now, because the Job removes the pods that have not ended when the first one has succeeded
    went_on = wait_for(
        "training to go on", lambda: installation.training_iteration(_by_index(installation, name)["0"][1:]), 600
    )
    ended = installation.ended(name)
    pods = _by_index(installation, name)
    (record,) = (one for one in bucket.records("store/backbones/") if one["backbone"] not in before)

    assert ended["status"]["phase"] == "Succeeded"
    assert [_exit_codes(pods[index])[0] for index in "02"] == [75, 75]
    assert 0 in [code for own in pods.values() for code in _exit_codes(own)]
    assert lost.metadata.uid not in [pod.metadata.uid for pod in pods["1"]]
    assert went_on > EVERY
    assert record["made_by"]["settings"]["pretrain"]["seed"] == SEED
    assert record["curve"][-1]["iteration"] == STEPS


def test_a_workflow_that_is_stopped_trains_no_more(installation: Installation, first_run: FirstRun) -> None:
    """As by `argo stop`: its Job is not left behind with its pods."""
    name = installation.start(_three_nodes(installation, first_run.workflow["metadata"]["name"], SEED + 1))
    wait_for("three pods", lambda: all(_by_index(installation, name).values()), 300)
    installation.change("workflows", name, {"spec": {"shutdown": "Stop"}})
    ended = installation.ended(name)

    assert ended["status"]["phase"] == "Failed"
    wait_for("no pod to be left", lambda: not any(_by_index(installation, name).values()), 180)
