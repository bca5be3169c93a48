"""Access to Argo Workflows, through the Kubernetes API or through Argo's server if `ARGO_SERVER` names one."""

import os
from collections.abc import Iterator, Mapping
from typing import Any, Protocol


class WorkflowApi(Protocol):
    """The requests to a cluster concerning workflows of one namespace. Documents are Argo's JSON objects.

    Every method raises Unavailable if the request may succeed later, and Refused, an InvalidInput, if it cannot.
    """

    def template(self, name: str) -> dict[str, Any]:
        """The document of a WorkflowTemplate."""

    def create(self, workflow: Mapping[str, Any]) -> str:
        """Start a workflow and return its name."""

    def workflow(self, name: str) -> dict[str, Any]:
        """The document of a workflow, with its status."""

    def workflows(self) -> list[dict[str, Any]]:
        """The documents of all workflows of the namespace; the phase may be their only status."""

    def stop(self, name: str, *, suspended: bool) -> None:
        """Ask Argo to end a workflow's pods and to run its exit handler; one that is suspended is resumed for that."""

    def log(self, workflow: str, pod: str, *, follow: bool) -> Iterator[str]:
        """The lines that the container `main` of a pod has written; with `follow`, until it ends."""


def connect(namespace: str) -> WorkflowApi:
    """The access that the environment configures, read as the argo command does; no request is made yet.

    Raises:
        InvalidInput: the environment configures no cluster.
    """
    # Not at the top: every start of the command line loads this module, and few speak to a cluster.
    from watchmove.service.cluster.argo_server_api import ArgoServerApi
    from watchmove.service.cluster.kubernetes_api import KubernetesApi

    server = os.environ.get("ARGO_SERVER", "")
    return ArgoServerApi(server, namespace) if server else KubernetesApi(namespace)
