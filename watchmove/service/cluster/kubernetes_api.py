"""Access to Argo Workflows through the Kubernetes API."""

import logging
import os
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from watchmove.pipeline.errors import InvalidInput
from watchmove.service.cluster.api_errors import (
    REQUEST_TIMEOUT_SECONDS,
    SILENCE_SECONDS,
    configure_retries,
    document_of,
    documents_of,
    translated,
)
from watchmove.service.cluster.lines import lines_of

GROUP, VERSION = "argoproj.io", "v1alpha1"
"""The API of Argo's kinds."""
_OF_ANOTHER_FORM = (ValueError, TypeError, AttributeError, LookupError)
"""Ends of the client package where a kubeconfig has not the form that it expects, of which it checks little."""


def uses_service_account() -> bool:
    """Whether the Kubernetes API is used as the service account of this pod: unless KUBECONFIG names a cluster."""
    return "KUBERNETES_SERVICE_HOST" in os.environ and not os.environ.get("KUBECONFIG")


def kubernetes_client() -> Any:
    """The client of the Kubernetes API that the environment configures; no request is made yet.

    Raises:
        InvalidInput: the environment configures no cluster, or a program that it names gives no credentials.
    """
    # Both client packages load slowly, and few commands need them.
    from kubernetes import client, config

    configuration = client.Configuration()
    configure_retries(configuration)
    errors = _ErrorMessages()
    logging.getLogger().addFilter(errors)
    try:
        if uses_service_account():
            config.load_incluster_config(configuration)  # type: ignore[no-untyped-call]
        else:
            # The package reads KUBECONFIG once, when it is imported, so the current file is passed here. An empty one
            # names none, as for kubectl.
            config.load_kube_config(  # type: ignore[no-untyped-call]
                os.environ.get("KUBECONFIG") or None, client_configuration=configuration
            )
    except (config.ConfigException, OSError, yaml.YAMLError, *_OF_ANOTHER_FORM) as error:
        line = " ".join(str(error).split())
        if isinstance(error, _OF_ANOTHER_FORM):
            line = f"{os.environ.get('KUBECONFIG') or 'the kubeconfig'} is not of the form of a kubeconfig ({line})"
        raise InvalidInput(f"no cluster: {line}; set KUBECONFIG, or ARGO_SERVER and ARGO_TOKEN") from error
    finally:
        logging.getLogger().removeFilter(errors)
    if errors.messages:
        line = " ".join(errors.messages[0].split())
        raise InvalidInput(f"no credentials for {configuration.host}: {line}; sign in, or correct KUBECONFIG")
    return client.ApiClient(configuration)


class _ErrorMessages(logging.Filter):
    """Collects errors that are logged: of a program for credentials that fails, the client package says no more."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep the message of an error, and let nothing else of it appear."""
        is_error = record.levelno >= logging.ERROR
        self.messages.extend([record.getMessage()] if is_error else [])
        return not is_error


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
        what = f"{self._where}: starting a workflow"
        with translated(what):
            made: Any = self._objects.create_namespaced_custom_object(
                *self._place, "workflows", dict(workflow), **self._limit
            )
        return str(document_of(what, made)["metadata"]["name"])

    def workflow(self, name: str) -> dict[str, Any]:
        """The document of a workflow, with its status."""
        return self._get("workflows", name)

    def workflows(self) -> list[dict[str, Any]]:
        """The documents of all workflows of the namespace."""
        what = f"{self._where}: listing workflows"
        with translated(what):
            found: Any = self._objects.list_namespaced_custom_object(*self._place, "workflows", **self._limit)
        return documents_of(what, found)

    def stop(self, name: str, *, suspended: bool) -> None:
        """Ask Argo to end a workflow's pods and to run its exit handler; one that is suspended is resumed for that."""
        change = {"shutdown": "Stop", **({"suspend": None} if suspended else {})}
        with translated(f"{self._where}: stopping workflow {name}"):
            self._objects.patch_namespaced_custom_object(
                *self._place,
                "workflows",
                name,
                {"spec": change},
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
        what = f"{self._where}: {kind[:-1]} {name}"
        with translated(what):
            document: Any = self._objects.get_namespaced_custom_object(*self._place, kind, name, **self._limit)
        return document_of(what, document)
