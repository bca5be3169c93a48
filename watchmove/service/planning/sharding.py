"""Divides videos into shards of about the same work, so that all of them end at about the same time."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, pairwise
from typing import NamedTuple

from watchmove.service.records.outcomes import Video
from watchmove.service.settings.settings import PlanSettings

MEAN_VIDEO_SECONDS = 37.0
"""Duration assumed for a video of unknown size: the mean of YFCC100M's 787,479 videos (8,081 hours)."""
BYTES_PER_VIDEO_SECOND = 250_000
"""Bytes per second assumed where only the size is known: two megabits, a small web video. Set by hand; not tuned."""
START_SECONDS = 1.0
"""Fixed work of each video, a fetch and the start of a process. Set by hand; not tuned."""


class Load(NamedTuple):
    """Bytes and expected work in seconds that a video adds to its shard."""

    size_bytes: int
    seconds: float


def expected_seconds(video: Video, settings: PlanSettings) -> float:
    """Work that a video should take one worker, by its duration, else its size, else the mean of all videos."""
    length = video.duration_seconds or video.size_bytes / BYTES_PER_VIDEO_SECOND or MEAN_VIDEO_SECONDS
    return START_SECONDS + length * settings.seconds_per_video_second


def shard_sizes(loads: Iterable[Load], settings: PlanSettings) -> list[int]:
    """Number of videos in each shard, in order; a shard ends where the next video would exceed any of the limits."""
    sizes: list[int] = []
    n_bytes, seconds = 0, 0.0
    for load in loads:
        # the sums include this video: a shard ends before its limit, and a video above a limit has a shard of its own
        n_bytes, seconds = n_bytes + load.size_bytes, seconds + load.seconds
        full = (
            not sizes
            or sizes[-1] >= settings.max_shard_videos
            or n_bytes > settings.max_shard_mebibytes * 2**20
            or seconds > settings.target_shard_seconds
        )
        if full:
            sizes.append(0)
            n_bytes, seconds = load
        sizes[-1] += 1
    return sizes


def consecutive_shards(shards: int, most_pods: int) -> list[int | str]:
    """Divide all shards of a run among at most `most_pods` pods: the option `--shard` of each.

    It is the index of one shard, or `FIRST-LAST` for consecutive ones. The numbers of shards of two pods differ by at
    most one.
    """
    pods = min(shards, most_pods)
    bounds = [shards * pod // pods for pod in range(pods)] + [shards]
    return [first if end == first + 1 else f"{first}-{end - 1}" for first, end in pairwise(bounds)]


def divide_into_shards(videos: Sequence[Video], settings: PlanSettings) -> list[list[Video]]:
    """Divide videos into shards, keeping their order."""
    loads = (Load(video.size_bytes, expected_seconds(video, settings)) for video in videos)
    # shards are runs of consecutive videos, so that a plan can cut a stream of lines without holding it in memory
    rest: Iterator[Video] = iter(videos)
    return [list(islice(rest, size)) for size in shard_sizes(loads, settings)]
