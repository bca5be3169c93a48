"""Access to Argo Workflows, through the Kubernetes API or through Argo's server if `ARGO_SERVER` names one."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, Protocol

import urllib3.exceptions
import yaml

from watchmove.pipeline.errors import InvalidInput, Unavailable

REQUEST_TIMEOUT_SECONDS = 30.0
"""Longest time of one request; set by hand, not tuned."""
GROUP, VERSION = "argoproj.io", "v1alpha1"
"""The API of Argo's kinds."""
_TRANSIENT = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT, HTTPStatus.TOO_MANY_REQUESTS}
"""Client errors after which the same request may succeed later, like all server errors."""


class WorkflowApi(Protocol):
    """The requests to a cluster that submission needs. Documents are Argo's JSON objects.

    Every method raises Unavailable if the request may succeed later, and InvalidInput if it cannot.
    """

    def template(self, name: str) -> dict[str, Any]:
        """The document of a WorkflowTemplate."""

    def create(self, template: str, parameters: Mapping[str, str]) -> str:
        """Start a workflow from a template and return its name."""

    def workflow(self, name: str) -> dict[str, Any]:
        """The document of a workflow, with its status."""


def connect(namespace: str) -> WorkflowApi:
    """The access that the environment configures, read as the argo command does; no request is made yet.

    Raises:
        InvalidInput: the environment configures no cluster.
    """
    server = os.environ.get("ARGO_SERVER", "")
    return ArgoServerApi(server, namespace) if server else KubernetesApi(namespace)


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
        self._objects = client.CustomObjectsApi(api_client)
        self._namespace = namespace
        self._where = f"{api_client.configuration.host}, namespace {namespace}"

    def template(self, name: str) -> dict[str, Any]:
        """The document of a WorkflowTemplate."""
        return self._get("workflowtemplates", name)

    def create(self, template: str, parameters: Mapping[str, str]) -> str:
        """Start a workflow from a template and return its name."""
        body = _workflow(template, parameters)
        with translated(f"{self._where}: starting {template}"):
            made: Any = self._objects.create_namespaced_custom_object(
                GROUP, VERSION, self._namespace, "workflows", body, _request_timeout=REQUEST_TIMEOUT_SECONDS
            )
        return str(made["metadata"]["name"])

    def workflow(self, name: str) -> dict[str, Any]:
        """The document of a workflow, with its status."""
        return self._get("workflows", name)

    def _get(self, kind: str, name: str) -> dict[str, Any]:
        with translated(f"{self._where}: {kind[:-1]} {name}"):
            document: Any = self._objects.get_namespaced_custom_object(
                GROUP, VERSION, self._namespace, kind, name, _request_timeout=REQUEST_TIMEOUT_SECONDS
            )
        return dict(document)


class ArgoServerApi:
    """Argo's server at HOST:PORT, configured by the variables that the argo command reads.

    `ARGO_TOKEN` is a complete Authorization header, as in "Bearer …"; `ARGO_SECURE=false` means plain HTTP;
    `ARGO_INSECURE_SKIP_VERIFY=true` accepts any certificate; `ARGO_BASE_HREF` is a prefix of all paths.
    """

    def __init__(self, server: str, namespace: str) -> None:
        from argo_workflows import ApiClient, Configuration
        from argo_workflows.api.workflow_service_api import WorkflowServiceApi
        from argo_workflows.api.workflow_template_service_api import WorkflowTemplateServiceApi

        scheme = "http" if os.environ.get("ARGO_SECURE") == "false" else "https"
        configuration = Configuration(host=f"{scheme}://{server}{os.environ.get('ARGO_BASE_HREF', '').rstrip('/')}")
        configuration.verify_ssl = os.environ.get("ARGO_INSECURE_SKIP_VERIFY") != "true"
        if os.environ.get("ARGO_TOKEN"):
            # `BearerToken` is only the generated client's name for the header; the word Bearer is in the token.
            configuration.api_key = {"BearerToken": os.environ["ARGO_TOKEN"]}
        client = ApiClient(configuration)
        self._workflows, self._templates = WorkflowServiceApi(client), WorkflowTemplateServiceApi(client)
        self._namespace = namespace
        self._where = f"{configuration.host}, namespace {namespace}"
        # The generated models reject null where Argo's server writes it, so answers are read as plain documents.
        self._options = {"_check_return_type": False, "_request_timeout": REQUEST_TIMEOUT_SECONDS}

    def template(self, name: str) -> dict[str, Any]:
        """The document of a WorkflowTemplate."""
        with translated(f"{self._where}: workflowtemplate {name}"):
            answer = self._templates.get_workflow_template(self._namespace, name, **self._options)
        document: dict[str, Any] = answer.to_dict()
        return document

    def create(self, template: str, parameters: Mapping[str, str]) -> str:
        """Start a workflow from a template and return its name."""
        from argo_workflows.model.io_argoproj_workflow_v1alpha1_submit_opts import IoArgoprojWorkflowV1alpha1SubmitOpts
        from argo_workflows.model.io_argoproj_workflow_v1alpha1_workflow_submit_request import (
            IoArgoprojWorkflowV1alpha1WorkflowSubmitRequest,
        )

        words = [f"{name}={value}" for name, value in parameters.items()]
        request = IoArgoprojWorkflowV1alpha1WorkflowSubmitRequest(
            namespace=self._namespace,
            resource_kind="WorkflowTemplate",
            resource_name=template,
            submit_options=IoArgoprojWorkflowV1alpha1SubmitOpts(parameters=words),
        )
        with translated(f"{self._where}: starting {template}"):
            made = self._workflows.submit_workflow(self._namespace, request, **self._options)
        return str(made.to_dict()["metadata"]["name"])

    def workflow(self, name: str) -> dict[str, Any]:
        """The document of a workflow, with its status."""
        with translated(f"{self._where}: workflow {name}"):
            answer = self._workflows.get_workflow(self._namespace, name, **self._options)
        document: dict[str, Any] = answer.to_dict()
        return document


def _workflow(template: str, parameters: Mapping[str, str]) -> dict[str, Any]:
    """The Workflow object that `argo submit --from workflowtemplate/TEMPLATE` creates."""
    arguments = [{"name": name, "value": value} for name, value in parameters.items()]
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "Workflow",
        "metadata": {
            "generateName": f"{template}-",
            "labels": {"workflows.argoproj.io/workflow-template": template},
        },
        "spec": {"workflowTemplateRef": {"name": template}, "arguments": {"parameters": arguments}},
    }


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn the exceptions of both clients into InvalidInput and Unavailable, with a message that begins with `what`."""
    import argo_workflows.exceptions
    import kubernetes.client.exceptions

    try:
        yield
    except (argo_workflows.exceptions.ApiException, kubernetes.client.exceptions.ApiException) as error:
        raise _from_answer(what, error.status or 0, error.reason, error.body) from error
    # Neither client translates the errors of a connection that is refused or lost.
    except urllib3.exceptions.HTTPError as error:
        # The cause in MaxRetryError, without the pool and path of the request; on one line like every error message.
        reason = getattr(error, "reason", None) or error
        raise Unavailable(f"{what}: {' '.join(str(reason).split())}; the cluster cannot be reached") from error


def _from_answer(what: str, status: int, reason: str, body: str | bytes | None) -> InvalidInput | Unavailable:
    """The error for an answer other than success: Unavailable if a later request may succeed, else InvalidInput."""
    line = f"{what}: {status or 'no answer'} {_message(body) or ' '.join(str(reason).split())}"
    if status in _TRANSIENT or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return Unavailable(f"{line}; try again")
    advice: dict[int, str] = {
        HTTPStatus.NOT_FOUND: "check the name and --namespace, and that `kubectl apply -k k8s/overlays/…` was done",
        HTTPStatus.UNAUTHORIZED: "check the credentials in KUBECONFIG or ARGO_TOKEN",
        HTTPStatus.FORBIDDEN: "ask for permission to get workflowtemplates and to create and get workflows there",
    }
    return InvalidInput(f"{line}; {advice.get(status, 'check the request') if status else 'check the address'}")


def _message(body: str | bytes | None) -> str:
    """The message in an error document of Kubernetes or Argo; empty if there is none."""
    try:
        document = json.loads(body or "")
    except ValueError:
        return ""
    return str(document.get("message", "")) if isinstance(document, dict) else ""
