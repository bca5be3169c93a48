"""Real objects for the service's tests: a store in a folder, an S3 server, a small drawn world."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from watchmove.service.runner.process_metrics import ProcessMetrics
from watchmove.service.runner.progress import LoggedProgress
from watchmove.service.runner.runner import StepContext
from watchmove.service.settings.loading import LAPTOP, load_settings
from watchmove.service.settings.settings import Settings
from watchmove.service.store.opening import open_store
from watchmove.service.store.store import Store


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """An S3 server on this machine."""
    server = ThreadedMotoServer(port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3_environment(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The environment by which the SDK finds the server; the bucket `frames` exists and is empty."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3_endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    client = boto3.client("s3", region_name="us-east-1")
    client.create_bucket(Bucket="frames")
    for item in client.list_objects_v2(Bucket="frames").get("Contents", []):
        client.delete_object(Bucket="frames", Key=item["Key"])
    return s3_endpoint


@pytest.fixture(params=["file", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """An empty store of each kind."""
    if request.param == "s3":
        request.getfixturevalue("s3_environment")
        return open_store("s3://frames/some/prefix")
    return open_store(f"file://{tmp_path / 'store'}")


MakeContext = Callable[..., StepContext]


@pytest.fixture
def make_context(tmp_path: Path) -> MakeContext:
    """Contexts with laptop settings, a store in a folder, and overrides."""

    def make(*overrides: str) -> StepContext:
        places = [f"{name}=file://{tmp_path}/{name}" for name in ("store", "videos", "voc")]
        return context_of(load_settings(LAPTOP, [*places, *overrides]), tmp_path / "scratch")

    return make


def context_of(settings: Settings, scratch: Path) -> StepContext:
    """A context as the runner makes it, without signals."""
    scratch.mkdir(exist_ok=True)
    store = open_store(settings.store)
    return StepContext(settings, store, ProcessMetrics(), LoggedProgress(), threading.Event(), scratch)
