"""Access to Argo Workflows through Argo's server."""

import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

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

_LISTED = "metadata.name,metadata.creationTimestamp,spec.arguments,status.phase"
"""What is read of each workflow in a list, without the nodes of its status."""


class ArgoServerApi:
    """Argo's server at HOST:PORT, configured by the variables that the argo command reads.

    `ARGO_TOKEN` is a complete Authorization header, as in "Bearer …"; `ARGO_SECURE=false` means plain HTTP;
    `ARGO_INSECURE_SKIP_VERIFY=true` accepts any certificate; `ARGO_BASE_HREF` is a prefix of all paths.
    """

    def __init__(self, server: str, namespace: str) -> None:
        """Configure the client; no request is made yet.

        Raises:
            InvalidInput: `server` has a scheme.
        """
        if "://" in server:
            raise InvalidInput(f"ARGO_SERVER = {server}: must be HOST:PORT; say http by ARGO_SECURE=false")
        from argo_workflows import ApiClient, Configuration
        from argo_workflows.api.workflow_service_api import WorkflowServiceApi
        from argo_workflows.api.workflow_template_service_api import WorkflowTemplateServiceApi

        scheme = "http" if os.environ.get("ARGO_SECURE") == "false" else "https"
        configuration = Configuration(host=f"{scheme}://{server}{os.environ.get('ARGO_BASE_HREF', '').rstrip('/')}")
        configure_retries(configuration)
        configuration.verify_ssl = os.environ.get("ARGO_INSECURE_SKIP_VERIFY") != "true"
        if os.environ.get("ARGO_TOKEN"):
            # `BearerToken` is only the generated client's name for the header; the word Bearer is in the token.
            configuration.api_key = {"BearerToken": os.environ["ARGO_TOKEN"]}
        client = ApiClient(configuration)
        self._workflows, self._templates = WorkflowServiceApi(client), WorkflowTemplateServiceApi(client)
        self._namespace = namespace
        self._where = f"{configuration.host}, namespace {namespace}"
        # The generated models reject null where Argo's server writes it, so documents are sent and read as they are.
        self._options: dict[str, Any] = {"_check_return_type": False, "_request_timeout": REQUEST_TIMEOUT_SECONDS}

    def template(self, name: str) -> dict[str, Any]:
        """The document of a WorkflowTemplate."""
        what = f"{self._where}: workflowtemplate {name}"
        with translated(what):
            return _document(what, self._templates.get_workflow_template(self._namespace, name, **self._options))

    def create(self, workflow: Mapping[str, Any]) -> str:
        """Start a workflow and return its name."""
        from argo_workflows.model.io_argoproj_workflow_v1alpha1_workflow_create_request import (
            IoArgoprojWorkflowV1alpha1WorkflowCreateRequest,
        )

        request = IoArgoprojWorkflowV1alpha1WorkflowCreateRequest(
            namespace=self._namespace, workflow=dict(workflow), _check_type=False
        )
        what = f"{self._where}: starting a workflow"
        with translated(what):
            made = _document(what, self._workflows.create_workflow(self._namespace, request, **self._options))
        return str(made["metadata"]["name"])

    def workflow(self, name: str) -> dict[str, Any]:
        """The document of a workflow, with its status."""
        what = f"{self._where}: workflow {name}"
        with translated(what):
            return _document(what, self._workflows.get_workflow(self._namespace, name, **self._options))

    def workflows(self) -> list[dict[str, Any]]:
        """The documents of all workflows of the namespace, with the phase as their only status."""
        fields = ",".join(f"items.{name}" for name in _LISTED.split(","))
        what = f"{self._where}: listing workflows"
        with translated(what):
            answer = self._workflows.list_workflows(self._namespace, fields=fields, **self._options)
        return documents_of(what, _plain(answer))

    def stop(self, name: str, *, suspended: bool) -> None:
        """Ask Argo to end a workflow's pods and to run its exit handler; one that is suspended is resumed for that."""
        from argo_workflows.model.io_argoproj_workflow_v1alpha1_workflow_resume_request import (
            IoArgoprojWorkflowV1alpha1WorkflowResumeRequest,
        )
        from argo_workflows.model.io_argoproj_workflow_v1alpha1_workflow_stop_request import (
            IoArgoprojWorkflowV1alpha1WorkflowStopRequest,
        )

        request = IoArgoprojWorkflowV1alpha1WorkflowStopRequest(namespace=self._namespace, name=name)
        with translated(f"{self._where}: stopping workflow {name}"):
            self._workflows.stop_workflow(self._namespace, name, request, **self._options)
            if suspended:
                resume = IoArgoprojWorkflowV1alpha1WorkflowResumeRequest(namespace=self._namespace, name=name)
                self._workflows.resume_workflow(self._namespace, name, resume, **self._options)

    def log(self, workflow: str, pod: str, *, follow: bool) -> Iterator[str]:
        """The lines that the container `main` of a pod has written; with `follow`, until it ends.

        The server answers with no lines if there is no such pod.
        """
        options = {
            **self._options,
            "_preload_content": False,
            "_request_timeout": (REQUEST_TIMEOUT_SECONDS, SILENCE_SECONDS if follow else REQUEST_TIMEOUT_SECONDS),
        }
        with translated(f"{self._where}: log of {pod}, workflow {workflow}"):
            answer = self._workflows.workflow_logs(
                self._namespace,
                workflow,
                pod_name=pod,
                log_options_container="main",
                log_options_follow=follow,
                **options,
            )
            for line in lines_of(answer):
                if line:
                    yield _content(line)


def _document(what: str, answer: Any) -> dict[str, Any]:
    """The document of an object in an answer."""
    return document_of(what, _plain(answer))


def _plain(answer: Any) -> Any:
    """An answer as plain values; the generated client wraps it if it knows the kind."""
    return answer.to_dict() if hasattr(answer, "to_dict") else answer


def _content(line: str) -> str:
    """The text in one entry of a log, which is a JSON object on a line."""
    try:
        return str(json.loads(line)["result"]["content"])
    except (ValueError, KeyError, TypeError):
        return line
