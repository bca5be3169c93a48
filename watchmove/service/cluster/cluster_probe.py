"""Requests to the Kubernetes API that show whether a cluster is ready, and that change nothing."""

import os
from pathlib import Path
from typing import Any

from watchmove.service.cluster.api_errors import REQUEST_TIMEOUT_SECONDS, part_of, translated
from watchmove.service.cluster.kubernetes_api import GROUP, VERSION, kubernetes_client

_TOKEN = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
"""Where Kubernetes puts a service account's token into a pod."""
_KUBECONFIG = Path("~/.kube/config")
"""Where kubectl and the client package look for a configuration if KUBECONFIG is not set."""


def is_configured() -> bool:
    """Whether there is a kubeconfig, or this is a pod with the token of a service account."""
    if os.environ.get("KUBECONFIG"):
        return True
    in_pod = "KUBERNETES_SERVICE_HOST" in os.environ
    return _TOKEN.exists() if in_pod else _KUBECONFIG.expanduser().exists()


class ClusterProbe:
    """Requests concerning one namespace of the cluster that the environment configures.

    Every method raises Unavailable if the request may succeed later, and InvalidInput if it cannot.
    """

    def __init__(self, namespace: str) -> None:
        from kubernetes import client

        self._client = kubernetes_client()
        self._kubernetes = client
        self._namespace = namespace
        self.host = str(self._client.configuration.host)
        self._limit: dict[str, Any] = {"_request_timeout": REQUEST_TIMEOUT_SECONDS}

    def version(self) -> str:
        """The version of the API server."""
        what = f"{self.host}: reading its version"
        with translated(what):
            return str(part_of(what, self._kubernetes.VersionApi(self._client).get_code(**self._limit), "git_version"))

    def served_kinds(self) -> set[str]:
        """The names in which the API server serves Argo's kinds, as in `workflows`; none if Argo is not installed."""
        what = f"{self.host}: listing the kinds of {GROUP}/{VERSION}"
        with translated(what):
            groups = part_of(what, self._kubernetes.ApisApi(self._client).get_api_versions(**self._limit), "groups")
            if GROUP not in {group.name for group in groups}:
                return set()
            objects = self._kubernetes.CustomObjectsApi(self._client)
            kinds = part_of(what, objects.get_api_resources(GROUP, VERSION, **self._limit), "resources")
            return {row.name for row in kinds}

    def may(self, verb: str, resource: str, group: str = GROUP) -> bool:
        """Whether the credentials permit a verb on a kind of object in the namespace."""
        wanted = {"namespace": self._namespace, "verb": verb, "group": group, "resource": resource}
        review: Any = {"spec": {"resourceAttributes": wanted}}
        api = self._kubernetes.AuthorizationV1Api(self._client)
        what = f"{self.host}: asking for permission to {verb} {resource}"
        with translated(what):
            return bool(part_of(what, api.create_self_subject_access_review(review, **self._limit), "status").allowed)

    def admit(self, pod: Any) -> None:
        """Let the API server check a pod as it does before it makes one, without making it."""
        what = f"{self.host}, namespace {self._namespace}: admission of a pod"
        with translated(what):
            api = self._kubernetes.CoreV1Api(self._client)
            part_of(what, api.create_namespaced_pod(self._namespace, pod, dry_run="All", **self._limit), "metadata")
