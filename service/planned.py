"""What a plan holds: the videos it listed, and how much of them it dealt into each of its shards."""

from array import array
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from service import layout
from service.attempts import Ids, ids_of, number_of
from service.outcomes import Video
from service.record_stream import READERS
from service.records import from_json_lines, need
from service.steps.plan import Listing, PlanRecord
from service.store import Store


def listed_videos(store: Store, plan: PlanRecord) -> Iterator[Video]:
    """Every video that a plan saw, in the order of their keys. Raises InvalidInput where its listing is gone."""
    yield from need(store, layout.listing(plan.recipe, plan.plan), Listing, "plan").videos


def listed_ids(store: Store, plan: PlanRecord) -> Ids:
    """(M,) sorted numbers of the videos that a plan saw. Raises as `listed_videos` does."""
    key = layout.listing(plan.recipe, plan.plan)
    return ids_of(array("Q", (number_of(video.id, key) for video in listed_videos(store, plan))))


class PlannedVideos(NamedTuple):
    """The videos that a plan deals out, (P,) each: their numbers, their shards, their bytes."""

    video: Ids
    shard: NDArray[np.uint32]
    size_bytes: NDArray[np.uint64]


def planned_videos(store: Store, plan: PlanRecord) -> PlannedVideos:
    """What a plan dealt into its shards. Raises InvalidInput where a shard's list is no such list."""

    def read(shard: int) -> tuple["array[int]", "array[int]"]:
        key = layout.shard_list(plan.recipe, plan.plan, shard)
        videos: list[Video] = from_json_lines(store.read(key) or b"", Video, f"{store.uri}/{key}")
        return array("Q", (number_of(v.id, key) for v in videos)), array("Q", (v.size_bytes for v in videos))

    video, size, shard = array("Q"), array("Q"), array("I")
    with ThreadPoolExecutor(READERS) as readers:
        for number, (videos, sizes) in enumerate(readers.map(read, range(plan.shards))):
            video.extend(videos)
            size.extend(sizes)
            shard.extend([number] * len(videos))
    return PlannedVideos(np.array(video), np.array(shard), np.array(size))
