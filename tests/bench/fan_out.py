"""Size of a workflow's object as the number of its shards grows, with a real controller of Argo and simulated pods.

    python tests/bench/fan_out.py --shards 250 5000

The templates are those of `k8s/base`, in a namespace of their own that is deleted at the end. Pods go to a
node that does not exist: this program says in its place that they run and have ended, and writes the results that
Argo's executor would. `--lose` ends every n-th pod of extraction once as a lost spot node does, so that it is retried.
The size is that of the JSON that the API server stores. It needs `kubectl` and rights to make nodes and namespaces.
"""

import argparse
import json
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from kubernetes import client, config, watch
from rich.console import Console
from rich.table import Table

from watchmove.service.planning.sharding import consecutive_shards
from watchmove.service.settings.settings import WorkSettings

ROOT = Path(__file__).parents[2]
NODE = "simulated"
NAMESPACE = "watchmove-fan-out"
_LABELS = "workflows.argoproj.io"
_ARGO = ("argoproj.io", "v1alpha1", NAMESPACE)
_KINDS = ("WorkflowTemplate", "ServiceAccount", "Role", "RoleBinding")
_LEASES = "kube-node-lease"


def main() -> None:
    """Install the templates, run a workflow for each number of shards, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=int, nargs="+", default=[250, 5000])
    parser.add_argument("--pods", type=int, default=WorkSettings().max_extract_pods, help="`work.max_extract_pods`")
    parser.add_argument("--seconds", type=float, default=0.5, help="how long each pod runs")
    parser.add_argument("--parallelism", type=int, default=64)
    parser.add_argument("--lose", type=int, default=0, help="one pod of extraction in so many is lost once; 0: none")
    options = parser.parse_args()
    config.load_kube_config()  # type: ignore[no-untyped-call]
    table = Table(title="Size of the workflow's object")
    for heading in ("shards", "pods of extraction", "phase", "largest, KiB", "at its end, KiB", "packed", "seconds"):
        table.add_column(heading, justify="right")
    install()
    kubelet = Kubelet(options.seconds, options.lose)
    try:
        for shards in options.shards:
            table.add_row(f"{shards:,}", *measured(kubelet, shards, options.pods, options.parallelism))
    finally:
        # The node goes last, because its kubelet confirms that the pods of the namespace have gone.
        subprocess.run(["kubectl", "delete", "namespace", NAMESPACE, "--timeout=300s"], check=False)
        kubelet.end()
    Console().print(table)


def install() -> None:
    """Install templates and permissions, without the store, the exporter and anything else that has pods."""
    command = ["kubectl", "kustomize", str(ROOT / "k8s" / "base")]
    objects = yaml.safe_load_all(subprocess.run(command, capture_output=True, check=True).stdout)
    kept = [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}]
    for item in objects:
        if item["kind"] in _KINDS:
            item["metadata"]["namespace"] = NAMESPACE
            for subject in item.get("subjects", ()):
                subject["namespace"] = NAMESPACE
            kept.append(item)
    subprocess.run(["kubectl", "apply", "-f", "-"], input=yaml.safe_dump_all(kept).encode(), check=True)


def measured(kubelet: "Kubelet", shards: int, most_pods: int, parallelism: int) -> tuple[str, ...]:
    """Run a workflow to its end, and return the columns of its row."""
    kubelet.outputs = {
        "plan": {"shards": json.dumps(consecutive_shards(shards, most_pods)), "evaluations": "[0, 1]"},
        "gather": {"train": "true"},
    }
    kubelet.extractions = 0
    began = time.monotonic()
    objects: Any = client.CustomObjectsApi()
    name = objects.create_namespaced_custom_object(*_ARGO, "workflows", workflow(parallelism))["metadata"]["name"]
    largest = 0
    while True:
        raw: Any = objects.get_namespaced_custom_object(*_ARGO, "workflows", name, _preload_content=False)
        document = json.loads(raw.data)
        size = len(raw.data)
        largest = max(largest, size)
        phase = document.get("status", {}).get("phase", "")
        if phase in ("Succeeded", "Failed", "Error"):
            break
        time.sleep(1)
    if phase != "Succeeded":
        print(document["status"].get("message"))
    seconds = f"{time.monotonic() - began:.0f}"
    packed = "yes" if document["status"].get("compressedNodes") else "no"
    return str(kubelet.extractions), phase, f"{largest / 1024:.0f}", f"{size / 1024:.0f}", packed, seconds


def workflow(parallelism: int) -> dict[str, Any]:
    """A workflow of the installed template whose pods go to the simulated node."""
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"generateName": "watchmove-"},
        "spec": {
            "workflowTemplateRef": {"name": "watchmove"},
            "parallelism": parallelism,
            "nodeSelector": {"kubernetes.io/hostname": NODE},
            "tolerations": [{"key": NODE, "operator": "Exists"}],
        },
    }


class Kubelet:
    """A node that does not exist, and what its kubelet and the executors in its pods would write."""

    def __init__(self, seconds: float, lose: int) -> None:
        self.outputs: dict[str, dict[str, str]] = {}
        self.extractions = 0
        self._seconds, self._lose = seconds, lose
        self._core: Any = client.CoreV1Api()
        self._objects: Any = client.CustomObjectsApi()
        self._ended = threading.Event()
        self._seen: set[str] = set()
        self._lost: set[str] = set()
        self._make_node()
        self._work = ThreadPoolExecutor(64)
        for loop in (self._renew, self._watch):
            threading.Thread(target=loop, daemon=True).start()

    def end(self) -> None:
        """Remove the node."""
        self._ended.set()
        self._core.delete_node(NODE)
        self._work.shutdown(cancel_futures=True)

    def _make_node(self) -> None:
        taint = {"key": NODE, "effect": "NoSchedule"}
        labels = {"kubernetes.io/hostname": NODE, "kubernetes.io/os": "linux"}
        self._core.create_node({"metadata": {"name": NODE, "labels": labels}, "spec": {"taints": [taint]}})
        room = {"cpu": "100k", "memory": "1000Ti", "pods": "100k", "ephemeral-storage": "1000Ti"}
        ready = {"type": "Ready", "status": "True", "reason": "Simulated", "lastHeartbeatTime": _now()}
        self._core.patch_node_status(NODE, {"status": {"capacity": room, "allocatable": room, "conditions": [ready]}})

    def _renew(self) -> None:
        """Keep the node's lease, without which Kubernetes takes it for lost."""
        api: Any = client.CoordinationV1Api()
        lease: dict[str, Any] = {
            "metadata": {"name": NODE},
            "spec": {"holderIdentity": NODE, "leaseDurationSeconds": 40},
        }
        while not self._ended.wait(5):
            lease["spec"]["renewTime"] = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
            try:
                api.patch_namespaced_lease(NODE, _LEASES, lease)
            except client.ApiException:
                api.create_namespaced_lease(_LEASES, lease)

    def _watch(self) -> None:
        stream: Any = watch.Watch()  # type: ignore[no-untyped-call]
        while not self._ended.is_set():
            pods = stream.stream(
                self._core.list_namespaced_pod, NAMESPACE, field_selector=f"spec.nodeName={NODE}", timeout_seconds=60
            )
            try:
                for event in pods:
                    self._look(event["object"])
            except client.ApiException as error:
                if error.status != 410:
                    raise

    def _look(self, pod: Any) -> None:
        name, uid = pod.metadata.name, pod.metadata.uid
        if pod.metadata.deletion_timestamp is not None:
            self._work.submit(self._delete, name)
        elif uid not in self._seen:
            self._seen.add(uid)
            self._work.submit(self._run, pod)

    def _delete(self, name: str) -> None:
        # Argo's finalizer keeps a pod until its controller has seen its end, which it looks at now and then only.
        try:
            self._core.patch_namespaced_pod(name, NAMESPACE, {"metadata": {"finalizers": None}})
            self._core.delete_namespaced_pod(name, NAMESPACE, grace_period_seconds=0)
        except client.ApiException as error:
            if error.status != 404:
                raise

    def _run(self, pod: Any) -> None:
        """A pod's life: it runs, its executor reports, and it ends."""
        try:
            step = pod.metadata.labels["app.kubernetes.io/component"]
            self.extractions += step == "extract"
            self._write(pod, "Running", {"running": {"startedAt": _now()}})
            self._ended.wait(self._seconds)
            lost = step == "extract" and self._is_lost(pod)
            self._report(pod, step)
            code = 137 if lost else 0
            state = {"exitCode": code, "reason": "Error" if lost else "Completed", "finishedAt": _now()}
            self._write(pod, "Failed" if lost else "Succeeded", {"terminated": {**state, "startedAt": _now()}})
        except client.ApiException as error:  # in a thread, where it would be lost
            print(f"simulated pod {pod.metadata.name}: {error}")

    def _is_lost(self, pod: Any) -> bool:
        item = pod.metadata.annotations[f"{_LABELS}/node-name"].rpartition("(")[0]
        if not self._lose or item in self._lost or self.extractions % self._lose:
            return False
        self._lost.add(item)
        return True

    def _write(self, pod: Any, phase: str, state: dict[str, Any]) -> None:
        done = {"terminated": {"exitCode": 0, "reason": "Completed"}}
        now = {"ready": phase == "Running", "restartCount": 0, "image": "simulated", "imageID": ""}
        wait = state if phase != "Failed" else done
        status = {
            "phase": phase,
            "startTime": _now(),
            "initContainerStatuses": [{**now, "name": "init", "state": done}],
            "containerStatuses": [{**now, "name": "main", "state": state}, {**now, "name": "wait", "state": wait}],
        }
        self._core.patch_namespaced_pod_status(pod.metadata.name, NAMESPACE, {"status": status})

    def _report(self, pod: Any, step: str) -> None:
        """What Argo's executor writes: progress and the step's output parameters."""
        workflow_name = pod.metadata.labels[f"{_LABELS}/workflow"]
        (owner,) = pod.metadata.owner_references
        values = self.outputs.get(step, {})
        paths = {name: {"name": name, "valueFrom": {"path": f"/tmp/outputs/{name}"}} for name in values}
        owner_reference = {"apiVersion": owner.api_version, "kind": owner.kind, "name": owner.name, "uid": owner.uid}
        body: dict[str, Any] = {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "WorkflowTaskResult",
            "metadata": {
                "name": pod.metadata.annotations[f"{_LABELS}/node-id"],
                "labels": {f"{_LABELS}/workflow": workflow_name, f"{_LABELS}/report-outputs-completed": "true"},
                "ownerReferences": [owner_reference],
            },
            "progress": "160/160",
        }
        if values:
            body["outputs"] = {"parameters": [{**paths[name], "value": value} for name, value in values.items()]}
        self._objects.create_namespaced_custom_object(*_ARGO, "workflowtaskresults", body)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


if __name__ == "__main__":
    main()
