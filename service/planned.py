"""What a plan holds: the videos it listed, and how much of them it dealt into each of its shards."""

from array import array
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from service import layout
from service.attempts import Ids, ids_of, number_of
from service.listing import read_listing
from service.outcomes import Video
from service.record_stream import READERS
from service.records import from_json_lines
from service.steps.plan import PlanRecord
from service.store import Store


def listed_videos(store: Store, plan: PlanRecord) -> Iterator[Video]:
    """Every video that a plan saw, in the order of its source. Raises InvalidInput where its listing is gone."""
    return read_listing(store, plan.recipe, plan.plan)


def listed_ids(store: Store, plan: PlanRecord) -> Ids:
    """(M,) sorted numbers of the videos that a plan saw. Raises as `listed_videos` does."""
    key = layout.listing(plan.recipe, plan.plan)
    return ids_of(array("Q", (number_of(video.id, key) for video in listed_videos(store, plan))))


class PlannedVideos(NamedTuple):
    """The videos that a plan deals out, (P,) each: their numbers, shards, and what their list says of their size.

    `duration_seconds` and `size_bytes` are 0 where they are not known.
    """

    video: Ids
    shard: NDArray[np.uint32]
    duration_seconds: NDArray[np.float64]
    size_bytes: NDArray[np.float64]


class Work(NamedTuple):
    """What each planned video is expected to cost, (P,), in a unit: what tells most of those that are known."""

    amount: NDArray[np.float64]
    unit: str


def planned_videos(store: Store, plan: PlanRecord) -> PlannedVideos:
    """What a plan dealt into its shards. Raises InvalidInput where a shard's list is no such list."""

    def read(shard: int) -> tuple["array[int]", "array[float]", "array[float]"]:
        key = layout.shard_list(plan.recipe, plan.plan, shard)
        videos: list[Video] = from_json_lines(store.read(key) or b"", Video, f"{store.uri}/{key}")
        numbers = array("Q", (number_of(video.id, key) for video in videos))
        durations = array("d", (video.duration_seconds for video in videos))
        return numbers, durations, array("d", (video.size_bytes for video in videos))

    video, shard, duration, size = array("Q"), array("I"), array("d"), array("d")
    with ThreadPoolExecutor(READERS) as readers:
        for number, (videos, durations, sizes) in enumerate(readers.map(read, range(plan.shards))):
            video.extend(videos)
            duration.extend(durations)
            size.extend(sizes)
            shard.extend([number] * len(videos))
    return PlannedVideos(np.array(video), np.array(shard), np.array(duration), np.array(size))


def expected_work(planned: PlannedVideos) -> Work:
    """The durations of videos, or else their bytes, or else their number; one that is not known counts as the mean."""
    for amount, unit in ((planned.duration_seconds / 3600, "hours of video"), (planned.size_bytes / 2**20, "MiB")):
        known = amount > 0
        if known.any():
            return Work(np.where(known, amount, amount[known].mean()), unit)
    return Work(np.ones(len(planned.video)), "videos")
