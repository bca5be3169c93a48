"""What a killed process left in the scratch folder is removed, whenever it was killed; nothing else is."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from watchmove.service.runner.scratch_folder import scratch_folder

_KILLED = """
import os, pathlib, shutil, signal, sys
from watchmove.service.runner import scratch_folder as module
block = module.scratch_folder(sys.argv[1])
def die(*_, **__): os.kill(os.getpid(), signal.SIGKILL)
{at}
folder = block.__enter__()
(folder / "video.mp4").write_bytes(b"frames")
die()
"""


def names(parent: Path) -> list[str]:
    """Names of what is in a folder."""
    return sorted(path.name for path in parent.iterdir())


def killed_in(parent: Path, at: str = "") -> None:
    """Lose a process that uses a scratch folder; `at` is a line that makes it die earlier than with a file in it."""
    subprocess.run([sys.executable, "-c", _KILLED.format(at=at), str(parent)], check=False)


@pytest.mark.parametrize(
    ("at", "left"),
    [("", 2), ("module.fcntl.flock = die", 1), ("pathlib.Path.mkdir = die", 1)],
    ids=["with a file", "before the lock", "before the folder"],
)
def test_what_a_killed_process_left_goes_with_the_next(tmp_path: Path, at: str, left: int) -> None:
    """Killed at work, before its lock was locked, and before there was a folder."""
    killed_in(tmp_path, at)

    assert len(names(tmp_path)) == left
    with scratch_folder(str(tmp_path)) as folder:
        assert names(tmp_path) == [folder.name, f"{folder.name}.lock"]
        assert names(folder) == []
    assert names(tmp_path) == []


def test_one_killed_while_it_removes_is_followed_by_another(tmp_path: Path) -> None:
    """Half removed is still marked as abandoned."""
    killed_in(tmp_path)
    killed_in(tmp_path, "module.shutil.rmtree = lambda path, **_: (path.joinpath('video.mp4').unlink(), die())")

    assert len(names(tmp_path)) == 2
    with scratch_folder(str(tmp_path)):
        assert len(names(tmp_path)) == 2, "its own"
    assert names(tmp_path) == []


def test_folders_in_use_and_folders_of_others_stay(tmp_path: Path) -> None:
    """A living process's folder, and one that only has such a name."""
    (tmp_path / "watchmove-videos").mkdir()
    with scratch_folder(str(tmp_path)) as living:
        (living / "video.mp4").write_bytes(b"frames")
        with scratch_folder(str(tmp_path)) as other:
            assert other != living
        assert names(living) == ["video.mp4"]
    assert names(tmp_path) == ["watchmove-videos"]


def test_a_folder_that_cannot_be_removed_keeps_its_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Something may still write there as the folder goes; the next process tries again."""
    with monkeypatch.context() as patch, scratch_folder(str(tmp_path)) as folder:
        patch.setattr(shutil, "rmtree", lambda *_, **__: None)
        (folder / "video.mp4").write_bytes(b"frames")

    assert len(names(tmp_path)) == 2
    with scratch_folder(str(tmp_path)):
        pass
    assert names(tmp_path) == []
