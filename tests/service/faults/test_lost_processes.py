"""Whenever the process is lost, the next one goes on, and what is committed is what an undisturbed run commits."""

import random
import signal
import subprocess
from pathlib import Path

import pytest

from tests.service.faults.conftest import Undisturbed
from tests.service.faults.corpus import committed, extracted, planned, started, words

pytestmark = pytest.mark.serial

KILLS = 50


def lose(words_of_run: list[str], after_seconds: float, how: signal.Signals) -> tuple[int, str]:
    """Start an extraction, send it a signal after a while, and give its exit code and last line."""
    process = started(words_of_run)
    try:
        process.wait(after_seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(how)
    _, said = process.communicate(timeout=60)
    return process.returncode, said


@pytest.mark.timeout(900)
def test_killed_at_fifty_random_moments(undisturbed: Undisturbed, tmp_path: Path) -> None:
    """SIGKILL, as a lost node or the kernel's memory killer does it: nothing is said and nothing cleaned up.

    The next process removes what the lost ones left in the scratch folder.
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
            code, said = lose(words_of_run, moments.uniform(0, undisturbed.seconds), signal.SIGKILL)
            kills += code == -signal.SIGKILL
            assert code in (0, -signal.SIGKILL), said
        assert extracted(words_of_run) == 0
        assert committed(words_of_run, tmp_path) == undisturbed.committed
    print(f"{kills} kills over {runs} runs")

    assert list(scratch.iterdir()) == []


def test_told_to_stop(undisturbed: Undisturbed, tmp_path: Path) -> None:
    """SIGTERM at ten random moments: it saves what is finished and says so with its exit code."""
    moments = random.Random(8)
    words_of_run = words(undisturbed.videos, f"file://{tmp_path}/store", "work.commit_every_seconds=600")
    planned(words_of_run)
    codes = [lose(words_of_run, moments.uniform(0, undisturbed.seconds), signal.SIGTERM)[0] for _ in range(10)]

    assert set(codes) <= {0, 143, -signal.SIGTERM}, "-SIGTERM: before the program had begun"
    assert 143 in codes
    assert extracted(words_of_run) == 0
    assert committed(words_of_run, tmp_path) == undisturbed.committed


@pytest.mark.parametrize("attempt", range(3))
def test_two_at_once(undisturbed: Undisturbed, tmp_path: Path, attempt: int) -> None:
    """Two processes on one shard, as when a lost pod turns out not to be lost: each part is one's or the other's."""
    words_of_run = words(undisturbed.videos, f"file://{tmp_path}/store-{attempt}")
    planned(words_of_run)
    both = [started(words_of_run) for _ in range(2)]
    said = [process.communicate(timeout=120)[1] for process in both]

    assert [process.returncode for process in both] == [0, 0], said
    assert committed(words_of_run, tmp_path) == undisturbed.committed
