"""A watchmove that is installed in a cluster: what its tests ask of it."""

import base64
import json
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import boto3
from kubernetes import client

from tests.waiting import poll

NAMESPACE = "watchmove"
_ARGO = ("argoproj.io", "v1alpha1", NAMESPACE)
_ENDED = ("Succeeded", "Failed", "Error")


class Installation:
    """The namespace through the Kubernetes API. Documents are plain JSON objects."""

    def __init__(self) -> None:
        self.core: Any = client.CoreV1Api()
        self.rights: Any = client.AuthorizationV1Api()
        self.objects: Any = client.CustomObjectsApi()

    def start(self, workflow: dict[str, Any]) -> str:
        """Start a workflow and give its name."""
        made: Any = self.objects.create_namespaced_custom_object(*_ARGO, "workflows", workflow)
        return str(made["metadata"]["name"])

    def get(self, kind: str, name: str) -> dict[str, Any]:
        """One of Argo's objects; `kind` is its plural."""
        found: Any = self.objects.get_namespaced_custom_object(*_ARGO, kind, name)
        return dict(found)

    def all_of(self, kind: str) -> list[dict[str, Any]]:
        """All of Argo's objects of a kind."""
        found: Any = self.objects.list_namespaced_custom_object(*_ARGO, kind)
        return list(found["items"])

    def change(self, kind: str, name: str, change: dict[str, Any]) -> None:
        """Merge a change into one of Argo's objects."""
        self.objects.patch_namespaced_custom_object(*_ARGO, kind, name, change)

    def ended(self, name: str, timeout_seconds: float = 600) -> dict[str, Any]:
        """A workflow's document once it has ended."""
        return dict(wait_for(f"workflow {name} to end", lambda: self._if_ended(name), timeout_seconds))

    def pods(self, workflow: str, step: str) -> list[Any]:
        """The pods of a step that are there now."""
        labels = f"workflows.argoproj.io/workflow={workflow},app.kubernetes.io/component={step}"
        return list(self.core.list_namespaced_pod(NAMESPACE, label_selector=labels).items)

    def training_pod(self, workflow: str) -> Any:
        """The pretraining's pod once it says of itself that it has learnt something, else None."""
        return next((pod for pod in self.pods(workflow, "pretrain") if self.training_iteration([pod])), None)

    def training_iteration(self, pods: list[Any]) -> int:
        """The furthest step of pretraining that pods say of themselves that they have done; 0 while none does."""
        said = re.compile(r'^watchmove_process_training_iteration\{training="pretrain"\} ([\d.]+)', re.MULTILINE)
        found = (said.search(self._served(pod.metadata.name)) for pod in pods)
        return max((int(float(one[1])) for one in found if one), default=0)

    def exported(self) -> str:
        """What the exporter serves now, read through the API server."""
        read = self.core.connect_get_namespaced_service_proxy_with_path
        return str(read("watchmove-exporter:metrics", NAMESPACE, "metrics", _preload_content=False).data.decode())

    def _served(self, pod: str) -> str:
        """What a step's pod serves now; nothing while it is not there."""
        read = self.core.connect_get_namespaced_pod_proxy_with_path
        try:
            return str(read(f"{pod}:9090", NAMESPACE, "metrics", _preload_content=False).data.decode())
        except client.ApiException:
            return ""

    @contextmanager
    def bucket(self) -> Iterator["Bucket"]:
        """The test store's bucket, through a forwarded port."""
        secret: Any = self.core.read_namespaced_secret("watchmove-s3", NAMESPACE)
        labels = "app.kubernetes.io/component=object-store"
        (pod,) = self.core.list_namespaced_pod(NAMESPACE, label_selector=labels).items
        with _forwarded(pod.metadata.name, 9000) as port:
            yield Bucket(f"http://127.0.0.1:{port}", secret.data)

    def _if_ended(self, name: str) -> dict[str, Any] | None:
        document = self.get("workflows", name)
        return document if document.get("status", {}).get("phase") in _ENDED else None


class Bucket:
    """Objects of the bucket `watchmove` by key."""

    def __init__(self, endpoint: str, secret: dict[str, str]) -> None:
        key, word = (base64.b64decode(secret[name]).decode() for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"))
        self._client = boto3.client(
            "s3", endpoint_url=endpoint, aws_access_key_id=key, aws_secret_access_key=word, region_name="us-east-1"
        )

    def changes(self, prefix: str) -> dict[str, tuple[str, object]]:
        """ETag and time of change by key."""
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket="watchmove", Prefix=prefix)
        rows = [row for page in pages for row in page.get("Contents", [])]
        return {row["Key"]: (row["ETag"], row["LastModified"]) for row in rows}

    def read(self, key: str) -> bytes:
        """An object's bytes."""
        return self._client.get_object(Bucket="watchmove", Key=key)["Body"].read()

    def copy(self, key: str, to: str) -> None:
        """Copy an object."""
        self._client.copy_object(Bucket="watchmove", Key=to, CopySource={"Bucket": "watchmove", "Key": key})

    def unfinished_uploads(self, prefix: str) -> list[str]:
        """Keys of multipart uploads that have begun and were neither completed nor aborted."""
        answer = self._client.list_multipart_uploads(Bucket="watchmove", Prefix=prefix)
        return [row["Key"] for row in answer.get("Uploads", [])]

    def record(self, key: str) -> dict[str, Any]:
        """A record at its key."""
        return dict(json.loads(self.read(key)))

    def records(self, prefix: str) -> list[dict[str, Any]]:
        """Every record.json below a prefix."""
        return [json.loads(self.read(key)) for key in self.changes(prefix) if key.endswith("/record.json")]


class FirstRun(NamedTuple):
    """A run whose pretraining pod was deleted once, while it was learning."""

    workflow: dict[str, Any]
    lost_pod_uid: str


def wait_for(what: str, look: Callable[[], Any], timeout_seconds: float, every_seconds: float = 1.0) -> Any:
    """The first thing that `look` finds.

    Raises:
        TimeoutError: it finds nothing in time.
    """
    found = poll(look, timeout_seconds, every_seconds)
    if not found:
        raise TimeoutError(f"waited {timeout_seconds:.0f} s for {what}")
    return found


def pods_of(workflow: dict[str, Any], step: str) -> list[dict[str, Any]]:
    """The nodes of a step's pods, one for each try, in the order in which they began."""
    nodes = [node for node in workflow["status"]["nodes"].values() if node["type"] == "Pod"]
    return sorted((node for node in nodes if node["displayName"].startswith(f"{step}(")), key=lambda n: n["startedAt"])


def plan_alone(installation: Installation, **changes: object) -> dict[str, Any]:
    """A workflow of the installed plan step alone, with changes to its container."""
    (template,) = installation.get("workflowtemplates", "watchmove-plan")["spec"]["templates"]
    template["container"].update(changes)
    template["retryStrategy"].update(limit=1, backoff={"duration": "1s"})
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"generateName": "plan-alone-"},
        "spec": {
            "entrypoint": "plan",
            "serviceAccountName": "watchmove",
            "arguments": {"parameters": [{"name": "run", "value": "a"}]},
            "templates": [template],
        },
    }


@contextmanager
def _forwarded(pod: str, port: int) -> Iterator[int]:
    """A port on this machine that leads to a pod's, for as long as the block runs."""
    command = ["kubectl", "--namespace", NAMESPACE, "port-forward", f"pod/{pod}", f":{port}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as forwarding:
        assert forwarding.stdout is not None
        line = forwarding.stdout.readline()
        try:
            yield int(line.split(" -> ")[0].rpartition(":")[2])
        finally:
            forwarding.terminate()
