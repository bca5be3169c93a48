"""Atomic writing: a file is complete or absent."""

import errno
import os
from pathlib import Path

import pytest

from watchmove.pipeline.errors import InvalidInput, Unavailable
from watchmove.pipeline.files.atomic import make_writable_folder, replacing, replacing_folder, write_bytes


def test_written_whole_with_its_folder(tmp_path: Path) -> None:
    """Content replaces what was there; nothing else is left in a folder made on the way."""
    write_bytes(tmp_path / "new" / "a.txt", b"one")
    write_bytes(tmp_path / "new" / "a.txt", b"two")

    assert [(path.name, path.read_bytes()) for path in (tmp_path / "new").iterdir()] == [("a.txt", b"two")]


def test_the_longest_name_of_a_file_is_written(tmp_path: Path) -> None:
    """255 bytes, as those of masks of frames with long titles can be."""
    path = tmp_path / f"{'ü' * 125}.png"
    write_bytes(path, b"one")

    assert path.read_bytes() == b"one"


def test_a_power_cut_finds_the_bytes_before_the_name_and_the_name_before_what_follows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the order of the system calls: the file is synchronised, then renamed, then its folder is synchronised."""
    calls: list[str] = []
    synchronise, rename = os.fsync, os.replace

    def recorded_fsync(handle: int) -> None:
        where = Path(f"/proc/self/fd/{handle}").readlink()
        calls.append(f"fsync {'folder' if where.is_dir() else f'{where.stat().st_size} bytes'}")
        synchronise(handle)

    def recorded_rename(source: Path, target: Path) -> None:
        calls.append(f"rename to {target.name}")
        rename(source, target)

    monkeypatch.setattr(os, "fsync", recorded_fsync)
    monkeypatch.setattr(os, "replace", recorded_rename)
    write_bytes(tmp_path / "a.txt", b"four")

    assert calls == ["fsync 4 bytes", "rename to a.txt", "fsync folder"]


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


def test_a_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    """All that was in it is gone once the other is complete, and nothing else is left beside it."""
    for name in ("one", "two"):
        with replacing_folder(tmp_path / "new" / "page") as folder:
            (folder / name).write_text(name)

    assert [path.name for path in (tmp_path / "new").rglob("*")] == ["page", "two"]


def test_what_a_killed_process_has_left_is_no_part_of_a_folder(tmp_path: Path) -> None:
    """Processes of containers have the same number each time, and so the same names beside the folder."""
    (tmp_path / "page").mkdir()
    for state in ("partial", "before"):
        (tmp_path / f".page.{os.getpid()}.{state}").mkdir()
        (tmp_path / f".page.{os.getpid()}.{state}" / "old").write_text("old")
    with replacing_folder(tmp_path / "page") as folder:
        (folder / "one").write_text("one")

    assert [path.name for path in tmp_path.rglob("*")] == ["page", "one"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError(), OSError(errno.ENOSPC, "No space left")])
def test_a_folder_that_is_not_complete_leaves_the_one_before(tmp_path: Path, error: BaseException) -> None:
    """After an error of any kind; a full disk is an error that a retry can resolve."""
    (tmp_path / "page").mkdir()
    (tmp_path / "page" / "one").write_text("one")

    def write() -> None:
        with replacing_folder(tmp_path / "page") as folder:
            (folder / "two").write_text("two")
            raise error

    with pytest.raises(Unavailable if isinstance(error, OSError) else type(error)):
        write()
    assert [path.name for path in tmp_path.rglob("*")] == ["page", "one"]


def test_a_folder_whose_name_cannot_be_taken_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the second of the two renames fails, the first is undone."""
    (tmp_path / "page").mkdir()
    rename = Path.rename

    def fails(self: Path, target: Path) -> Path:
        if self.name.endswith(".partial"):
            raise OSError(errno.EACCES, "Permission denied")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fails)
    with pytest.raises(InvalidInput, match="page: could not be written"), replacing_folder(tmp_path / "page") as folder:
        (folder / "two").write_text("two")

    assert [path.name for path in tmp_path.rglob("*")] == ["page"]


def test_a_folder_is_checked_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file in its place, and a folder that may not be written to."""
    make_writable_folder(tmp_path / "new" / "folder")
    assert (tmp_path / "new" / "folder").is_dir()
    (tmp_path / "file").write_bytes(b"x")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InvalidInput, match=r"file.*could not be written .*; name another folder"):
            make_writable_folder(path)
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    with pytest.raises(InvalidInput, match="may not be written to; name another folder"):
        make_writable_folder(tmp_path / "new")
