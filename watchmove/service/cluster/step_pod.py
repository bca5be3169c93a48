"""The pod that Argo's controller makes of a step's template, where its configuration gives its containers nothing."""

from collections.abc import Mapping
from typing import Any

import yaml

from watchmove.pipeline.errors import InvalidInput

_ARGO_IMAGE = "quay.io/argoproj/argoexec"
"""Image of the containers that Argo adds; a check of admission does not pull it."""
_PLACEMENT = ("nodeSelector", "tolerations", "affinity", "priorityClassName", "schedulerName")
"""Keys of a template, or else of the workflow, that become keys of the pod."""


def step_pod(workflow: Mapping[str, Any], step: Mapping[str, Any]) -> dict[str, Any]:
    """The pod of the first template in the WorkflowTemplate `step`, run by the WorkflowTemplate `workflow`.

    Argo adds the containers `init` and `wait`, and merges the patches and labels of workflow and template into the pod.

    Raises:
        InvalidInput: a document has no such template, or a patch that is no YAML.
    """
    try:
        common, template = workflow["spec"], step["spec"]["templates"][0]
        added = {"image": _ARGO_IMAGE}
        spec = {
            "restartPolicy": "Never",
            "initContainers": [{"name": "init", **added}],
            "containers": [{"name": "wait", **added}, {"name": "main", **template["container"]}],
            "volumes": [*template.get("volumes", ())],
            **{key: common[key] for key in ("serviceAccountName", "securityContext") if key in common},
            **{key: place[key] for key in _PLACEMENT for place in (common, template) if key in place},
        }
        for place in (common, template):
            merge_patch(spec, yaml.safe_load(place.get("podSpecPatch") or "{}"))
        labels = {**common.get("podMetadata", {}).get("labels", {}), **template.get("metadata", {}).get("labels", {})}
    except (KeyError, IndexError, TypeError, AttributeError, StopIteration, yaml.YAMLError) as error:
        line = " ".join(str(error).split())
        raise InvalidInput(f"the installed templates make no pod ({line}); install those of this version") from error
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": "watchmove-doctor-", "labels": _filled_in(labels)},
        "spec": spec,
    }


def _filled_in(labels: Mapping[str, str]) -> dict[str, str]:
    """The labels without Argo's variables, which have values in a run only."""
    return {name: value for name, value in labels.items() if "{{" not in value}


def merge_patch(document: dict[str, Any], patch: Mapping[str, Any]) -> None:
    """Merge a patch into a pod's document strategically: mappings by their keys, lists of containers by their names."""
    for key, value in patch.items():
        if isinstance(value, dict):
            merge_patch(document.setdefault(key, {}), value)
        elif key in ("initContainers", "containers"):
            for row in value:
                merge_patch(next(known for known in document[key] if known["name"] == row["name"]), row)
        else:
            document[key] = value
