"""Access to Argo Workflows through the Kubernetes API."""

import os
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from watchmove.pipeline.errors import InvalidInput
from watchmove.service.cluster.api_errors import REQUEST_TIMEOUT_SECONDS, SILENCE_SECONDS, translated
from watchmove.service.cluster.lines import lines_of

GROUP, VERSION = "argoproj.io", "v1alpha1"
"""The API of Argo's kinds."""


def uses_service_account() -> bool:
    """Whether the Kubernetes API is used as the service account of this pod: unless KUBECONFIG names a cluster."""
    return "KUBERNETES_SERVICE_HOST" in os.environ and "KUBECONFIG" not in os.environ


def kubernetes_client() -> Any:
    """The client of the Kubernetes API that the environment configures; no request is made yet.

    Raises:
        InvalidInput: the environment configures no cluster.
    """
    # Both client packages load slowly, and few commands need them.
    from kubernetes import client, config

    configuration = client.Configuration()
    try:
        if uses_service_account():
            config.load_incluster_config(configuration)  # type: ignore[no-untyped-call]
        else:
            # The package reads KUBECONFIG once, when it is imported, so the current file is passed here.
            config.load_kube_config(  # type: ignore[no-untyped-call]
                os.environ.get("KUBECONFIG"), client_configuration=configuration
            )
    except (config.ConfigException, OSError, yaml.YAMLError) as error:
        line = " ".join(str(error).split())
        raise InvalidInput(f"no cluster: {line}; set KUBECONFIG, or ARGO_SERVER and ARGO_TOKEN") from error
    return client.ApiClient(configuration)


class KubernetesApi:
    """Workflows as custom objects of the Kubernetes API; access is controlled by the cluster's RBAC."""

    def __init__(self, namespace: str) -> None:
        from kubernetes import client

        api_client = kubernetes_client()
        self._objects, self._core = client.CustomObjectsApi(api_client), client.CoreV1Api(api_client)
        self._place = (GROUP, VERSION, namespace)
        self._namespace = namespace
        self._where = f"{api_client.configuration.host}, namespace {namespace}"
        self._limit: dict[str, Any] = {"_request_timeout": REQUEST_TIMEOUT_SECONDS}

    def template(self, name: str) -> dict[str, Any]:
        """The document of a WorkflowTemplate."""
        return self._get("workflowtemplates", name)

    def create(self, workflow: Mapping[str, Any]) -> str:
        """Start a workflow and return its name."""
        with translated(f"{self._where}: starting a workflow"):
            made: Any = self._objects.create_namespaced_custom_object(
                *self._place, "workflows", dict(workflow), **self._limit
            )
        return str(made["metadata"]["name"])

    def workflow(self, name: str) -> dict[str, Any]:
        """The document of a workflow, with its status."""
        return self._get("workflows", name)

    def workflows(self) -> list[dict[str, Any]]:
        """The documents of all workflows of the namespace."""
        with translated(f"{self._where}: listing workflows"):
            found: Any = self._objects.list_namespaced_custom_object(*self._place, "workflows", **self._limit)
        return list(found["items"])

    def stop(self, name: str) -> None:
        """Ask Argo to end a workflow's pods and to run its exit handler."""
        with translated(f"{self._where}: stopping workflow {name}"):
            self._objects.patch_namespaced_custom_object(
                *self._place,
                "workflows",
                name,
                {"spec": {"shutdown": "Stop"}},
                _content_type="application/merge-patch+json",
                **self._limit,
            )

    def log(self, workflow: str, pod: str, *, follow: bool) -> Iterator[str]:
        """The lines that the container `main` of a pod has written; with `follow`, until it ends."""
        timeout = (REQUEST_TIMEOUT_SECONDS, SILENCE_SECONDS if follow else REQUEST_TIMEOUT_SECONDS)
        with translated(f"{self._where}: log of {pod}, workflow {workflow}"):
            answer = self._core.read_namespaced_pod_log(
                pod, self._namespace, container="main", follow=follow, _preload_content=False, _request_timeout=timeout
            )
            yield from lines_of(answer)

    def _get(self, kind: str, name: str) -> dict[str, Any]:
        with translated(f"{self._where}: {kind[:-1]} {name}"):
            document: Any = self._objects.get_namespaced_custom_object(*self._place, kind, name, **self._limit)
        return dict(document)
