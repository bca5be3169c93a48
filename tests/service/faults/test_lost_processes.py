"""Lost processes: the next process continues, and the committed results equal those of an undisturbed run."""

import random
import signal
import subprocess
from pathlib import Path

import pytest

from tests.service.faults.conftest import Undisturbed
from tests.service.faults.corpus import committed, extracted, planned, started, words

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

KILLS = 12
"""Processes that are killed in all. Set by hand."""


def lose(words_of_run: list[str], after_seconds: float, how: signal.Signals) -> tuple[int, str]:
    """Start an extraction, send it a signal after a while, and return its exit code and its standard error."""
    process = started(words_of_run)
    try:
        process.wait(after_seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(how)
    _, errors = process.communicate(timeout=60)
    return process.returncode, errors


def test_killed_at_many_random_moments(undisturbed: Undisturbed, tmp_path: Path) -> None:
    """SIGKILL ends a process without a message or cleanup, as does the loss of a node.

    The next process removes the files that lost ones left in the scratch folder.
    """
    moments = random.Random(7)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    kills = runs = 0
    while kills < KILLS:
        runs += 1
        words_of_run = words(undisturbed.videos, f"file://{tmp_path}/store-{runs}", f"work.scratch={scratch}")
        planned(words_of_run)
        code = -signal.SIGKILL
        while code == -signal.SIGKILL and kills < KILLS:
            code, errors = lose(words_of_run, moments.uniform(0, undisturbed.seconds), signal.SIGKILL)
            kills += code == -signal.SIGKILL
            assert code in (0, -signal.SIGKILL), errors
        assert extracted(words_of_run) == 0
        assert committed(words_of_run, tmp_path) == undisturbed.committed
    print(f"{kills} kills over {runs} runs")

    assert list(scratch.iterdir()) == []


def test_stopped_by_a_signal(undisturbed: Undisturbed, tmp_path: Path) -> None:
    """After SIGTERM, at six random moments, the step saves finished videos and ends with the code of a stop."""
    moments = random.Random(8)
    words_of_run = words(undisturbed.videos, f"file://{tmp_path}/store", "work.commit_every_seconds=600")
    planned(words_of_run)
    codes = [lose(words_of_run, moments.uniform(0, undisturbed.seconds), signal.SIGTERM)[0] for _ in range(6)]

    assert set(codes) <= {0, 143, -signal.SIGTERM}, "-SIGTERM: before the program had begun"
    assert 143 in codes
    assert extracted(words_of_run) == 0
    assert committed(words_of_run, tmp_path) == undisturbed.committed


@pytest.mark.parametrize("attempt", range(3))
def test_two_at_once(undisturbed: Undisturbed, tmp_path: Path, attempt: int) -> None:
    """Two processes extract one shard, as after a false report of a lost pod; each part is committed by one of them."""
    words_of_run = words(undisturbed.videos, f"file://{tmp_path}/store-{attempt}")
    planned(words_of_run)
    both = [started(words_of_run) for _ in range(2)]
    errors = [process.communicate(timeout=120)[1] for process in both]

    assert [process.returncode for process in both] == [0, 0], errors
    assert committed(words_of_run, tmp_path) == undisturbed.committed
