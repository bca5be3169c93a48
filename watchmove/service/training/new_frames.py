"""Which frames of a snapshot are new: those that the newest backbone of the same recipe has not learnt from.

Backbones are of the same recipe if only their snapshots and seeds differ: their frames were extracted under the same
settings, their masks are of the same kind, and they have the same settings of pretraining.
"""

from collections.abc import Iterable

import numpy as np
import structlog

from watchmove.pipeline.errors import InvalidInput
from watchmove.service.records import layout
from watchmove.service.records.attempts import AttemptTable, Rows, number_of
from watchmove.service.records.datasets import DatasetRecord, DatasetShard, NewFrames
from watchmove.service.records.record import find
from watchmove.service.records.stream import read_ahead
from watchmove.service.records.training import BackboneRecord, backbone_id_of
from watchmove.service.settings.settings import Settings
from watchmove.service.store.store import Store


def new_frames(
    settings: Settings, store: Store, dataset: DatasetRecord, table: AttemptTable, rows: Rows
) -> NewFrames | None:
    """Count the frames of a snapshot that the newest backbone of its recipe has not learnt from.

    `rows`, a mask (N,) of the table, selects the attempts whose frames are in the snapshot. None if the settings need
    no new frames, or if there is no earlier backbone.

    Raises:
        Unavailable: the store cannot be reached.
    """
    if not settings.gather.min_new_frames:
        return None
    for backbone in _newest_first(settings, store):
        learnt = find(store, layout.dataset(backbone.dataset), DatasetRecord)
        if learnt is not None and (learnt.recipe, learnt.masks_from) == (dataset.recipe, dataset.masks_from):
            return NewFrames(
                frames=_frames_outside(learnt.shards, table, rows),
                needed=settings.gather.min_new_frames,
                backbone=backbone.backbone,
                dataset=learnt.dataset,
            )
    return None


def _newest_first(settings: Settings, store: Store) -> list[BackboneRecord]:
    """The first backbone of each snapshot on which all seeds of the settings were pretrained, by time of the last."""
    listed = store.list(layout.all_backbones())
    # checkpoints have JSON files too, so the complete name is required
    keys = (item.key for item in listed if item.key.endswith("/record.json"))
    found = {record.backbone: record for _, record in read_ahead(store, keys, BackboneRecord, _left_out)}
    complete = []
    for name in {record.dataset for record in found.values()}:
        # The id covers the settings, so that a record which it finds was made with the same.
        ids = [backbone_id_of(settings, name, seed) for seed in settings.pretrain.all_seeds()]
        if found.keys() >= set(ids):
            ended_at = max(found[identity].made_by.written_at_unix_seconds for identity in ids)
            complete.append((ended_at, ids[0]))
    return [found[identity] for _, identity in sorted(complete, reverse=True)]


def _frames_outside(shards: Iterable[DatasetShard], table: AttemptTable, rows: Rows) -> int:
    """Number of kept frames of the selected attempts that none of the shards of another snapshot has."""
    known = {shard.key: shard for shard in shards}
    # Rows are in the order of their parts, so each part is a slice; a mask for each would take quadratic time.
    begins = np.searchsorted(table.part, np.arange(len(table.parts) + 1))
    frames = 0
    for part, begin, end in zip(table.parts, begins, begins[1:], strict=False):
        here = slice(begin, end)
        outside = rows[here]
        shard = known.get(part.data_key)
        if shard is not None:
            left_out = np.array([number_of(video, shard.key) for video in shard.left_out], np.uint64)
            outside = outside & np.isin(table.video[here], left_out)
        frames += int(table.frames_kept[here][outside].sum())
    return frames


def _left_out(error: InvalidInput) -> None:
    structlog.get_logger().warning("backbone left out of the count of new frames", reason=str(error))
