"""Submission of a workflow, as by `argo submit --from workflowtemplate/NAME` and by `argo resubmit`."""

import re
from collections.abc import Mapping
from typing import Any

from watchmove.pipeline.errors import InvalidInput
from watchmove.service.cluster.kubernetes_api import GROUP, VERSION
from watchmove.service.cluster.workflow_api import WorkflowApi
from watchmove.service.cluster.workflow_names import parameters_of, permitted_values, run_of
from watchmove.service.cluster.workflow_state import WorkflowState, has_ended, phase_of

_LABELS = "workflows.argoproj.io/"
"""Prefix of Argo's own labels, which describe one workflow and its end."""
_COUNTS = ("nodes", "processes")
"""Parameters of the workflow `watchmove` that are counts, which a template cannot say."""
_COUNT = re.compile("[1-9][0-9]{0,3}")


def submit(api: WorkflowApi, template: str, parameters: Mapping[str, str]) -> WorkflowState:
    """Start a workflow from a template and return its state.

    Raises:
        InvalidInput: the template or parameter does not exist, a value is not permitted, or it may not be started.
        Unavailable: the cluster cannot be reached.
    """
    # First, so that a misspelt parameter or value is found before anything is started.
    _check_parameters(api, template, parameters)
    arguments = [{"name": name, "value": value} for name, value in parameters.items()]
    spec = {"workflowTemplateRef": {"name": template}, "arguments": {"parameters": arguments}}
    return _start(api, f"{template}-", {f"{_LABELS}workflow-template": template}, spec)


def resubmit(api: WorkflowApi, workflow: Mapping[str, Any]) -> WorkflowState:
    """Start a workflow with the specification and the run of one that has failed, and return its state.

    Raises:
        InvalidInput: the workflow has not failed, another of its run has not ended, or it may not be started.
        Unavailable: the cluster cannot be reached.
    """
    metadata, run = workflow["metadata"], run_of(workflow)
    name = str(metadata["name"])
    if not has_ended(workflow):
        raise InvalidInput(f"workflow {name}: has not ended ({phase_of(workflow)}); wait for it, or stop it first")
    if phase_of(workflow) == "Succeeded":
        raise InvalidInput(f"workflow {name}: has succeeded; nothing failed that could be done again")
    for other in api.workflows():
        if run_of(other) == run and not has_ended(other):
            another = other["metadata"]["name"]
            raise InvalidInput(f"workflow {name}: workflow {another} continues its run; watch or stop that one")
    # A stopped workflow's copy would stop at once.
    spec = {key: value for key, value in workflow["spec"].items() if key not in ("shutdown", "suspend")}
    template = str((spec.get("workflowTemplateRef") or {}).get("name") or "")
    parameters = parameters_of(workflow)
    known = _check_parameters(api, template, parameters) if template else parameters
    if "run" in known:
        # By default the run has the workflow's name, which is another one for the copy.
        rows = [row for row in (spec.get("arguments") or {}).get("parameters") or () if row["name"] != "run"]
        spec["arguments"] = {**(spec.get("arguments") or {}), "parameters": [*rows, {"name": "run", "value": run}]}
    labels = {key: value for key, value in (metadata.get("labels") or {}).items() if not key.startswith(_LABELS)}
    if template:
        labels[f"{_LABELS}workflow-template"] = template
    labels[f"{_LABELS}resubmitted-from-workflow"] = name
    return _start(api, metadata.get("generateName") or f"{name}-", labels, spec)


def _start(api: WorkflowApi, prefix: str, labels: Mapping[str, str], spec: Mapping[str, Any]) -> WorkflowState:
    """Start a workflow whose name is `prefix` and a random suffix."""
    document = {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "Workflow",
        "metadata": {"generateName": prefix, "labels": labels},
        "spec": spec,
    }
    return WorkflowState(api.create(document), "Pending", 0, 0, ())


def _check_parameters(api: WorkflowApi, template: str, parameters: Mapping[str, str]) -> Mapping[str, str]:
    """The parameters of a template, which must have all those given, and permit their values.

    Argo refuses no value: a wrong one would be found by the step that needs it, after all steps before it.
    """
    document = api.template(template)
    if not document["spec"].get("entrypoint"):
        raise InvalidInput(
            f"workflowtemplate {template}: only has steps for other templates; name one with an entrypoint"
        )
    known = parameters_of(document)
    for name, value in parameters.items():
        if name not in known:
            listed = ", ".join(sorted(known)) or "none"
            raise InvalidInput(f"parameter {name}: not in workflowtemplate {template}; known there: {listed}")
        permitted = permitted_values(document, name)
        if permitted and value not in permitted:
            raise InvalidInput(f"parameter {name} = {value!r}: must be one of {', '.join(permitted)}")
        if name in _COUNTS and not _COUNT.fullmatch(value):
            raise InvalidInput(f"parameter {name} = {value!r}: must be a whole number from 1 to 9999, in digits")
    return known
