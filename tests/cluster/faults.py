"""Faults for a workflow's pods, its store and its cluster. Each function causes one, and returns when it is over.

Pods of the step that runs are changed by `kubectl exec` and the API. The API server and the kubelet are beyond both:
a command of the environment takes them away for a while, and brings them back.
"""

import os
import subprocess
import time
from collections.abc import Callable
from typing import Any

from kubernetes import client

from tests.cluster.installation import NAMESPACE, Installation, wait_for

AWAY_SECONDS = 60
"""How long the store cannot be reached."""
MEMORY = "5Gi"
"""Memory of each pod: enough for every step of the small world, and soon full."""
SCRATCH = "2Gi"
"""Scratch space of each pod. It is in memory, where every cluster enforces its size."""
GATE = "store-gate"

_OTHERS = """
import os, signal
own = os.getpid()
def others():
    return [pid for pid in map(int, filter(str.isdecimal, os.listdir('/proc'))) if pid not in (1, own)]
"""
_KILL = f"{_OTHERS}\n[os.kill(pid, signal.SIGKILL) for pid in others()]"
_EXHAUST = f"""{_OTHERS}
for pid in others():
    open(f'/proc/{{pid}}/oom_score_adj', 'w').write('1000')
for _ in range(1000):
    if os.fork() == 0:
        held = bytearray(b'x' * 2**25)
        signal.pause()
"""
"""Many small processes, because the kernel kills the largest of those that it may kill first."""
_FILL = """
with open('/tmp/filling', 'wb', buffering=0) as file:
    while file.write(bytes(2**20)):
        pass
"""
_FORWARD = """
import asyncio
async def copy(reader, writer):
    try:
        while piece := await reader.read(2**16):
            writer.write(piece)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()
async def forward(reader, writer):
    try:
        inner_reader, inner_writer = await asyncio.open_connection('object-store-data', 9000)
    except OSError:
        return writer.close()
    await asyncio.gather(copy(reader, inner_writer), copy(inner_reader, writer))
async def main():
    async with await asyncio.start_server(forward, '0.0.0.0', 9000) as server:
        await server.serve_forever()
asyncio.run(main())
"""

Fault = Callable[[Installation, Any], None]
"""Given the installation and a pod that runs."""


def pod_deleted(installation: Installation, pod: Any) -> None:
    """Delete the pod, as a drain does: it has time to save its work."""
    _delete(installation, pod, {})


def pod_lost(installation: Installation, pod: Any) -> None:
    """Delete the pod without any time for it, as after the loss of a node."""
    _delete(installation, pod, {"grace_period_seconds": 0})


def processes_killed(_installation: Installation, pod: Any) -> None:
    """Kill all processes of the step by SIGKILL."""
    _run_in(pod, _KILL)


def out_of_memory(_installation: Installation, pod: Any) -> None:
    """Use up the memory of the pod, so that the kernel kills the step's processes."""
    _run_in(pod, _EXHAUST)


def scratch_full(_installation: Installation, pod: Any) -> None:
    """Fill the scratch space of the pod."""
    _run_in(pod, _FILL)


def store_away(_installation: Installation, _pod: Any) -> None:
    """End all connections to the store, and refuse new ones for a minute."""
    _scale_gate(0)
    time.sleep(AWAY_SECONDS)
    _scale_gate(1)


def controller_restarted(installation: Installation, _pod: Any) -> None:
    """Delete the pod of Argo's controller, and wait for another one."""
    label = {"label_selector": "app=workflow-controller"}
    before = {one.metadata.uid for one in installation.core.list_pod_for_all_namespaces(**label).items}
    for one in installation.core.list_pod_for_all_namespaces(**label).items:
        installation.core.delete_namespaced_pod(one.metadata.name, one.metadata.namespace)

    def again() -> bool:
        pods = installation.core.list_pod_for_all_namespaces(**label).items
        ready = [one for one in pods if all(state.ready for state in one.status.container_statuses or [])]
        return any(one.metadata.uid not in before for one in ready)

    wait_for("another controller", again, 120)


def api_server_away(installation: Installation, _pod: Any) -> None:
    """Take the API server away by a command, and wait until it answers."""
    _by_command("CHAOS_API_SERVER")
    wait_for("the API server", lambda: _answers(installation), 120)


def kubelet_away(_installation: Installation, _pod: Any) -> None:
    """Take the node's kubelet away by a command."""
    _by_command("CHAOS_KUBELET")


FAULTS: dict[str, Fault] = {
    fault.__name__.replace("_", "-"): fault
    for fault in (
        pod_deleted,
        pod_lost,
        processes_killed,
        out_of_memory,
        scratch_full,
        store_away,
        controller_restarted,
        api_server_away,
        kubelet_away,
    )
}
COMMANDS = {"api-server-away": "CHAOS_API_SERVER", "kubelet-away": "CHAOS_KUBELET"}
"""Variables with the commands that faults need."""


def prepare(installation: Installation, image: str) -> None:
    """Make every step's pods small and retried soon, and put a program between them and the store."""
    for template in installation.all_of("workflowtemplates"):
        templates = template["spec"]["templates"]
        for one in templates:
            if "retryStrategy" in one:
                one["retryStrategy"]["backoff"]["duration"] = "5s"
            if "resources" in one.get("container", {}):
                one["container"]["resources"]["limits"]["memory"] = MEMORY
            for volume in one.get("volumes", ()):
                if volume["name"] == "scratch":
                    volume["emptyDir"] = {"medium": "Memory", "sizeLimit": SCRATCH}
        installation.change("workflowtemplates", template["metadata"]["name"], {"spec": {"templates": templates}})
    apps: Any = client.AppsV1Api()
    (store,) = apps.list_namespaced_deployment(
        NAMESPACE, label_selector="app.kubernetes.io/component=object-store"
    ).items
    security = store.spec.template.spec.containers[0].security_context
    labels = {"app.kubernetes.io/component": GATE}
    container = {
        "name": "forward",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", "-c", _FORWARD],
        "securityContext": client.ApiClient().sanitize_for_serialization(security),  # type: ignore[no-untyped-call]
        "ports": [{"name": "s3", "containerPort": 9000}],
        "readinessProbe": {"tcpSocket": {"port": "s3"}, "periodSeconds": 1},
    }
    pod = {"containers": [container], "terminationGracePeriodSeconds": 0}
    spec = {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod}}
    apps.create_namespaced_deployment(NAMESPACE, {"metadata": {"name": GATE}, "spec": spec})
    ports = [{"name": "s3", "port": 9000}]
    inner = {"selector": {"app.kubernetes.io/component": "object-store"}, "ports": ports}
    installation.core.create_namespaced_service(NAMESPACE, {"metadata": {"name": "object-store-data"}, "spec": inner})
    installation.core.patch_namespaced_service("object-store", NAMESPACE, {"spec": {"selector": labels}})
    _scale_gate(1)


def _delete(installation: Installation, pod: Any, options: dict[str, int]) -> None:
    try:
        installation.core.delete_namespaced_pod(pod.metadata.name, NAMESPACE, **options)
    except client.ApiException as error:
        if error.status != 404:
            raise


def _run_in(pod: Any, script: str) -> None:
    """Run a script of Python in the main container; it may end with the container, or after it."""
    words = ["kubectl", "exec", "-n", NAMESPACE, pod.metadata.name, "-c", "main", "--", "python", "-c", script]
    subprocess.run(words, capture_output=True, check=False, timeout=120)


def _scale_gate(replicas: int) -> None:
    apps: Any = client.AppsV1Api()
    apps.patch_namespaced_deployment_scale(GATE, NAMESPACE, {"spec": {"replicas": replicas}})

    def reached() -> bool:
        status = apps.read_namespaced_deployment(GATE, NAMESPACE).status
        return (status.replicas or 0) == (status.ready_replicas or 0) == replicas

    wait_for(f"{replicas} pods in front of the store", reached, 120)


def _by_command(variable: str) -> None:
    subprocess.run(os.environ[variable], shell=True, check=True, timeout=300)


def _answers(installation: Installation) -> bool:
    try:
        installation.core.read_namespace(NAMESPACE)
    except Exception:  # noqa: BLE001  (whatever a connection that breaks raises)
        return False
    return True
