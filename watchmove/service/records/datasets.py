"""Records of a dataset snapshot and of the run that gathered it."""

from collections.abc import Mapping, Sequence
from typing import Literal, TypeVar

from pydantic import BaseModel, Field

from watchmove.service.records import layout
from watchmove.service.records.attribution import LicenceCount
from watchmove.service.records.record import FINITE, Count, Record, UnixSeconds, need
from watchmove.service.store.store import Store

Item = TypeVar("Item")


MasksFrom = Literal["motion", "annotations", "shuffled-masks", "true-masks"]
"""Where the masks of a snapshot are from."""


class DatasetShard(BaseModel):
    """One tar file of a snapshot.

    `frames` counts its frames that belong to the snapshot; those of the videos in `left_out` do not. The object at
    `index_key` has one line for each frame of the tar: key, video, first byte and length.
    """

    model_config = FINITE

    key: str
    sha256: str
    size_bytes: Count
    index_key: str
    frames: Count
    left_out: tuple[str, ...] = ()


class DatasetRecord(Record):
    """A dataset snapshot: which frames of which shards. Its name is their hash: the same frames give the same name.

    `labels` are the classes of its frames, sorted, where their metadata name them.
    """

    dataset: str
    recipe: str
    masks_from: MasksFrom = "motion"
    shards: tuple[DatasetShard, ...]
    kept_frames: Count
    kept_videos: Count
    licences: dict[str, LicenceCount]
    attribution_key: str
    attribution_sha256: str
    labels: tuple[str, ...] = ()


class NewFrames(BaseModel):
    """The number of frames of a snapshot that an earlier backbone has not learnt from, and the number that is needed.

    `backbone` is the newest of the same recipe, and `dataset` the snapshot that it learnt from.
    """

    model_config = FINITE

    frames: Count
    needed: Count
    backbone: str
    dataset: str


class ExtractionTime(BaseModel):
    """When the extraction of a run worked: `seconds` sums the wall-clock seconds of its `parts` of shards.

    `core_seconds` sums the seconds of its workers, each of which uses one core.
    """

    model_config = FINITE

    began_unix_seconds: float
    ended_unix_seconds: UnixSeconds
    seconds: float
    core_seconds: float
    parts: Count


class FailedVideo(BaseModel):
    """The place of a failed video: the key of a shard's record, and the id of the video in it.

    It is not a number in that record, which would be another video's when one before it is forgotten.
    """

    model_config = FINITE

    part: str
    video: str = ""


class GatherRecord(Record):
    """Which snapshot a run trains on, and how every video of its listing ended.

    `audit_keys` are tars of rejected frames, chosen evenly from the whole extraction. `near_duplicate_videos` have kept
    frames that are left out of the snapshot, because other videos have nearly the same pictures. `new_frames` is None
    if every run trains, or if there was no earlier backbone. `attempts` counts all attempts at the listed videos, of
    whatever run, and is 0 in records without it; `extraction` is None if this run has extracted nothing; `failed` has
    the first few videos of each outcome and reason that is a failure; `stages_keys` are tars with the stages of one
    frame each, those of the highest confidence first.
    """

    dataset: str
    videos_listed: Count
    videos_removed: Count
    outcomes: dict[str, Count]
    frames: dict[str, Count]
    frames_seen: Count
    seconds_of_extraction: float
    audit_keys: tuple[str, ...]
    near_duplicate_videos: Count = 0
    new_frames: NewFrames | None = None
    attempts: Count = 0
    extraction: ExtractionTime | None = None
    failed: dict[str, tuple[FailedVideo, ...]] = Field({})
    stages_keys: tuple[str, ...] = Field((), exclude_if=lambda keys: not keys)

    @property
    def no_training(self) -> str:
        """Why the run ends without training, in words; empty if it trains."""
        new = self.new_frames
        if new is None or new.frames >= new.needed:
            return ""
        return (
            f"{new.frames:,} frames are new since backbone {new.backbone} learnt from dataset {new.dataset}, below "
            f"gather.min_new_frames ({new.needed:,})"
        )


def gathered_of(store: Store, run: str) -> GatherRecord:
    """Return the record of what a run gathered.

    Raises:
        InvalidInput: the run has not gathered yet.
    """
    return need(store, layout.run_record(run, "gather"), GatherRecord, "gather")


def dataset_of(store: Store, run: str) -> DatasetRecord:
    """Return the snapshot that a run trains on.

    Raises:
        InvalidInput: the run has not gathered yet.
    """
    return need(store, layout.dataset(gathered_of(store, run).dataset), DatasetRecord, "gather")


def named_counts(counts: Mapping[tuple[str, str], int]) -> dict[str, int]:
    """Return counts by (outcome, reason) as records have them: by `outcome: reason`, in alphabetical order."""
    return {f"{outcome}: {reason}" if reason else outcome: count for (outcome, reason), count in sorted(counts.items())}


def evenly_chosen(items: Sequence[Item], most: int) -> list[Item]:
    """Return at most `most` of `items`, evenly spaced and in order."""
    count = min(most, len(items))
    return [items[number * len(items) // count] for number in range(count)]
