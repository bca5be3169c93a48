"""The examined frames of one video as the store has them: all of them, or for older records those with a picture."""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from watchmove.pipeline.dataset.shard import Sample, read_shard, sample_in
from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.extraction.pruning import THRESHOLDS
from watchmove.service.explanation.attempts import Attempt
from watchmove.service.records.frame_verdicts import FrameVerdict, read_verdicts
from watchmove.service.records.shard_index import read_index
from watchmove.service.store.store import ObjectChanged, Store

_WITH_CONFIDENCE = {None, "near-duplicate", "over-quota", *(rule.reason for rule in THRESHOLDS)}
"""Reject reasons of frames of which a mask was computed, whatever the reason; a fade may have none."""


class RecordedFrames(NamedTuple):
    """The verdicts on frames of a video in their order, and whether these are all that were examined."""

    frames: tuple[FrameVerdict, ...]
    are_all: bool


def recorded_frames(store: Store, attempt: Attempt, scratch: Path) -> RecordedFrames:
    """Return what the store has of the frames that an attempt at a video examined.

    Where the verdicts of all frames were not recorded, frames that were stored with their picture, kept or for
    inspection, have the confidence in their metadata, rounded to four digits.

    Raises:
        InvalidInput: a file that the record names is absent or damaged.
        Unavailable: the store cannot be reached.
    """
    examined = attempt.row.frames_kept + sum(attempt.row.frames_rejected.values())
    frames = read_verdicts(store, attempt.part, attempt.row)
    if examined and not frames:
        stored = chain(kept_samples(store, attempt), audited_samples(store, attempt, scratch))
        frames = tuple(_of_metadata(sample.metadata) for sample in stored)
    return RecordedFrames(tuple(sorted(frames, key=lambda frame: frame.frame)), len(frames) == examined)


def kept_samples(store: Store, attempt: Attempt) -> Iterator[Sample]:
    """Yield the kept frames of a video; each is read by its place in the tar. Raises as `recorded_frames` does."""
    if not attempt.row.frames_kept:
        return
    part = attempt.part
    item = store.head(part.data_key)
    for place in read_index(store, part.index_key):
        if place.video == attempt.row.video.id:
            try:
                content = store.read_range(item, place.offset, place.size_bytes) if item else b""
            except ObjectChanged as error:
                raise InvalidInput(f"{store.uri}/{part.data_key}: changed; extract the shard again") from error
            yield sample_in(content, place.key)


def audited_samples(store: Store, attempt: Attempt, scratch: Path) -> Iterator[Sample]:
    """Yield the rejected frames of a video that were stored for inspection. Raises as `recorded_frames` does."""
    if not attempt.row.frames_rejected:
        return
    tar = store.local(attempt.part.audit_key, scratch / "audit.tar")
    for sample in read_shard(tar) if tar else ():
        if sample.metadata.get("video_id") == attempt.row.video.id:
            yield sample


def _of_metadata(fields: dict[str, Any]) -> FrameVerdict:
    reason, confidence = fields.get("reject_reason"), fields["confidence"]
    return FrameVerdict(
        frame=fields["frame"],
        time_seconds=fields["time_seconds"],
        shot=fields["shot"],
        confidence=confidence,
        reject_reason=reason,
        conditions=tuple(fields.get("conditions", ())),
        facts={"confidence": confidence} if reason in _WITH_CONFIDENCE else {},
    )
