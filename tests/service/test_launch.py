"""The exit code of a launch: what the ranks' own end means."""

import os

import pytest
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

from watchmove.service.launch import exit_code_of, launch, share_threads


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ([75, 65], 65),  # invalid settings, and a rank that has lost its peer
        ([70], 70),
        ([75, 75], 75),
        ([-9], 137),  # killed, as for want of memory: another try may do
        ([143, 143], 143),
    ],
)
def test_ranks_that_failed(codes: list[int], expected: int) -> None:
    """Each stands in the table of exit codes or is a shell's for a signal."""
    failures = {rank: ProcessFailure(rank, 1, code, "/nowhere") for rank, code in enumerate(codes)}

    assert exit_code_of(ChildFailedError("ranks", failures)) == expected


@pytest.mark.parametrize(
    ("threads", "processes", "expected"),
    [("8", "2", "4"), ("4", "8", "1"), ("4", "1", "4"), ("4", "gpu", "4"), ("8_0", "2", "8_0")],
)
def test_ranks_share_the_threads(threads: str, processes: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each gets its part, at least one; who starts as many as there are GPUs says so otherwise."""
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    share_threads(processes)

    assert os.environ["OMP_NUM_THREADS"] == expected


@pytest.mark.parametrize("words", [[], ["--standalone"], ["--standalone", "--"]])
def test_a_launch_without_a_command_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Invalid arguments: 65."""
    assert launch(words) == 65
    assert "no command after `--`" in capsys.readouterr().err
