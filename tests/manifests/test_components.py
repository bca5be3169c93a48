"""Components: what each changes in the pods that Argo and the Job make, and that all combinations are built."""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.manifests.documents import (
    COMBINATIONS,
    OPTIONAL,
    ROOT,
    RUN_LABEL,
    STEPS,
    Document,
    built,
    built_in,
    built_with,
    containers,
    named,
    pods_by_template,
    ranks_template,
    read,
    write_overlay,
)

FOLDERS = sorted(path.name for path in (ROOT / "k8s" / "components").iterdir())
GPU = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
SPOT_TAINTS = {
    ("cloud.google.com/gke-spot", "true"),
    ("kubernetes.azure.com/scalesetpriority", "spot"),
    ("karpenter.sh/capacity-type", "spot"),
}
ELSEWHERE: Mapping[str, str] = {}
"""Labels of a peer outside the namespace: no policy here selects it by one."""


def _cloud(*components: str) -> dict[str, Document]:
    return pods_by_template(built_with("overlays/cloud", *components))


def test_every_component_is_in_a_combination_and_in_the_docs() -> None:
    """A new folder is built, checked by an API server, and described, or this fails."""
    page = (ROOT / "docs" / "how-to" / "cluster.md").read_text()

    assert set(FOLDERS) == {component for _, *components in COMBINATIONS for component in components}
    assert [name for name in FOLDERS if f"| `{name}` |" not in page] == []


@pytest.mark.parametrize("combination", COMBINATIONS, ids=" ".join)
def test_no_field_is_used_that_argo_4_does_not_have(combination: tuple[str, ...]) -> None:
    """Argo 3.7 and 4 both have `schedules`, `mutexes`, `semaphores` and `podPriorityClassName`; 3.7 alone has these."""
    argos = [one for one in built_with(*combination) if one["apiVersion"].startswith("argoproj.io/")]
    used = {key for one in argos for key in _keys(one["spec"])}

    assert {"schedules", "templates", "retryStrategy"} <= used
    assert used & {"schedule", "mutex", "semaphore", "podPriority"} == set()


@pytest.mark.parametrize("combination", COMBINATIONS, ids=" ".join)
def test_every_combination_is_built(combination: tuple[str, ...]) -> None:
    """All objects are in the namespace, and no pod is lost."""
    documents = built_with(*combination)

    assert {one["metadata"].get("namespace") for one in documents if one["kind"] != "Namespace"} == {"watchmove"}
    assert {*STEPS, "cell", "list", "suspend", "ranks"} <= set(pods_by_template(documents))


@pytest.mark.parametrize("combination", COMBINATIONS, ids=" ".join)
def test_every_pod_has_its_time_to_save(combination: tuple[str, ...]) -> None:
    """No component takes from the 120 s."""
    pods = pods_by_template(built_with(*combination))

    assert {pod["spec"]["terminationGracePeriodSeconds"] for pod in pods.values()} == {120}


def test_every_pod_says_whose_it_is_and_which_run_it_belongs_to() -> None:
    """Workflows', the Job's, and those of Deployments, which serve all runs."""
    documents = built_with("overlays/kind", cost_centre="vision")
    deployments = [one["spec"]["template"] for one in documents if one["kind"] == "Deployment"]
    runs = pods_by_template(documents)

    assert len(deployments) == 2
    for pod in [*runs.values(), *deployments]:
        assert pod["metadata"]["labels"]["app.kubernetes.io/part-of"] == "watchmove"
        assert pod["metadata"]["labels"]["watchmove/cost-centre"] == "vision"
    assert {pod["metadata"]["labels"]["watchmove/run"] for pod in runs.values()} == {"monday"}


def test_a_job_finds_the_cost_centre_in_the_labels_of_its_workflow() -> None:
    """The manifest is one text, so the label travels with the workflow instead."""
    workflow = named(built_with("overlays/cloud", cost_centre="vision"), "WorkflowTemplate", "watchmove")

    assert workflow["spec"]["workflowMetadata"]["labels"] == {"watchmove/cost-centre": "vision"}
    assert named(built("kind"), "WorkflowTemplate", "watchmove")["spec"]["workflowMetadata"]["labels"] == {
        "watchmove/cost-centre": "watchmove"
    }


def test_the_label_of_the_run_is_made_alike_in_both_places() -> None:
    """tests/cluster shows what Argo makes of names that are no values of labels."""
    (workflow,) = read(ROOT / "argo" / "watchmove.yaml")
    name = 'workflow.parameters.run == "" ? workflow.name : workflow.parameters.run'
    label = workflow["spec"]["podMetadata"]["labels"]["watchmove/run"]

    assert label == f"{{{{={RUN_LABEL.format(name)}}}}}"
    assert f"{{{{=toJson({RUN_LABEL.format('inputs.parameters.run')})}}}}" in ranks_template()["resource"]["manifest"]


def test_spot_nodes_are_tolerated_and_preferred_by_the_steps_that_resume_alone() -> None:
    """Never required, so the run goes on without them; GPU nodes are tolerated as well."""
    pods = _cloud("spot")
    resuming = {name: pods.pop(name) for name in ("extract", "pretrain", "evaluate")}

    for name, pod in resuming.items():
        gpu, spot = ([] if name == "extract" else [GPU]), pod["spec"]["tolerations"]
        assert spot[: len(gpu)] == gpu
        assert {(one["key"], one["value"]) for one in spot[len(gpu) :]} == SPOT_TAINTS
        assert {(one["operator"], one["effect"]) for one in spot[len(gpu) :]} == {("Equal", "NoSchedule")}
        assert list(pod["spec"]["affinity"]) == ["nodeAffinity"]
        assert list(pod["spec"]["affinity"]["nodeAffinity"]) == ["preferredDuringSchedulingIgnoredDuringExecution"]
    assert pods["ranks"]["spec"]["tolerations"] == [GPU]
    assert not [name for name, pod in pods.items() if "affinity" in pod["spec"]]
    assert not [name for name, pod in pods.items() if name != "ranks" and pod["spec"].get("tolerations")]


@pytest.mark.parametrize(("component", "step"), [("gpu", "pretrain"), ("gpu-extract", "extract")])
def test_spot_and_gpu_go_together_in_either_order(component: str, step: str) -> None:
    """Each appends its tolerations, and takes none away."""
    orders = ("base", "spot", component), ("base", component, "spot")
    pods = [pods_by_template(built_with(*order))[step] for order in orders]
    kept = [{one["key"] for one in pod["spec"]["tolerations"]} for pod in pods]

    assert kept[0] == kept[1] == {GPU["key"], *(key for key, _ in SPOT_TAINTS)}


def test_karpenter_leaves_the_pods_alone_whose_loss_costs_most() -> None:
    """Pretraining in one pod and in several, and evaluation; they are still scraped."""
    annotations = {name: pod["metadata"].get("annotations", {}) for name, pod in _cloud("karpenter").items()}
    held = {name for name, own in annotations.items() if own.get("karpenter.sh/do-not-disrupt") == "true"}

    assert held == {"pretrain", "evaluate", "ranks"}
    for name in held:
        assert (annotations[name]["prometheus.io/scrape"], annotations[name]["prometheus.io/port"]) == ("true", "9090")


def test_kueue_queues_every_pod_of_a_workflow_and_the_job() -> None:
    """And nothing is queued without the component: there is no label, as Kueue refuses an empty one."""
    label = "kueue.x-k8s.io/queue-name"
    queues = {name: pod["metadata"]["labels"].get(label) for name, pod in _cloud("kueue").items()}
    without = {name: pod["metadata"]["labels"].get(label) for name, pod in _cloud().items()}
    exporter = named(built_with("overlays/cloud", "kueue"), "Deployment", "watchmove-exporter")

    assert set(queues.values()) == {"watchmove"}
    assert set(without.values()) == {None}
    assert label not in exporter["spec"]["template"]["metadata"]["labels"]


def test_every_pod_of_a_workflow_knows_the_collector() -> None:
    """That of the Job too; a Secret for it need not exist, and the exporter, which sends no spans, knows nothing."""
    names = {*STEPS, "cell", "list", "ranks"}
    sources = {name: _sources(pod) for name, pod in _all_pods(built_with("overlays/kind", "otel")).items()}
    without = {name: _sources(pod) for name, pod in _all_pods(built("kind")).items()}
    collector = named(built_with("overlays/cloud", "otel"), "ConfigMap", "watchmove-otel")

    for name in names:
        assert sources[name][1:] == [
            {"configMapRef": {"name": "watchmove-otel"}},
            {"secretRef": {"name": "watchmove-otel", "optional": True}},
        ]
        assert sources[name][:1] == without[name]
    assert {name for name, own in sources.items() if len(own) > 1} == names
    assert list(collector["data"]) == ["OTEL_EXPORTER_OTLP_ENDPOINT"]
    assert all(name.startswith("OTEL_") for name in collector["data"])


def test_a_prefix_of_names_reaches_the_collector(tmp_path: Path) -> None:
    """kustomize renames the ConfigMap, and what refers to it."""
    write_overlay(tmp_path, "watchmove", "overlays/cloud", "otel")
    with (tmp_path / "kustomization.yaml").open("a") as overlay:
        overlay.write("namePrefix: my-\n")
    documents = built_in(tmp_path)
    templates = [one for one in documents if one["kind"] == "WorkflowTemplate"]
    boxes = [box for one in templates for box in containers(one)]
    ranks = named(documents, "WorkflowTemplate", "my-watchmove-pretrain-nodes")["spec"]["templates"][0]

    assert named(documents, "ConfigMap", "my-watchmove-otel")
    assert {box["envFrom"][1]["configMapRef"]["name"] for box in boxes} == {"my-watchmove-otel"}
    assert ranks["inputs"]["parameters"][11]["value"] == "my-watchmove-otel"


@pytest.mark.parametrize("name", [*STEPS, "cell", "list", "ranks"])
def test_spans_reach_a_collector_in_any_namespace(name: str) -> None:
    """At the port of the component's address."""
    documents = built_with("overlays/kind", "networkpolicy", "otel")
    address = named(documents, "ConfigMap", "watchmove-otel")["data"]["OTEL_EXPORTER_OTLP_ENDPOINT"]

    assert urlsplit(address).port == 4318
    assert _out(_labels(name), 4318, ELSEWHERE)
    assert not _out(_labels("exporter"), 4318, ELSEWHERE)


def test_with_a_role_there_are_no_keys() -> None:
    """The accounts of all that read the store have it, no Secret is made, and no pod waits for one."""
    documents = built_with("overlays/cloud", "workload-identity")
    accounts = {one["metadata"]["name"]: one["metadata"] for one in documents if one["kind"] == "ServiceAccount"}
    with_role = {name for name, own in accounts.items() if "eks.amazonaws.com/role-arn" in own.get("annotations", {})}
    sources = [box["envFrom"][0]["secretRef"] for one in documents for box in containers(one)]

    assert with_role == {"watchmove", "watchmove-exporter"}
    assert not [one for one in documents if one["kind"] == "Secret"]
    assert all(source["optional"] for source in sources)


def test_the_budget_covers_pretraining_and_nothing_else() -> None:
    """By a number that holds for pods of any owner: a percentage or `maxUnavailable` needs one that can be scaled."""
    budget = named(built_with("overlays/cloud", "disruption-budget"), "PodDisruptionBudget", "watchmove-pretrain")
    pods = _cloud("disruption-budget")
    covered = {name for name, pod in pods.items() if _selects(budget["spec"]["selector"], pod["metadata"]["labels"])}

    assert covered == {"pretrain", "ranks"}
    assert budget["spec"]["minAvailable"] >= 99999
    assert "maxUnavailable" not in budget["spec"]
    assert budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


@pytest.mark.parametrize("name", [*STEPS, "cell", "list", "ranks", "exporter"])
def test_what_reads_the_store_reaches_it_and_a_resolver(name: str) -> None:
    """In the internet or in the namespace, and nothing at another port outside."""
    labels, store = _labels(name), _labels("object-store")

    assert _out(labels, 53, ELSEWHERE, "UDP")
    assert _out(labels, 443, ELSEWHERE)
    assert _out(labels, 9000, store)
    assert _in(store, 9000, labels)
    assert not _out(labels, 5432, ELSEWHERE)


@pytest.mark.parametrize("name", [*STEPS, "cell", "list", "pretrain-nodes", "suspend"])
def test_argos_containers_reach_the_api_server(name: str) -> None:
    """At the port of its Service and at that of its address, as network plugins see either."""
    assert _out(_labels(name), 443, ELSEWHERE)
    assert _out(_labels(name), 6443, ELSEWHERE)


def test_a_pod_that_only_makes_a_job_does_not_reach_the_store() -> None:
    """It runs Argo's program, which talks to the API server."""
    assert not _out(_labels("pretrain-nodes"), 9000, _labels("object-store"))


def test_what_has_metrics_lets_a_prometheus_in_and_no_other_pod_lets_anyone_in() -> None:
    """The ports that the containers announce are those that are open."""
    documents = built_with("overlays/kind", "networkpolicy")
    with_port = {name for name, pod in _all_pods(documents).items() if 9090 in _ports(pod)}
    reached = {name for name in _all_pods(documents) if _in(_labels(name), 9090, ELSEWHERE)}

    assert with_port == reached == {"exporter", "extract", "pretrain", "evaluate", "ranks"}
    assert not [name for name in _all_pods(documents) if _in(_labels(name), 8080, ELSEWHERE)]
    assert not _in(_labels("object-store"), 9000, ELSEWHERE)


def test_ranks_reach_each_other_at_any_port() -> None:
    """The rendezvous is at 29500, and what exchanges gradients takes a free port."""
    ranks = _labels("ranks")

    assert all(_out(ranks, port, ranks) and _in(ranks, port, ranks) for port in (29500, 41234))
    assert not _in(ranks, 29500, _labels("extract"))


def _all_pods(documents: tuple[Document, ...]) -> dict[str, Document]:
    deployments = [one for one in documents if one["kind"] == "Deployment"]
    named_after = {one["metadata"]["name"].removeprefix("watchmove-"): one["spec"]["template"] for one in deployments}
    return {**pods_by_template(documents), **named_after}


def _labels(name: str) -> dict[str, str]:
    pod = _all_pods(built_with("overlays/kind", "networkpolicy"))[name]
    of_argo = {} if name in ("ranks", "object-store", "exporter") else {"workflows.argoproj.io/workflow": "monday"}
    return {**pod["metadata"]["labels"], **of_argo}


def _sources(pod: Document) -> list[Document]:
    return [source for box in pod["spec"]["containers"] for source in box.get("envFrom", ())]


def _ports(pod: Document) -> set[int]:
    return {port["containerPort"] for box in pod["spec"]["containers"] for port in box.get("ports", ())}


def _out(pod: Mapping[str, str], port: int, to: Mapping[str, str], protocol: str = "TCP") -> bool:
    """Whether policies let a pod open a connection; `to` are labels of a pod of the namespace, or ELSEWHERE."""
    return _let_through("Egress", "to", pod, port, to, protocol)


def _in(pod: Mapping[str, str], port: int, come_from: Mapping[str, str]) -> bool:
    """Whether policies let a pod be reached."""
    return _let_through("Ingress", "from", pod, port, come_from, "TCP")


def _let_through(
    direction: str, side: str, pod: Mapping[str, str], port: int, peer: Mapping[str, str], protocol: str
) -> bool:
    documents = built_with("overlays/kind", "networkpolicy")
    policies = [one["spec"] for one in documents if one["kind"] == "NetworkPolicy"]
    own = [one for one in policies if direction in one["policyTypes"] and _selects(one["podSelector"], pod)]
    rules = [rule for policy in own for rule in policy.get(direction.lower(), ())]

    assert own, "no policy closes the pod's network"
    return any(
        (side not in rule or any(_is_peer(one, peer) for one in rule[side]))
        and ("ports" not in rule or _has_port(rule["ports"], port, protocol))
        for rule in rules
    )


def _is_peer(peer: dict[str, Any], labels: Mapping[str, str]) -> bool:
    if "podSelector" in peer:
        return bool(labels) and _selects(peer["podSelector"], labels)
    return peer == {"namespaceSelector": {}}


def _has_port(ports: list[dict[str, Any]], port: int, protocol: str) -> bool:
    return any((one["port"], one.get("protocol", "TCP")) == (port, protocol) for one in ports)


def _selects(selector: dict[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a selector of Kubernetes matches labels."""
    return selector.get("matchLabels", {}).items() <= labels.items() and all(
        _meets(labels.get(one["key"]), one["operator"], one.get("values", ()))
        for one in selector.get("matchExpressions", ())
    )


def _meets(value: str | None, operator: str, values: Collection[str]) -> bool:
    match operator:
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
    raise NotImplementedError(operator)


@pytest.mark.parametrize("components", [("slim",), OPTIONAL, OPTIONAL[::-1]], ids=["alone", "all", "reversed"])
def test_the_slim_image_is_that_of_the_steps_without_pytorch(tmp_path: Path, components: tuple[str, ...]) -> None:
    """An overlay names both images, and each step's records name its own."""
    write_overlay(tmp_path, "watchmove", "overlays/cloud", *components)
    with (tmp_path / "kustomization.yaml").open("a") as overlay:
        overlay.write("images: [{name: watchmove-slim, newName: registry.example/watchmove, newTag: 0.1.0-slim}]\n")
    boxes = [(one["metadata"]["name"], box) for one in built_in(tmp_path) for box in containers(one)]
    slim = {name for name, box in boxes if box["image"] == "registry.example/watchmove:0.1.0-slim"}
    rows = [(row, box["image"]) for _, box in boxes for row in box.get("env", ())]
    recorded = [(row["value"], image) for row, image in rows if row["name"] == "WATCHMOVE_IMAGE"]

    assert slim == {"watchmove-plan", "watchmove-gather", "watchmove-report", "watchmove-exporter"}
    assert {box["image"] for name, box in boxes if name not in slim} == {"registry.example/watchmove:0.1.0"}
    assert len(recorded) >= len(STEPS)
    assert all(in_record == image for in_record, image in recorded)


def _keys(value: Any) -> Iterator[str]:
    """Every key in a document, at any depth."""
    rows = value if isinstance(value, list) else value.values() if isinstance(value, dict) else ()
    yield from value if isinstance(value, dict) else ()
    for row in rows:
        yield from _keys(row)
