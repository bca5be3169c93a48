"""The checks of GPUs, with processes that find what a test says, and all-reduces by gloo on the CPU."""

import json
import os
import re
import sys
from pathlib import Path

import pytest
import torch

from watchmove.service.settings.loading import LAPTOP, load_settings
from watchmove.service.watching.checks import State
from watchmove.service.watching.gpu_checks import all_reduce_check, devices_check, driver_version, gpu_checks
from watchmove.service.watching.gpu_exchange import LOADED

SETTINGS = load_settings(LAPTOP)
NVIDIA = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024\nGCC version: 12\n"
OPEN = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.10  Release Build\n"


def program(text: str) -> tuple[str, ...]:
    """A process that runs a program."""
    return (sys.executable, "-c", text)


@pytest.mark.parametrize(("text", "version"), [(NVIDIA, "550.54.15"), (OPEN, "570.86.10"), ("?", "unknown")])
def test_the_driver_is_read_from_its_file(tmp_path: Path, text: str, version: str) -> None:
    """Of both kinds of NVIDIA's module."""
    (tmp_path / "version").write_text(text)

    assert driver_version(tmp_path / "version") == version
    assert driver_version(tmp_path / "absent") == ""


def test_gpus_with_a_kernel_that_was_run_are_named(tmp_path: Path) -> None:
    """The names, the driver and CUDA are the finding."""
    (tmp_path / "version").write_text(NVIDIA)
    found = {"torch": "2.6.0", "cuda": "12.4", "devices": ["NVIDIA H200"]}
    check, all_reduce = gpu_checks(SETTINGS, program(f"print({json.dumps(found)!r})"), tmp_path / "version")

    assert check.state is State.OK
    assert check.finding == "NVIDIA H200: a kernel was run (driver 550.54.15, CUDA 12.4)"
    assert all_reduce.state is State.NOT_CHECKED
    assert all_reduce.finding == "there is one GPU, so that nothing has to be exchanged"


def test_a_kernel_that_fails_or_a_process_that_crashes_is_a_failure(tmp_path: Path) -> None:
    """The last line of the error is the finding; a crash has none."""
    [error] = gpu_checks(SETTINGS, program("raise RuntimeError('CUDA error: device-side')"), tmp_path / "absent")
    [crash] = gpu_checks(SETTINGS, program("import os; os.abort()"), tmp_path / "absent")

    assert error.state is crash.state is State.FAILED
    assert "CUDA error: device-side" in error.finding
    assert "exit code -6" in crash.finding


def test_no_gpu_fails_only_where_one_is_wanted() -> None:
    """Without a driver nothing is wrong; with one, PyTorch does not fit it."""
    none = {"torch": "2.6.0+cpu", "cuda": "", "devices": []}
    wanted = load_settings(LAPTOP, ["extract.device=cuda"])
    checks = [
        devices_check(SETTINGS, none, ""),
        devices_check(SETTINGS, none, "550.1"),
        devices_check(wanted, none, ""),
    ]

    assert [check.state for check in checks] == [State.NOT_CHECKED, State.WARNING, State.FAILED]
    assert "built without CUDA" in checks[1].finding
    assert "extract.device" in checks[2].remedy
    assert "pretrain.device" not in checks[2].remedy


def test_the_process_itself_runs_here(tmp_path: Path) -> None:
    """It loads PyTorch and prints what it finds, on a machine without a GPU too."""
    states = {check.state for check in gpu_checks(SETTINGS, driver_file=tmp_path / "absent")}

    assert states <= {State.OK, State.NOT_CHECKED}


RANK_1_DOES = """
import os, signal
from pathlib import Path
from watchmove.pipeline.training.ranks import Ranks
from watchmove.service.watching.gpu_exchange import exchange

Path({folder!r}, os.environ["RANK"]).write_text(str(os.getpid()))
if os.environ["RANK"] == "1":
    Ranks.total_of = lambda *_: {deed}
exchange("cpu", 600)
"""
"""A rank of an all-reduce in which the second one does something else after both have found each other."""


def is_alive(pid: int) -> bool:
    """Whether there is a process of this number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_ranks_that_exchange_numbers_are_ok() -> None:
    """The code for GPUs with NCCL, run on the CPU with gloo."""
    check = all_reduce_check(2, "cpu")

    assert check.state is State.OK, check.finding
    assert check.finding == "2 ranks on cpu have exchanged and added numbers"


@pytest.mark.parametrize(
    ("deed", "seconds", "finding"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", 60, r"rank 1 at all-reduce: exit code -9"),
        ("1 / 0", 60, r"rank 1 at all-reduce: ZeroDivisionError: division by zero"),
        ("signal.pause()", 3, r"^no end within 3 s: rank 0 at \S.*, rank 1 at \S.* \(/dev/shm: \d+ MiB free\)$"),
    ],
)
def test_a_rank_that_dies_or_hangs_is_a_failure(tmp_path: Path, deed: str, seconds: float, finding: str) -> None:
    """The finding names it, and no process is left behind."""
    check = all_reduce_check(2, "cpu", seconds, program(RANK_1_DOES.format(folder=str(tmp_path), deed=deed)))
    processes = [int((tmp_path / rank).read_text()) for rank in ("0", "1")]

    assert check.state is State.FAILED
    assert re.search(finding, check.finding)
    assert "NCCL_P2P_DISABLE=1" in check.remedy
    assert not any(map(is_alive, processes))


SHARED_MEMORY = (
    "host:1:1 [0] misc/shmutils.cc:88 NCCL WARN Error: failed to extend /dev/shm/nccl-WU88OE to 9637892 bytes"
)
NO_INTERFACE = "host:1:1 [0] bootstrap.cc:45 NCCL WARN Bootstrap : no socket interface found"


@pytest.mark.parametrize(
    ("said", "remedy"), [(SHARED_MEMORY, "NCCL_SHM_DISABLE=1"), (NO_INTERFACE, "NCCL_SOCKET_IFNAME"), ("?", "P2P")]
)
def test_the_remedy_is_that_of_the_warning(said: str, remedy: str) -> None:
    """NCCL's warning is the finding, and not PyTorch's error after it."""
    check = all_reduce_check(2, "cpu", 3, program(f"import sys; print({said!r}); sys.exit('RuntimeError: NCCL error')"))

    assert check.state is State.FAILED
    assert ("NCCL WARN" in check.finding) == ("NCCL WARN" in said)
    assert remedy in check.remedy


def test_ranks_that_hang_after_a_warning_say_it() -> None:
    """Where NCCL warns and then waits for ever, the remedy is that of the warning too."""
    text = f"import signal; print({LOADED!r}); print({NO_INTERFACE!r}, flush=True); signal.pause()"
    check = all_reduce_check(2, "cpu", 1, program(text))

    assert check.finding.startswith("no end within 1 s: rank 0 at exchange of addresses, rank 1 at")
    assert NO_INTERFACE in check.finding
    assert "NCCL_SOCKET_IFNAME" in check.remedy


def test_a_gpu_that_a_rank_does_not_find_is_named() -> None:
    """Each rank takes a GPU of its own."""
    gpus = torch.cuda.device_count()
    check = all_reduce_check(max(2, gpus + 1))

    assert check.state is State.FAILED
    assert f"is not among the {gpus} here" in check.finding
