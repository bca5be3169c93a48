"""A machine whose clock is wrong: within the tolerance of S3 nothing changes, and beyond it the step says so.

The time is compared by real servers; moto does not compare it.
"""

import os
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service.faults.conftest import Undisturbed
from tests.service.faults.corpus import command, committed, words
from tests.service.store.servers import MOTO, Server, client_of, names, running

BUCKET = f"watchmove-test-{secrets.token_hex(4)}"
TOLERATED_SECONDS, REFUSED_SECONDS = 10 * 60, 20 * 60
"""On both sides of the 15 minutes by which a request's time may differ from the store's (Amazon S3 API)."""


@pytest.fixture(scope="module", params=[name for name in names() if name != MOTO])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with an empty bucket."""
    with running(request.param, tmp_path_factory.mktemp("server")) as server:
        client_of(server).create_bucket(Bucket=BUCKET)
        yield server


@pytest.fixture(scope="module")
def clock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that shifts the time of day."""
    library = tmp_path_factory.mktemp("clock") / "clock.so"
    line = ["gcc", "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o", str(library)]
    subprocess.run([*line, str(Path(__file__).with_name("clock.c")), "-ldl"], check=True)
    return library


def ended(line: list[str], clock: Path, ahead_seconds: int) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, with a clock that is ahead."""
    shifted = {"LD_PRELOAD": str(clock), "CLOCK_AHEAD_SECONDS": str(ahead_seconds), "OMP_NUM_THREADS": "1"}
    return subprocess.run(line, capture_output=True, text=True, check=False, env={**os.environ, **shifted}, timeout=300)


@pytest.mark.parametrize("ahead_seconds", [TOLERATED_SECONDS, -TOLERATED_SECONDS])
def test_a_clock_within_the_tolerance_changes_nothing(
    ahead_seconds: int,
    server: Server,
    clock: Path,
    corpus: Path,
    undisturbed: Undisturbed,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Frames and outcomes are those of a machine whose clock is right."""
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    words_of_run = words(f"file://{corpus}", f"s3://{BUCKET}/{secrets.token_hex(4)}")
    done = [
        ended(command(step, words_of_run, *more), clock, ahead_seconds)
        for step, *more in (("plan",), ("extract", "--shard", "0"))
    ]

    assert [one.returncode for one in done] == [0, 0], done[-1].stderr
    assert committed(words_of_run, tmp_path) == undisturbed.committed


@pytest.mark.parametrize("ahead_seconds", [REFUSED_SECONDS, -REFUSED_SECONDS])
def test_a_clock_beyond_the_tolerance_is_named(
    ahead_seconds: int, server: Server, clock: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step is tried again later, perhaps on another machine, and the line says what would do."""
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    words_of_run = words(f"file://{corpus}", f"s3://{BUCKET}/{secrets.token_hex(4)}")
    done = ended(command("plan", words_of_run), clock, ahead_seconds)

    assert done.returncode == 75
    assert "synchronise this machine's clock" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
