"""Reads a plan from the store: the videos that it listed, and those that it divided into shards."""

from array import array
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from watchmove.service.planning.sharding import expected_seconds
from watchmove.service.records import layout
from watchmove.service.records.attempts import Ids, number_of
from watchmove.service.records.forgotten import forgotten_works
from watchmove.service.records.listing import read_listing
from watchmove.service.records.outcomes import Video
from watchmove.service.records.plans import PlanRecord
from watchmove.service.records.record import need_lines
from watchmove.service.records.stream import in_order
from watchmove.service.settings.settings import PlanSettings
from watchmove.service.store.store import Store


def listed_videos(store: Store, plan: PlanRecord) -> Iterator[Video]:
    """Yield the videos that a plan listed, in their order in the source, without forgotten works.

    Raises InvalidInput if there is no listing.
    """
    return read_listing(store, plan.recipe, plan.plan)


class PlannedVideos(NamedTuple):
    """The videos that a plan divided into shards: (P,) numbers, shards, and expected seconds of one worker."""

    video: Ids
    shard: NDArray[np.uint32]
    expected_seconds: NDArray[np.float64]


def planned_videos(store: Store, plan: PlanRecord, settings: PlanSettings) -> PlannedVideos:
    """The videos in the shards of a plan. Raises InvalidInput if the list of a shard is missing or malformed."""

    forgotten, place = forgotten_works(store), plan.made_by.settings["videos"]

    def read(shard: int) -> tuple["array[int]", "array[float]"]:
        key = layout.shard_list(plan.recipe, plan.plan, shard)
        listed: list[Video] = need_lines(store, key, Video)
        videos = [video for video in listed if not forgotten.has(place, video.key)]
        numbers = array("Q", (number_of(video.id, key) for video in videos))
        return numbers, array("d", (expected_seconds(video, settings) for video in videos))

    # arrays, because a list would hold an object for each of the videos of a large plan
    video, shard, seconds = array("Q"), array("I"), array("d")
    for number, (videos, expected) in enumerate(in_order(read, range(plan.shards))):
        video.extend(videos)
        seconds.extend(expected)
        shard.extend([number] * len(videos))
    return PlannedVideos(np.array(video), np.array(shard), np.array(seconds))
