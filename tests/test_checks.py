"""`make` and pre-commit run the checks that CONTRIBUTING.md promises."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
_WITHOUT_INSTALLING = "--assume-old=.venv/test-ready"


def make(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    """Run the project's Makefile in a folder, as if everything were installed there."""
    line = ["make", "--file", str(ROOT / "Makefile"), "--directory", str(folder), _WITHOUT_INSTALLING, *words]
    return subprocess.run([*line, "--no-print-directory"], capture_output=True, text=True, check=False)


def test_the_hooks_are_the_checks_of_make_lint() -> None:
    """The same commands in the same order, and a configuration that pre-commit accepts."""
    path = ROOT / ".pre-commit-config.yaml"
    subprocess.run([sys.executable, "-m", "pre_commit", "validate-config", str(path)], check=True)
    hooks = [hook for repository in yaml.safe_load(path.read_text())["repos"] for hook in repository["hooks"]]

    assert [hook["entry"] for hook in hooks] == make(ROOT, "--dry-run", "lint").stdout.splitlines()


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """A folder whose `pytest` notes its arguments, and fails where they hold the word in the file `fails`."""
    program = tmp_path / ".venv" / "bin" / "pytest"
    program.parent.mkdir(parents=True)
    program.write_text('#!/bin/sh\necho "$OMP_NUM_THREADS|$*" >>calls\n! echo "$*" | grep -qf fails\n')
    program.chmod(0o755)
    (tmp_path / "fails").write_text("no such word\n")
    return tmp_path


@pytest.mark.parametrize(
    ("failing", "succeeds"),
    [("no such word", True), ("=10 tests/cluster", False), ("not serial", False), ("-m serial", False)],
)
def test_make_test_runs_every_part_and_fails_where_one_fails(recorded: Path, failing: str, succeeds: bool) -> None:
    """Parallel tests with one thread each and the cluster's during them, then the serial ones, even after a failure."""
    (recorded / "fails").write_text(f"{failing}\n")
    done = make(recorded, "test")
    *together, serial = (recorded / "calls").read_text().splitlines()
    cluster, parallel = sorted(together, key=lambda call: "--numprocesses" in call)

    assert (done.returncode == 0) == succeeds
    assert parallel.startswith("1|--durations=10 -m not serial --ignore=tests/cluster --numprocesses=auto")
    assert cluster.endswith("|--durations=10 tests/cluster")
    assert serial.endswith("|--durations=10 -m serial")


def test_make_test_runs_what_is_named_as_it_is_named(recorded: Path) -> None:
    """`TESTS=path` is one run of pytest."""
    done = make(recorded, "test", "TESTS=tests/pipeline -k flow")

    assert done.returncode == 0
    assert (recorded / "calls").read_text().rstrip().endswith("|--durations=10 tests/pipeline -k flow")


def test_make_gpu_check_passes_its_options_on(tmp_path: Path) -> None:
    """The device, and the weights of RAFT; without options it takes the GPU."""
    program = ".venv/bin/python -m tests.bench.gpu_check"

    assert make(tmp_path, "--dry-run", "gpu-check").stdout.split() == program.split()
    given = make(tmp_path, "--dry-run", "gpu-check", "DEVICE=cpu", "RAFT=a b.safetensors").stdout.split()
    assert given == [*program.split(), "--device", "cpu", "--raft-weights", '"a', 'b.safetensors"']
