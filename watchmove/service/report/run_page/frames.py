"""The frames that a report shows, read by byte ranges: kept ones, and rejected ones by their reason."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

from watchmove.pipeline.dataset.shard import Sample, read_shard, sample_in
from watchmove.service.records.datasets import DatasetRecord, DatasetShard, evenly_chosen
from watchmove.service.records.shard_index import FramePlace, read_index
from watchmove.service.records.stream import in_order
from watchmove.service.store.store import ObjectChanged, Store

Item = TypeVar("Item")

KEPT_FRAMES = 24
"""Most kept frames that a page shows. Set by hand; not tuned."""
FRAMES_OF_A_REASON = 4
"""Most rejected frames that a page shows for each reason: one row of a wide page. Set by hand; not tuned."""
_MOST_AUDITS = 24
"""Most tars of rejected frames that are read: each has a few frames and is read as a whole."""


def kept_frames(store: Store, dataset: DatasetRecord) -> list[Sample]:
    """Return kept frames of evenly spaced shards, of as many videos as possible: frames of one video resemble another.

    Shards that are absent, or are replaced meanwhile, have none.

    Raises:
        InvalidInput: a shard or its index is damaged.
        Unavailable: the store cannot be reached.
    """
    shards = evenly_chosen(dataset.shards, KEPT_FRAMES)
    quota = -(-KEPT_FRAMES // max(len(shards), 1))  # rounded up, so that the page is full
    of_shards = in_order(partial(_of_shard, store, quota), shards)
    return [sample for samples in of_shards for sample in samples][:KEPT_FRAMES]


def _of_shard(store: Store, quota: int, shard: DatasetShard) -> list[Sample]:
    item = store.head(shard.key)
    if item is None:  # removed since: the page goes without its frames, as all figures are known
        return []
    by_video: defaultdict[str, list[FramePlace]] = defaultdict(list)
    for place in read_index(store, shard.index_key):
        # a tar may hold videos that the snapshot leaves out
        if place.video not in shard.left_out:
            by_video[place.video].append(place)
    chosen = round_robin(list(by_video.values()), quota)
    try:
        return [sample_in(store.read_range(item, place.offset, place.size_bytes), place.key) for place in chosen]
    except ObjectChanged:  # replaced since, as where works are forgotten: the page goes without its frames too
        return []


def rejected_frames(store: Store, scratch: Path, audits: Sequence[str]) -> dict[str, list[Sample]]:
    """Return rejected frames by reason, in alphabetical order, from the tars that extraction keeps for inspection.

    Raises:
        InvalidInput: a tar is damaged.
        Unavailable: the store cannot be reached.
    """
    by_reason: defaultdict[str, list[Sample]] = defaultdict(list)
    for key in evenly_chosen(audits, _MOST_AUDITS):
        taken: Counter[str] = Counter()
        with _local_copy(store, scratch, key) as path:
            for sample in read_shard(path) if path is not None else ():
                reason = str(sample.metadata.get("reject_reason"))
                taken[reason] += 1
                # of each tar only as many as a row can hold, so that what is held in memory is bounded
                if taken[reason] <= FRAMES_OF_A_REASON:
                    by_reason[reason].append(sample)
    return {reason: _of_most_videos(by_reason[reason]) for reason in sorted(by_reason)}


def stages_of_a_frame(store: Store, scratch: Path, keys: Sequence[str]) -> Sample | None:
    """Return what the first of several tars of stages has that is in the store, or None if none is.

    Raises:
        InvalidInput: the tar is damaged.
    """
    for key in keys:
        if samples := samples_of(store, scratch, key):
            return samples[0]
    return None


def samples_of(store: Store, scratch: Path, key: str) -> list[Sample]:
    """Return all samples of a small tar, none if it is not in the store. Raises InvalidInput if it is damaged."""
    with _local_copy(store, scratch, key) as path:
        return list(read_shard(path)) if path is not None else []


def _of_most_videos(samples: Sequence[Sample]) -> list[Sample]:
    by_video: defaultdict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        by_video[sample.key.rpartition("-")[0]].append(sample)  # a key is VIDEO-FRAME
    return round_robin(list(by_video.values()), FRAMES_OF_A_REASON)


@contextmanager
def _local_copy(store: Store, scratch: Path, key: str) -> Iterator[Path | None]:
    """A local path of an object, None where it is missing; a copy in `scratch` is removed afterwards."""
    copy = scratch / "report.tar"
    try:
        yield store.local(key, copy)
    finally:
        # A local store yields the object's own file, which is not removed: there is no copy then.
        copy.unlink(missing_ok=True)


def round_robin(groups: Sequence[Sequence[Item]], most: int) -> list[Item]:
    """Return up to `most` items, one from the middle of each group in turn."""
    queues = [list(group) for group in groups]
    chosen: list[Item] = []
    while len(chosen) < most and any(queues):
        chosen += [queue.pop(len(queue) // 2) for queue in queues if queue]
    return chosen[:most]
