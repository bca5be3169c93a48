"""Plan: what is new is dealt into shards."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import InvalidInput
from service.outcomes import Video
from service.settings import PlanSettings
from service.sharding import deal
from service.steps.plan import plan
from tests.service.conftest import MakeContext

sizes = st.lists(st.integers(0, 5 * 2**20), max_size=40)


@given(sizes=sizes, videos=st.integers(1, 6), mebibytes=st.integers(1, 8))
def test_every_video_is_dealt_once_and_no_shard_is_too_large(sizes: list[int], videos: int, mebibytes: int) -> None:
    """Order is kept; only a video that is too large by itself makes a shard too large."""
    listed = [Video(id=str(n), key=str(n), etag="", size_bytes=size) for n, size in enumerate(sizes)]
    shards = deal(listed, PlanSettings(max_shard_videos=videos, max_shard_mebibytes=mebibytes))

    assert [video for shard in shards for video in shard] == listed
    assert all(len(shard) <= videos for shard in shards)
    assert all(len(s) == 1 or sum(v.size_bytes for v in s) <= mebibytes * 2**20 for s in shards)


def test_a_folder_without_videos_is_refused(make_context: MakeContext, tmp_path: Path) -> None:
    """The line names the folder, counts what lies there, and says what would do."""
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "notes.txt").write_text("")

    with pytest.raises(InvalidInput, match=r"no video there \(1 other files\)"):
        plan(make_context(), "run")


def test_a_run_keeps_its_plan(make_context: MakeContext, tmp_path: Path) -> None:
    """Planning twice changes nothing, even when a video has come since; the next run sees it."""
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "a.mp4").write_bytes(b"x")
    context = make_context()
    first = plan(context, "one")
    (tmp_path / "videos" / "b.mp4").write_bytes(b"y")
    again, other = plan(context, "one"), plan(context, "two")

    assert again == first
    assert (first.videos_new, other.videos_new) == (1, 2)
