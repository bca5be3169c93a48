"""Reading the manifests: the documents of a file, what kustomize makes of a folder, and the containers in them."""

import json
import os
import re
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import yaml

from release.kustomize import built_text, program
from watchmove.service.cluster.step_pod import merge_patch

ROOT = Path(__file__).parents[2]
STEPS = ("world", "plan", "extract", "gather", "pretrain", "evaluate", "report")
OVERLAYS = ("cloud", "kind")
OPTIONAL = (
    "disruption-budget",
    "gpu-extract",
    "karpenter",
    "kueue",
    "networkpolicy",
    "otel",
    "slim",
    "spot",
    "workload-identity",
)
"""The components that no overlay of the tree includes."""
COMBINATIONS = (
    *(("base", one) for one in ("gpu", "monitoring", "object-store", "report-artifact", *OPTIONAL)),
    ("overlays/cloud", "report-artifact", *OPTIONAL),
    *(("overlays/cloud", one) for one in OPTIONAL),
    ("overlays/kind", *(one for one in OPTIONAL if one != "gpu-extract")),
)
"""What is built and checked: a folder below k8s/, and components on top of it."""
RUN_LABEL = 'sprig.trimAll("._-", sprig.trunc(63, sprig.regexReplaceAll("[^A-Za-z0-9._-]", {}, "-")))'
"""Argo's expression for the value of the label `watchmove/run`, of an expression for the run's name."""
_QUEUE_LABEL = '=inputs.parameters.queue == "" ? "#" : "kueue.x-k8s.io/queue-name: " + inputs.parameters.queue'
_TELEMETRY = '=inputs.parameters.telemetry == "" ? "#" : "- {}: {{name: " + inputs.parameters.telemetry + "{}}}"'
_COST_LABEL = 'workflow.labels?.["watchmove/cost-centre"] ?? ""'

Document = dict[str, Any]


def read(path: Path) -> list[Document]:
    """Every document of a file."""
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def step_template(step: str) -> Document:
    """The one template in a step's file."""
    (document,) = read(ROOT / "argo" / f"{step}.yaml")
    (template,) = document["spec"]["templates"]
    return dict(template)


@cache
def built(overlay: str) -> tuple[Document, ...]:
    """What kustomize makes of an overlay; a test that asks is skipped where there is no kustomize."""
    return built_in(ROOT / "k8s" / "overlays" / overlay)


@cache
def built_with(start: str, *components: str, cost_centre: str = "") -> tuple[Document, ...]:
    """What kustomize makes of a folder below k8s/ with components, and another cost centre if one is given."""
    with tempfile.TemporaryDirectory() as folder:
        write_overlay(Path(folder), "watchmove", start, *components, cost_centre=cost_centre)
        return built_in(Path(folder))


def write_overlay(folder: Path, namespace: str, start: str, *components: str, cost_centre: str = "") -> None:
    """Write an overlay of one's own, as a user of this project does."""
    labels = {"pairs": {"watchmove/cost-centre": cost_centre}, "includeTemplates": True}
    overlay = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": namespace,
        "resources": [os.path.relpath(ROOT / "k8s" / start, folder.resolve())],
        "components": [os.path.relpath(ROOT / "k8s" / "components" / one, folder.resolve()) for one in components],
        "labels": [labels] if cost_centre else [],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(overlay))


def built_in(folder: Path) -> tuple[Document, ...]:
    """What kustomize makes of a folder."""
    need_kustomize()
    return tuple(yaml.safe_load_all(built_text(folder)))


def need_kustomize() -> None:
    """Skip a test where nothing can build an overlay."""
    if not program():
        pytest.skip("neither kubectl nor kustomize is on PATH: overlays cannot be built here")


def named(documents: tuple[Document, ...], kind: str, name: str) -> Document:
    """The one document of a kind and a name."""
    (found,) = [one for one in documents if one["kind"] == kind and one["metadata"]["name"] == name]
    return found


def ranks_template() -> Document:
    """The template of pretraining on several nodes, the one that makes a Job."""
    (document,) = read(ROOT / "argo" / "pretrain-nodes.yaml")
    return dict(document["spec"]["templates"][0])


def ranks_job(template: Document, **given: str) -> Document:
    """The Job of a template for several nodes, with Argo's variables filled in as Argo does; `given` are inputs."""
    rows = template.get("inputs", {}).get("parameters", [])
    inputs = {row["name"]: row["value"] for row in rows if "value" in row} | given
    known = {"workflow.name": "watchmove-abcde", "workflow.uid": str(UUID(int=7)), _COST_LABEL: "vision"}
    known["workflow.serviceAccountName"] = "watchmove"
    known |= {f"inputs.parameters.{name}": inputs[name] for name in inputs}
    known[_QUEUE_LABEL] = f"kueue.x-k8s.io/queue-name: {inputs['queue']}" if inputs.get("queue") else "#"
    for kind, more in (("configMapRef", ""), ("secretRef", ", optional: true")):
        name = inputs.get("telemetry")
        known[_TELEMETRY.format(kind, more)] = f"- {kind}: {{name: {name}{more}}}" if name else "#"
    known |= {RUN_LABEL.format("inputs.parameters.run"): _label(inputs.get("run", ""))}
    text = re.sub(r"\{\{=toJson\((.*?)\)\}\}", lambda at: json.dumps(known[at[1]]), template["resource"]["manifest"])
    return dict(yaml.safe_load(re.sub(r"\{\{(.*?)\}\}", lambda at: known[at[1]], text)))


def _label(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "-", name)[:63].strip("._-")


def containers(document: Document) -> Iterator[Document]:
    """Every container that a Deployment or a WorkflowTemplate makes."""
    spec = document.get("spec", {})
    if document["kind"] == "Deployment":
        yield from spec["template"]["spec"]["containers"]
    if document["kind"] == "WorkflowTemplate":
        yield from (template["container"] for template in spec["templates"] if "container" in template)


def pod_of(template: Document, workflow: Document | None = None) -> Document:
    """The pod that Argo's controller makes of a template of the workflow, where its configuration is empty.

    Its own containers are `init` and `wait`; of a template that makes a resource, the main one is its own too. The
    patches of the workflow and of the template are merged by the names of containers. `workflow` is the
    WorkflowTemplate that refers to the template; by default that of argo/watchmove.yaml.
    """
    whole = (workflow or read(ROOT / "argo" / "watchmove.yaml")[0])["spec"]
    own = {"image": "quay.io/argoproj/argoexec"}
    main = {"name": "main", **template.get("container", own)}
    spec: Document = {
        "initContainers": [{"name": "init", **own}],
        "containers": [main] if "resource" in template else [{"name": "wait", **own}, main],
        "securityContext": whole["securityContext"],
        "volumes": template["volumes"],
        **{key: template[key] for key in ("tolerations", "affinity") if key in template},
    }
    for patch in (whole["podSpecPatch"], template["podSpecPatch"]):
        merge_patch(spec, yaml.safe_load(patch))
    labels = {**whole["podMetadata"]["labels"], **template["metadata"]["labels"]}
    metadata = {
        "name": "made-by-argo",
        "labels": {key: "monday" if "{{" in value else value for key, value in labels.items()},
        "annotations": template["metadata"].get("annotations", {}),
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": json.loads(json.dumps(spec))}


def pods_by_template(documents: tuple[Document, ...]) -> dict[str, Document]:
    """The pods of all templates of built documents, by the template's name; those of the Job have the name `ranks`."""
    templates = {one["metadata"]["name"]: one for one in documents if one["kind"] == "WorkflowTemplate"}
    found: dict[str, Document] = {}
    for name, document in templates.items():
        whole = templates["watchmove-claims" if name == "watchmove-claims" else "watchmove"]
        with_pods = [one for one in document["spec"]["templates"] if "container" in one or "resource" in one]
        found |= {one["name"]: pod_of(one, whole) for one in with_pods}
    (train, _) = templates["watchmove-pretrain-nodes"]["spec"]["templates"]
    return {**found, "ranks": ranks_job(train, run="monday", nodes="3", processes="1")["spec"]["template"]}


def templates_with_pods() -> list[Document]:
    """The templates that make pods: those of all steps, and those that make and suspend a Job."""
    (ranks,) = read(ROOT / "argo" / "pretrain-nodes.yaml")
    return [*map(step_template, STEPS), *ranks["spec"]["templates"]]
