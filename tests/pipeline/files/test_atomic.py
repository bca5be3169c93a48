"""Atomic writing: a file is complete or absent."""

import errno
from pathlib import Path

import pytest

from watchmove.pipeline.errors import InvalidInput, Unavailable
from watchmove.pipeline.files.atomic import replacing, write_bytes


def test_written_whole_with_its_folder(tmp_path: Path) -> None:
    """Content replaces what was there; nothing else is left in a folder made on the way."""
    write_bytes(tmp_path / "new" / "a.txt", b"one")
    write_bytes(tmp_path / "new" / "a.txt", b"two")

    assert [(path.name, path.read_bytes()) for path in (tmp_path / "new").iterdir()] == [("a.txt", b"two")]


def test_stopped_in_the_middle_leaves_what_was_there(tmp_path: Path) -> None:
    """An error in the block leaves the old file and no temporary one."""
    write_bytes(tmp_path / "a.txt", b"old")

    def stopped() -> None:
        with replacing(tmp_path / "a.txt") as temporary:
            temporary.write_bytes(b"ne")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()

    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a.txt", b"old")]


def test_a_disk_that_is_full_may_have_room_later(tmp_path: Path) -> None:
    """Unavailable, with the path."""

    def full() -> None:
        with replacing(tmp_path / "a.txt"):
            raise OSError(errno.ENOSPC, "no room")

    with pytest.raises(Unavailable, match=r"a\.txt: could not be written"):
        full()


def test_a_place_below_a_file_can_never_be_written(tmp_path: Path) -> None:
    """InvalidInput, with the path: trying again would not help."""
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(InvalidInput, match=r"a\.txt: could not be written .* name another folder"):
        write_bytes(tmp_path / "file" / "a.txt", b"one")
