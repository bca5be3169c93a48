"""Components on a real cluster: it accepts every combination, and pods have the labels that Argo fills in."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client, config

from release.archive import archive
from release.chart import OFF, chart
from release.tree import Tree
from tests.cluster.installation import wait_for
from tests.manifests.documents import (
    COMBINATIONS,
    OPTIONAL,
    ROOT,
    Document,
    built_in,
    named,
    pods_by_template,
    write_overlay,
)

pytestmark = pytest.mark.timeout(600)

NAMESPACE = "watchmove-components"
QUEUE = "kueue.x-k8s.io/queue-name"
RUN = "monday/" + 70 * "." + "x"


@pytest.fixture(scope="module")
def namespace(image: str) -> Iterator[str]:
    """A namespace of these tests' own, deleted with all that is in it."""
    assert image
    config.load_kube_config()  # type: ignore[no-untyped-call]
    _kubectl("create", "namespace", NAMESPACE)
    try:
        _kubectl("label", "namespace", NAMESPACE, "pod-security.kubernetes.io/enforce=restricted")
        yield NAMESPACE
    finally:
        # First, with their Jobs: a namespace is not deleted while it has a Job's pods, and the Job then keeps them.
        _kubectl("delete", "workflows", "--all", "--cascade=foreground", "--timeout=120s")
        _kubectl("delete", "namespace", NAMESPACE, "--timeout=180s")


@pytest.fixture(scope="module")
def labels(namespace: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """Labels of the first pod of a workflow, and of one of each of two Jobs; their images are never pulled."""
    documents = _combined(tmp_path_factory.mktemp("all"), namespace, "base", "kueue", cost_centre="vision")
    needed = ("ServiceAccount", "Role", "RoleBinding", "WorkflowTemplate")
    _applied([one for one in documents if one["kind"] in needed])
    whole = named(tuple(documents), "WorkflowTemplate", "watchmove")["spec"]
    shared = {key: whole[key] for key in ("serviceAccountName", "securityContext", "workflowMetadata")}
    arguments = {"parameters": [{"name": "run", "value": RUN}]}
    _start("whole", {"workflowTemplateRef": {"name": "watchmove"}, "arguments": arguments})
    for name, given in (("nodes", {}), ("unqueued", {"queue": ""})):
        tasks = [_nodes_task(**given)]
        _start(name, {**shared, "entrypoint": "main", "templates": [{"name": "main", "dag": {"tasks": tasks}}]})
    return {
        "plan": _first_pod("workflows.argoproj.io/workflow=whole"),
        "rank": _first_pod("batch.kubernetes.io/job-name,app.kubernetes.io/instance=nodes"),
        "unqueued rank": _first_pod("batch.kubernetes.io/job-name,app.kubernetes.io/instance=unqueued"),
    }


@pytest.mark.parametrize("combination", COMBINATIONS, ids=" ".join)
def test_every_combination_is_accepted(namespace: str, combination: tuple[str, ...], tmp_path: Path) -> None:
    """As a dry run, by the schemas and the admission of the API server."""
    versions = _kubectl("api-versions").split()
    known = [one for one in _combined(tmp_path, namespace, *combination) if _is_served(one, versions)]
    answer = _applied(known, "--dry-run=server")

    assert answer.count("(server dry run)") == len(known)


def test_the_chart_is_accepted(namespace: str, tmp_path: Path) -> None:
    """What Helm makes of the chart with every component, as a dry run."""
    if not shutil.which("helm"):
        pytest.skip("helm is not on PATH: the chart cannot be rendered here")
    package = tmp_path / "watchmove.tgz"
    package.write_bytes(archive(chart(Tree(ROOT), {}), 0))
    on = ",".join(f"components.{name}=true" for name in OFF)
    command = ["helm", "template", "watchmove", str(package), "--namespace", namespace, "--set", on]
    made = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    versions = _kubectl("api-versions").split()
    known = [one for one in yaml.safe_load_all(made) if one and _is_served(one, versions)]

    assert _applied(known, "--dry-run=server").count("(server dry run)") == len(known)


@pytest.mark.usefixtures("labels")
def test_pods_with_all_components_are_let_in(namespace: str, tmp_path: Path) -> None:
    """What the components add to pods is understood, and the pods are as restricted as without them."""
    core: Any = client.CoreV1Api()
    made = pods_by_template(tuple(_combined(tmp_path, namespace, "overlays/cloud", *OPTIONAL)))
    for name, pod in made.items():
        core.create_namespaced_pod(namespace, {**pod, "metadata": {**pod["metadata"], "name": name}}, dry_run="All")


def test_a_pod_has_the_name_of_its_run_as_far_as_a_label_can(labels: dict[str, dict[str, str]]) -> None:
    """A name that is no label value does not keep a pod from being made; its step says what is wrong with it."""
    assert {own["watchmove/run"] for own in labels.values()} == {"monday"}


def test_a_pod_has_the_cost_centre_of_the_overlay(labels: dict[str, dict[str, str]]) -> None:
    """That of a Job as well, which finds it in the labels of its workflow."""
    assert {own["watchmove/cost-centre"] for own in labels.values()} == {"vision"}


def test_a_pod_has_the_queue_of_the_component(labels: dict[str, dict[str, str]]) -> None:
    """The label that Kueue reads where it is installed; a Job without a queue has none."""
    assert {name: own.get(QUEUE) for name, own in labels.items()} == {
        "plan": "watchmove",
        "rank": "watchmove",
        "unqueued rank": None,
    }


def test_the_budget_allows_no_disruption(namespace: str, tmp_path: Path) -> None:
    """The budget counts pods of an owner that cannot be scaled, so it is not in error and allows no disruption."""
    documents = _combined(tmp_path, namespace, "base", "disruption-budget")
    (budget,) = [one for one in documents if one["kind"] == "PodDisruptionBudget"]
    _applied([budget])
    policies: Any = client.PolicyV1Api()

    def status() -> Any:
        found = policies.read_namespaced_pod_disruption_budget(budget["metadata"]["name"], namespace).status
        return found if found.conditions else None

    (condition,) = wait_for("the budget to be counted", status, 60).conditions
    assert (condition.type, condition.status, condition.reason) == ("DisruptionAllowed", "False", "InsufficientPods")


def _combined(folder: Path, namespace: str, start: str, *components: str, cost_centre: str = "") -> list[Document]:
    write_overlay(folder, namespace, start, *components, cost_centre=cost_centre)
    return list(built_in(folder))


def _is_served(document: Document, versions: list[str]) -> bool:
    """Whether the API server has its kind; those of the Prometheus operator are not on every cluster."""
    version = str(document["apiVersion"])
    return version in versions or not version.startswith("monitoring.coreos.com/")


def _nodes_task(**given: str) -> Document:
    values = {"run": RUN, "nodes": "2", "processes": "1", **given}
    return {
        "name": "nodes",
        "templateRef": {"name": "watchmove-pretrain-nodes", "template": "pretrain-nodes"},
        "arguments": {"parameters": [{"name": name, "value": value} for name, value in values.items()]},
    }


def _start(name: str, spec: Document) -> None:
    _applied([{"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "metadata": {"name": name}, "spec": spec}])


def _first_pod(selector: str) -> dict[str, str]:
    core: Any = client.CoreV1Api()
    pods = wait_for(selector, lambda: core.list_namespaced_pod(NAMESPACE, label_selector=selector).items, 120)
    return dict(pods[0].metadata.labels)


def _applied(documents: list[Document], *words: str) -> str:
    listed = {"apiVersion": "v1", "kind": "List", "items": documents}
    return _kubectl("apply", *words, "--filename", "-", given=json.dumps(listed))


def _kubectl(*words: str, given: str = "") -> str:
    command = ["kubectl", "--namespace", NAMESPACE, *words]
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
