"""Which workflow a name given by a user means."""

import json
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from http import HTTPStatus
from typing import Any

from watchmove.pipeline.errors import InvalidInput
from watchmove.service.cluster.api_errors import Refused
from watchmove.service.cluster.workflow_api import WorkflowApi
from watchmove.service.cluster.workflow_state import has_ended

_SHOWN = 3
"""Most names that an error suggests. Set by hand; not tuned."""


def find_workflow(api: WorkflowApi, namespace: str, name: str = "") -> dict[str, Any]:
    """The document of the workflow of this name, or else of the last one whose parameter `run` it is.

    Of the workflows of a run, one that has not ended precedes the others. Without a name, the last workflow of the
    namespace is found.

    Raises:
        InvalidInput: there is none, or it may not be read; the message suggests similar names.
        Unavailable: the cluster cannot be reached.
    """
    try:
        if name:
            return api.workflow(name)
    except Refused as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise
    known = api.workflows()
    if not known:
        raise InvalidInput(f"namespace {namespace}: has no workflows; check --namespace")
    fitting = [one for one in known if not name or run_of(one) == name]
    if not fitting:
        raise InvalidInput(f"{name}: no workflow or run of this name in namespace {namespace}; {_advice(name, known)}")
    last = max(fitting, key=lambda one: (bool(name) and not has_ended(one), one["metadata"]["creationTimestamp"]))
    return api.workflow(last["metadata"]["name"])


def run_of(workflow: Mapping[str, Any]) -> str:
    """The name of the run that a workflow works on: its parameter `run`, or else its own name."""
    return parameters_of(workflow).get("run") or str(workflow["metadata"]["name"])


def parameters_of(document: Mapping[str, Any]) -> dict[str, str]:
    """The values of the arguments of a Workflow or WorkflowTemplate by name; empty for one without a value."""
    return {row["name"]: _text(row.get("value")) for row in _rows(document)}


def permitted_values(document: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """The values that a Workflow or WorkflowTemplate permits for an argument; none if it permits any."""
    return tuple(_text(value) for row in _rows(document) if row["name"] == name for value in row.get("enum") or ())


def _rows(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The parameters among the arguments of a Workflow or WorkflowTemplate."""
    return list(((document.get("spec") or {}).get("arguments") or {}).get("parameters") or ())


def _text(value: object) -> str:
    """A value as Argo reads it: Kubernetes keeps numbers and truth values of a manifest as they were written."""
    return value if isinstance(value, str) else "" if value is None else json.dumps(value)


def _advice(name: str, known: Iterable[Mapping[str, Any]]) -> str:
    """What to try for a name that nothing has: the names most like it, or else the last ones."""
    newest = sorted(known, key=lambda one: str(one["metadata"]["creationTimestamp"]), reverse=True)
    words = dict.fromkeys(word for one in newest for word in (str(one["metadata"]["name"]), run_of(one)))
    names = [word for word in words if word.isprintable()]  # a run's name is whatever was submitted
    close = get_close_matches(name, names, _SHOWN)
    return f"similar: {', '.join(close)}" if close else f"the last are: {', '.join(names[:_SHOWN])}"
