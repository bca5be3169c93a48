"""The small corpus, and the results of a run on it without faults, in a folder and in a bucket."""

import time
from pathlib import Path
from typing import NamedTuple

import boto3
import pytest

from tests.service.faults.corpus import Committed, committed, draw, extracted, planned, words


class Undisturbed(NamedTuple):
    """A run without faults: the URI of its videos, its committed results, and the seconds of its extraction."""

    videos: str
    committed: Committed
    seconds: float


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of small videos."""
    folder = tmp_path_factory.mktemp("corpus")
    draw(folder)
    return folder


@pytest.fixture(scope="session")
def undisturbed(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """A run from folder to folder."""
    return _run(f"file://{corpus}", f"file://{tmp_path_factory.mktemp('store')}", tmp_path_factory.mktemp("scratch"))


@pytest.fixture
def undisturbed_s3(corpus: Path, s3_environment: str, tmp_path: Path) -> Undisturbed:
    """A run from bucket to bucket."""
    client = boto3.client("s3", region_name="us-east-1", endpoint_url=s3_environment)
    for path in corpus.iterdir():
        client.upload_file(str(path), "frames", f"videos/{path.name}")
    return _run("s3://frames/videos", "s3://frames/undisturbed", tmp_path)


def _run(videos: str, store: str, scratch: Path) -> Undisturbed:
    words_of_run = words(videos, store)
    planned(words_of_run)
    began = time.monotonic()
    assert extracted(words_of_run) == 0
    seconds = time.monotonic() - began
    result = committed(words_of_run, scratch)

    assert len(result.frames) >= 12
    assert len(result.ended) == 7
    return Undisturbed(videos, result, seconds)
