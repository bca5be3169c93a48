"""The check of GPUs, with processes that find what a test says."""

import json
import sys
from pathlib import Path

import pytest

from watchmove.service.settings.loading import LAPTOP, load_settings
from watchmove.service.watching.checks import State
from watchmove.service.watching.gpu_checks import devices_check, driver_version, gpu_check

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
    check = gpu_check(SETTINGS, program(f"print({json.dumps(found)!r})"), tmp_path / "version")

    assert check.state is State.OK
    assert check.finding == "NVIDIA H200: a kernel was run (driver 550.54.15, CUDA 12.4)"


def test_a_kernel_that_fails_or_a_process_that_crashes_is_a_failure(tmp_path: Path) -> None:
    """The last line of the error is the finding; a crash has none."""
    error = gpu_check(SETTINGS, program("raise RuntimeError('CUDA error: device-side')"), tmp_path / "absent")
    crash = gpu_check(SETTINGS, program("import os; os.abort()"), tmp_path / "absent")

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
    check = gpu_check(SETTINGS, driver_file=tmp_path / "absent")

    assert check.state in (State.OK, State.NOT_CHECKED)
