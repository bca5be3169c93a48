"""Stopping a workflow."""

from collections.abc import Mapping
from enum import Enum
from typing import Any

from watchmove.service.cluster.workflow_api import WorkflowApi
from watchmove.service.cluster.workflow_state import has_ended


class Stopping(Enum):
    """What a request to stop a workflow has found."""

    ASKED = "asked"
    ASKED_BEFORE = "asked before"
    ENDED = "ended"


def stop(api: WorkflowApi, workflow: Mapping[str, Any]) -> Stopping:
    """Ask Argo to end a workflow's pods and to run its exit handler, unless it was asked before or there is none left.

    Raises:
        InvalidInput: it may not be stopped.
        Unavailable: the cluster cannot be reached.
    """
    if has_ended(workflow):
        return Stopping.ENDED
    # `Terminate`, which is more, must not be weakened either.
    if workflow["spec"].get("shutdown"):
        return Stopping.ASKED_BEFORE
    # Argo looks at no request to stop while a workflow is suspended.
    api.stop(workflow["metadata"]["name"], suspended=bool(workflow["spec"].get("suspend")))
    return Stopping.ASKED
