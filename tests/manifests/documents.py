"""Reading the manifests: the documents of a file, what kustomize makes of a folder, and the containers in them."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import yaml

from watchmove.service.cluster.step_pod import merge_patch

ROOT = Path(__file__).parents[2]
STEPS = ("world", "plan", "extract", "gather", "pretrain", "evaluate", "report")
OVERLAYS = ("cloud", "kind")

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


def built_in(folder: Path) -> tuple[Document, ...]:
    """What kustomize makes of a folder."""
    made = subprocess.run([*_kustomize(), str(folder)], capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    return tuple(yaml.safe_load_all(made.stdout))


def _kustomize() -> list[str]:
    for command in (["kubectl", "kustomize"], ["kustomize", "build"]):
        if shutil.which(command[0]):
            return command
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
    known = {"workflow.name": "watchmove-abcde", "workflow.uid": str(UUID(int=7))}
    known |= {f"inputs.parameters.{name}": inputs[name] for name in inputs}
    text = re.sub(r"\{\{=toJson\((.*?)\)\}\}", lambda at: json.dumps(known[at[1]]), template["resource"]["manifest"])
    return dict(yaml.safe_load(re.sub(r"\{\{(.*?)\}\}", lambda at: known[at[1]], text)))


def containers(document: Document) -> Iterator[Document]:
    """Every container that a Deployment or a WorkflowTemplate makes."""
    spec = document.get("spec", {})
    if document["kind"] == "Deployment":
        yield from spec["template"]["spec"]["containers"]
    if document["kind"] == "WorkflowTemplate":
        yield from (template["container"] for template in spec["templates"] if "container" in template)


def pod_of(template: Document) -> Document:
    """The pod that Argo's controller makes of a template of the workflow, where its configuration is empty.

    Its own containers are `init` and `wait`; of a template that makes a resource, the main one is its own too. The
    patches of the workflow and of the template are merged by the names of containers.
    """
    (workflow,) = read(ROOT / "argo" / "watchmove.yaml")
    own = {"image": "quay.io/argoproj/argoexec"}
    main = {"name": "main", **template.get("container", own)}
    spec: Document = {
        "initContainers": [{"name": "init", **own}],
        "containers": [main] if "resource" in template else [{"name": "wait", **own}, main],
        "securityContext": workflow["spec"]["securityContext"],
        "volumes": template["volumes"],
    }
    for patch in (workflow["spec"]["podSpecPatch"], template["podSpecPatch"]):
        merge_patch(spec, yaml.safe_load(patch))
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "made-by-argo"}, "spec": spec}


def templates_with_pods() -> list[Document]:
    """The templates that make pods: those of all steps, and those that make and suspend a Job."""
    (ranks,) = read(ROOT / "argo" / "pretrain-nodes.yaml")
    return [*map(step_template, STEPS), *ranks["spec"]["templates"]]
