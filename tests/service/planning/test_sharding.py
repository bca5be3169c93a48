"""Shards of about the same work: nothing is lost, nothing is too much, and long videos do not gather in one."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchmove.service.planning.sharding import (
    MEAN_VIDEO_SECONDS,
    START_SECONDS,
    consecutive_shards,
    divide_into_shards,
    expected_seconds,
)
from watchmove.service.records.outcomes import Video
from watchmove.service.settings.settings import PlanSettings

MEBIBYTE = 2**20


def video(number: int = 0, size_bytes: int = 0, duration_seconds: float = 0.0) -> Video:
    """A video of which so much is known."""
    return Video(id=str(number), key=str(number), etag="", size_bytes=size_bytes, duration_seconds=duration_seconds)


videos = st.lists(st.tuples(st.integers(0, 5 * MEBIBYTE), st.floats(0, 300)), max_size=40).map(
    lambda rows: [video(number, *row) for number, row in enumerate(rows)]
)


@given(
    listed=videos,
    settings=st.builds(
        PlanSettings,
        max_shard_videos=st.integers(1, 6),
        max_shard_mebibytes=st.integers(1, 8),
        target_shard_seconds=st.floats(1, 500),
    ),
)
def test_every_video_is_dealt_once_and_no_shard_is_too_much(listed: list[Video], settings: PlanSettings) -> None:
    """Order is kept; only a video that is too much by itself makes a shard too much; no shard ends without need."""

    def fits(shard: list[Video]) -> bool:
        return (
            len(shard) <= settings.max_shard_videos
            and sum(one.size_bytes for one in shard) <= settings.max_shard_mebibytes * MEBIBYTE
            and sum(expected_seconds(one, settings) for one in shard) <= settings.target_shard_seconds
        )

    shards = divide_into_shards(listed, settings)

    assert [one for shard in shards for one in shard] == listed
    assert all(len(shard) == 1 or fits(shard) for shard in shards)
    assert all(not fits([*shard, after[0]]) for shard, after in pairwise(shards))


@pytest.mark.parametrize(
    ("one", "length"),
    [
        (video(duration_seconds=12.5, size_bytes=10**9), 12.5),
        (video(size_bytes=25_000_000), 100.0),
        (video(), MEAN_VIDEO_SECONDS),
    ],
)
def test_work_goes_by_duration_then_by_size_then_by_the_mean(one: Video, length: float) -> None:
    """In seconds of one worker, at the rate that the settings state."""
    assert expected_seconds(one, PlanSettings(seconds_per_video_second=2.0)) == START_SECONDS + 2.0 * length


def test_long_and_short_videos_make_shards_of_the_same_work() -> None:
    """A hundred videos of ten seconds take as long as ten of a hundred: shards differ in count and not in work."""
    listed = [video(n, duration_seconds=9.0) for n in range(100)] + [video(n, duration_seconds=99.0) for n in range(10)]
    settings = PlanSettings(target_shard_seconds=200.0, seconds_per_video_second=1.0)
    shards = divide_into_shards(listed, settings)

    assert [len(shard) for shard in shards] == [20] * 5 + [2] * 5
    assert {sum(expected_seconds(one, settings) for one in shard) for shard in shards} == {200.0}


@given(shards=st.integers(0, 700), most_pods=st.integers(1, 200))
def test_each_shard_is_in_one_pod_and_pods_have_the_same_work(shards: int, most_pods: int) -> None:
    """All shards in their order, in as many pods as are allowed; a pod of one shard has its bare index."""
    items = consecutive_shards(shards, most_pods)
    ranges = [(item, item) if isinstance(item, int) else tuple(map(int, item.split("-"))) for item in items]
    lengths = {last - first + 1 for first, last in ranges}

    assert [shard for first, last in ranges for shard in range(first, last + 1)] == list(range(shards))
    assert len(items) == min(shards, most_pods)
    assert max(lengths, default=0) - min(lengths, default=0) <= 1
    assert all(isinstance(item, int) or last > first for item, (first, last) in zip(items, ranges, strict=True))
