"""The table of frames of a dataset snapshot, read from the index of each shard without reading its data."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from watchmove.pipeline.dataset.frame_table import Frame, FrameTable, frame_table
from watchmove.pipeline.errors import InvalidInput
from watchmove.service.records.datasets import DatasetShard
from watchmove.service.records.shard_index import read_index
from watchmove.service.store.store import Store

_REQUESTS_AT_ONCE = 8
"""Indexes are small, so latency dominates; a few parallel requests hide it. Not tuned."""


def snapshot_frames(store: Store, shards: Sequence[DatasetShard]) -> FrameTable:
    """The places of the frames of a snapshot; shards are named by their keys.

    Raises:
        InvalidInput: an index is missing or damaged, its number of frames differs from the snapshot's, or a frame lies
            beyond the end of its shard.
        Unavailable: the store cannot be reached.
    """
    return frame_table(_frames(store, shards))


def _frames(store: Store, shards: Sequence[DatasetShard]) -> Iterator[tuple[str, list[Frame]]]:
    with ThreadPoolExecutor(_REQUESTS_AT_ONCE) as pool:
        for shard, frames in zip(shards, pool.map(lambda shard: _frames_of(store, shard), shards), strict=True):
            yield shard.key, frames


def _frames_of(store: Store, shard: DatasetShard) -> list[Frame]:
    left_out = frozenset(shard.left_out)
    places = read_index(store, shard.index_key)
    frames = [Frame(p.key, p.offset, p.size_bytes, p.video, p.crc32) for p in places if p.video not in left_out]
    # the index is an object of its own, which may have been replaced since the snapshot was made
    if len(frames) != shard.frames:
        counts = f"{len(frames)} frames, but the snapshot has {shard.frames}"
        raise InvalidInput(f"{store.uri}/{shard.index_key}: has {counts}; extract and gather again")
    end = max((frame.offset + frame.size_bytes for frame in frames), default=0)
    if end > shard.size_bytes:
        lengths = f"a frame that ends at byte {end}, but {shard.key} has {shard.size_bytes}"
        raise InvalidInput(f"{store.uri}/{shard.index_key}: has {lengths}; extract and gather again")
    return frames
