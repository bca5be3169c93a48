"""Limits hold in a process that has set them."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

LIMIT = (
    "from watchmove.pipeline.files.resource_limits import limit_resources, mapped_bytes; "
    "limit_resources(mapped_bytes() + 2**26, file_bytes=2**20, cpu_seconds=1); "
)


def limited(code: str) -> "subprocess.CompletedProcess[str]":
    """A process that runs `code` with 64 MiB of memory, files of 1 MiB, and one second of CPU time."""
    return subprocess.run([sys.executable, "-c", LIMIT + code], capture_output=True, text=True, check=False)


def test_a_file_cannot_grow_beyond_its_limit(tmp_path: Path) -> None:
    """The kernel refuses to write more."""
    done = limited(f"from pathlib import Path; Path({str(tmp_path / 'file')!r}).write_bytes(bytes(2**20 + 1))")

    assert "File too large" in done.stderr
    assert (tmp_path / "file").stat().st_size <= 2**20


@pytest.mark.skipif(sys.platform != "linux", reason="macOS does not enforce RLIMIT_AS")
def test_memory_is_bounded_above_what_is_mapped() -> None:
    """48 MiB can be taken, 80 MiB cannot."""
    assert limited("bytearray(48 * 2**20)").returncode == 0
    assert "MemoryError" in limited("bytearray(80 * 2**20)").stderr


def test_cpu_time_is_bounded() -> None:
    """A loop without end is ended by the kernel."""
    assert limited("\nwhile True: pass").returncode == -signal.SIGXCPU
