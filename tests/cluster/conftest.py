"""The installation that the cluster's tests share, and the runs they look at.

What is installed stays after the tests, for looking at. The next time it is removed first, with all its data; a
namespace that is not of the throw-away kind is never touched.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import config
from kubernetes.client.exceptions import ApiException

from tests.cluster.installation import NAMESPACE, Bucket, FirstRun, Installation, wait_for
from watchmove.service.cluster.submit import submit
from watchmove.service.cluster.watch import watch
from watchmove.service.cluster.workflow_api import connect

ROOT = Path(__file__).parents[2]
KIND = ROOT / "k8s" / "overlays" / "kind"
KIND_IMAGE = "docker.io/library/watchmove:dev"


def pytest_addoption(parser: pytest.Parser) -> None:
    """The seed of `chaos.py`."""
    parser.addoption("--seed", type=int, default=1, help="seed of the moments at which tests/cluster/chaos.py disturbs")


@pytest.fixture(scope="session")
def image() -> str:
    """The image to test. Tests that ask are skipped where there is none, no kubectl, or no kube context."""
    name = os.environ.get("WATCHMOVE_IMAGE", "")
    if not name:
        pytest.skip("WATCHMOVE_IMAGE is unset: no image to test in a cluster")
    if not shutil.which("kubectl"):
        pytest.skip("kubectl is not on PATH: nothing can be installed in a cluster")
    context = subprocess.run(["kubectl", "config", "current-context"], capture_output=True, text=True, check=False)
    if context.returncode:
        pytest.skip(f"no kube context ({context.stderr.strip()}): set KUBECONFIG")
    return name


@pytest.fixture(scope="session")
def installation(image: str, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """A fresh installation of the kind overlay, with an empty store."""
    config.load_kube_config(os.environ.get("KUBECONFIG"))  # type: ignore[no-untyped-call]
    installed = Installation()
    _remove(installed)
    folder = KIND if image == KIND_IMAGE else _with_image(image, tmp_path_factory.mktemp("overlay"))
    subprocess.run(["kubectl", "apply", "-k", str(folder)], check=True)
    return installed


@pytest.fixture(scope="session")
def first_run(installation: Installation) -> FirstRun:
    """A run from nothing, started while the store may still be coming up."""
    name = _argo_submit(installation)
    pod = wait_for("pretraining to learn", lambda: installation.training_pod(name), 600)
    installation.core.delete_namespaced_pod(pod.metadata.name, NAMESPACE)
    return FirstRun(installation.ended(name), pod.metadata.uid)


@pytest.fixture(scope="session")
def bucket(installation: Installation, first_run: FirstRun) -> Iterator[Bucket]:
    """The store after the first run."""
    assert first_run.workflow["status"]["phase"] == "Succeeded"
    with installation.bucket() as opened:
        yield opened


@pytest.fixture(scope="session")
def extractions(bucket: Bucket) -> dict[str, tuple[str, object]]:
    """What the first run extracted, before the second began."""
    return bucket.changes("store/extractions/")


@pytest.fixture(scope="session")
def second_run(installation: Installation, extractions: dict[str, tuple[str, object]]) -> dict[str, Any]:
    """The same again, when all is done already; started by `watchmove submit`'s own function."""
    assert extractions
    api = connect(NAMESPACE)
    state = watch(api, submit(api, "watchmove", {}), on_progress=print)
    return installation.get("workflows", state.name)


def _argo_submit(installation: Installation) -> str:
    """Submit as a user does; without the argo command, make the object that it makes."""
    if not shutil.which("argo"):
        return submit(connect(NAMESPACE), "watchmove", {}).name
    command = ["argo", "submit", "--from", "workflowtemplate/watchmove", "-n", NAMESPACE, "--output", "json"]
    answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    name = str(json.loads(answer)["metadata"]["name"])
    return str(installation.get("workflows", name)["metadata"]["name"])


def _remove(installation: Installation) -> None:
    """Remove an installation that these tests made before."""
    try:
        installation.core.read_namespace(NAMESPACE)
    except ApiException as error:
        if error.status == 404:
            return
        raise
    pods = installation.core.list_namespaced_pod(NAMESPACE).items
    if pods and not any(pod.metadata.labels.get("app.kubernetes.io/component") == "object-store" for pod in pods):
        pytest.fail(
            f"namespace {NAMESPACE} holds something without a throw-away store; remove it yourself to test here"
        )
    subprocess.run(["kubectl", "delete", "namespace", NAMESPACE, "--timeout=180s"], check=True)


def _with_image(image: str, folder: Path) -> Path:
    """An overlay on the kind overlay that runs another image."""
    name, mark, digest = image.partition("@")
    repository, _, tag = name.rpartition(":") if ":" in name.rpartition("/")[2] else (name, "", "latest")
    which = {"newName": name, "digest": digest} if mark else {"newName": repository, "newTag": tag}
    overlay = {
        "resources": [os.path.relpath(KIND, folder.resolve())],
        "images": [{"name": KIND_IMAGE.rpartition(":")[0], **which}],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
    return folder
