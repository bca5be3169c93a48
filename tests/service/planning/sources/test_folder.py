"""The source of the videos in a folder: suffixes, files that desktops leave, and names that are not UTF-8."""

import os
from pathlib import Path

import pytest

from watchmove.service.planning.sources.folder import HIDDEN, videos_in
from watchmove.service.planning.sources.listed import Tally
from watchmove.service.store.opening import open_store


def listed(folder: Path) -> tuple[list[str], Tally]:
    """The keys of the listed videos, and the counts of what is not listed."""
    tally = Tally()
    return [video.key for video in videos_in(open_store(f"file://{folder}"), tally)], tally


@pytest.mark.parametrize(
    "suffix", ["3g2", "divx", "rm", "dv", "mxf", "qt", "m2v", "f4v", "mod", "h265", "lrv", "MP4", "webm"]
)
def test_suffixes_that_the_decoder_knows_are_listed(suffix: str, tmp_path: Path) -> None:
    """The case of a suffix does not matter."""
    (tmp_path / f"v.{suffix}").write_bytes(b"v")
    (tmp_path / "notes.txt").write_bytes(b"v")
    keys, tally = listed(tmp_path)

    assert keys == [f"v.{suffix}"]
    assert tally.files_ignored == 1


def test_files_that_desktops_leave_are_counted(tmp_path: Path) -> None:
    """Hidden files, AppleDouble's among them, and those in folders of the system are no failed videos."""
    for name in (
        "a.mp4",
        "._a.mp4",
        ".b.mov",
        "__MACOSX/c.mp4",
        "$RECYCLE.BIN/d.avi",
        "@eaDir/e.mp4/f.mp4",
        ".t/g.mp4",
        "#recycle/h.mp4",
        "$Recycle.Bin/i.mp4",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"v")
    keys, tally = listed(tmp_path)

    assert keys == ["a.mp4"]
    assert tally.filtered == {HIDDEN: 8}


def test_a_name_that_is_not_utf8_is_passed_over_and_named(tmp_path: Path) -> None:
    """The other videos are listed, and the row of the malformed ones has the name with its bytes."""
    (tmp_path / "a.mp4").write_bytes(b"v")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/M\xfcnchen.mp4")).write_bytes(b"v")
    keys, tally = listed(tmp_path)

    assert keys == ["a.mp4"]
    assert "not UTF-8" in repr(vars(tally))
    assert r"M\\xfcnchen.mp4" in repr(vars(tally))
