"""A cluster that is served from this process, and that the environment names."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service.cluster.argo_cluster import ArgoCluster


@pytest.fixture
def reachable() -> Iterator[ArgoCluster]:
    """A cluster that the environment does not name."""
    cluster = ArgoCluster()
    yield cluster
    cluster.close()


@pytest.fixture
def kubernetes(reachable: ArgoCluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ArgoCluster:
    """A cluster that the environment names by its own API."""
    monkeypatch.delenv("ARGO_SERVER", raising=False)
    monkeypatch.setenv("KUBECONFIG", str(reachable.write_kubeconfig(tmp_path / "kubeconfig")))
    return reachable


@pytest.fixture(params=["kubernetes", "argo-server"])
def cluster(reachable: ArgoCluster, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ArgoCluster:
    """A cluster that the environment names, by its own API or by Argo's server."""
    if request.param == "kubernetes":
        request.getfixturevalue("kubernetes")
    else:
        monkeypatch.setenv("ARGO_SERVER", reachable.address)
        monkeypatch.setenv("ARGO_SECURE", "false")
        monkeypatch.setenv("ARGO_TOKEN", "Bearer secret")
    return reachable
