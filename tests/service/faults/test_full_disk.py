"""A full disk: the step reports it, keeps committed work, and resumes when there is free space."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service.faults.conftest import Undisturbed
from tests.service.faults.corpus import committed, planned, started, words

pytestmark = pytest.mark.timeout(900)


SMALL_KIBIBYTES = 96
"""Size of the small disk, less than the corpus's frames take. Set by hand."""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own that holds less than the frames of the corpus."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SMALL_KIBIBYTES}k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("a tmpfs cannot be mounted here (that takes root and CAP_SYS_ADMIN): no small disk to fill")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def grow(folder: Path) -> None:
    """Enlarge the file system."""
    subprocess.run(["mount", "-o", "remount,size=64m", str(folder)], check=True)


@pytest.mark.parametrize("what", ["scratch", "store"])
def test_a_disk_that_is_full(undisturbed: Undisturbed, small_disk: Path, tmp_path: Path, what: str) -> None:
    """Fill the disk of the scratch folder, and the disk of the store."""
    scratch = small_disk if what == "scratch" else tmp_path
    store = small_disk / "store" if what == "store" else tmp_path / "store"
    late = "work.commit_every_seconds=600"
    words_of_run = words(undisturbed.videos, f"file://{store}", f"work.scratch={scratch}", late)
    planned(words_of_run)
    process = started(words_of_run)
    _, errors = process.communicate()

    assert process.returncode == 75, errors
    assert "disk" in errors or "No space left" in errors or "free space" in errors
    grow(small_disk)
    process = started(words_of_run)
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    assert committed(words_of_run, tmp_path) == undisturbed.committed
    if what == "scratch":
        assert list(small_disk.iterdir()) == []
