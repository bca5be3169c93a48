"""Commands with the packages of the slim image; tests/service/steps/test_run.py has those that read a finished run."""

import json
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.service.prometheus_server import free_port
from tests.service.slim_packages import link_packages, run_slim, started_slim
from tests.waiting import poll


@pytest.mark.parametrize(
    ("words", "package"),
    [
        (("world",), "ffmpeg"),
        (("extract", "--run", "r", "--shard", "0"), "cv2"),
        (("pretrain", "--run", "r"), "torch"),
        (("evaluate", "--run", "r", "--evaluation", "0"), "torch"),
        (("export", "r", "--out", "o"), "torch"),
        (("teach", "r", "--out", "o.safetensors"), "cv2"),
    ],
)
def test_a_command_that_the_slim_image_cannot_run_says_so_in_one_line(
    tmp_path: Path, words: tuple[str, ...], package: str
) -> None:
    """It ends as invalid input, which no retry can help."""
    done = run_slim(link_packages(tmp_path / "packages"), *words, "--set", f"store=file://{tmp_path}/store")
    (line,) = done.stderr.strip().splitlines()

    assert done.returncode == 65
    assert f"the Python package {package} is not installed" in line
    assert "use the full image" in line


@pytest.mark.parametrize("words", [("submit",), ("watch", "w"), ("logs", "w"), ("stop", "w"), ("resubmit", "w")])
@pytest.mark.parametrize("server", ["kubernetes", "argo"])
def test_the_commands_of_workflows_need_the_packages_of_the_slim_image_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: str, words: tuple[str, ...]
) -> None:
    """They come as far as asking the server, which is not there."""
    context = {"name": "c", "context": {"cluster": "c", "user": "u"}}
    cluster = {"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}
    user = {"name": "u", "user": {"token": "none"}}
    kubeconfig = {"clusters": [cluster], "contexts": [context], "users": [user], "current-context": "c"}
    (tmp_path / "kubeconfig").write_text(json.dumps({"apiVersion": "v1", "kind": "Config", **kubeconfig}))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    if server == "argo":
        monkeypatch.setenv("ARGO_SERVER", "127.0.0.1:1")
    done = run_slim(link_packages(tmp_path / "packages"), *words)

    assert done.returncode == 75, done.stderr
    assert "127.0.0.1:1" in done.stderr


def test_the_exporter_needs_the_packages_of_the_slim_image_only(tmp_path: Path) -> None:
    """It serves the metrics of a store, here an empty one."""
    port = free_port()
    settings = ("--set", f"store=file://{tmp_path}/store", "--set", f"work.metrics_port={port}")
    with started_slim(link_packages(tmp_path / "packages"), "exporter", *settings) as process:
        assert poll(lambda: process.poll() is not None or "watchmove_" in _metrics(port), timeout_seconds=120)
        assert process.poll() is None


def _metrics(port: int) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            return str(answer.read().decode())
    except urllib.error.URLError:
        return ""
