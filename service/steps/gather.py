"""Gather: the gate between extraction and training, and the snapshot that a training reads."""

from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict

from pipeline.errors import InvalidInput
from service import layout
from service.outcomes import FAILED, ShardRecord, VideoOutcome, count_frames, count_outcomes
from service.records import Record, commit, find, need, origin
from service.runner import StepContext
from service.settings import GatherSettings, settings_hash
from service.steps.plan import Listing, PlanRecord, shard_records
from service.store import Store


class DatasetShard(BaseModel):
    """One tar file of the snapshot; frames of the videos in `left_out` do not belong to it."""

    model_config = ConfigDict(frozen=True)

    key: str
    sha256: str
    size_bytes: int
    left_out: tuple[str, ...] = ()


class DatasetRecord(Record):
    """A dataset snapshot: which frames of which shards, and how every video of the listing ended."""

    dataset: str
    recipe: str
    shards: tuple[DatasetShard, ...]
    kept_frames: int
    frames_seen: int
    videos_removed: int
    outcomes: dict[str, int]
    frames: dict[str, int]


class GatherRecord(Record):
    """Which snapshot a run trains on."""

    dataset: str


def gather(context: StepContext, run: str) -> DatasetRecord:
    """Check that extraction went well enough and write the snapshot; the same frames give the same snapshot.

    Raises:
        InvalidInput: videos without an outcome, too many failed, or too few frames kept.
    """
    key = layout.run_record(run, "gather")
    if find(context.store, key, GatherRecord) is not None:
        return dataset_of(context.store, run)
    plan = need(context.store, layout.run_record(run, "plan"), PlanRecord, "plan")
    listing = need(context.store, layout.listing(plan.recipe, plan.plan), Listing, "plan")
    records = list(shard_records(context.store, plan.recipe))
    ended = {row.video.id: row for record in records for row in record.videos}
    listed = {video.id for video in listing.videos}
    rows = [ended[video.id] for video in listing.videos if video.id in ended]
    check_gate(rows, len(listed), context.settings.gather)
    shards = tuple(_snapshot_shards(records, listed))
    dataset_id = settings_hash(plan.recipe, [shard.model_dump(mode="json") for shard in shards])
    record = DatasetRecord(
        made_by=origin(context.settings, {f"{context.store.uri}/{shard.key}": shard.sha256 for shard in shards}),
        dataset=dataset_id,
        recipe=plan.recipe,
        shards=shards,
        kept_frames=sum(row.frames_kept for row in rows),
        frames_seen=sum(row.frames_seen for row in rows),
        videos_removed=len(ended.keys() - listed),
        outcomes=_flat(count_outcomes(rows)),
        frames=_flat(count_frames(rows)),
    )
    commit(context.store, layout.dataset(dataset_id), record)
    commit(context.store, key, GatherRecord(made_by=record.made_by, dataset=dataset_id))
    return record


def dataset_of(store: Store, run: str) -> DatasetRecord:
    """The snapshot that a run trains on. Raises InvalidInput where the run has none yet."""
    gathered = need(store, layout.run_record(run, "gather"), GatherRecord, "gather")
    return need(store, layout.dataset(gathered.dataset), DatasetRecord, "gather")


def check_gate(rows: list[VideoOutcome], listed: int, settings: GatherSettings) -> None:
    """Raise InvalidInput when the extraction is not fit to train on."""
    if len(rows) < listed:
        raise InvalidInput(
            f"{listed - len(rows)} of {listed} videos have no outcome yet; run `watchmove extract` first"
        )
    failed = [row for row in rows if row.outcome in FAILED]
    if len(failed) > settings.max_failed_fraction * listed:
        why = _counts_text(count_outcomes(failed))
        rule = f"max_failed_fraction ({settings.max_failed_fraction})"
        raise InvalidInput(
            f"{len(failed)} of {listed} videos failed ({why}), above gather.{rule}; mend them or raise it"
        )
    kept = sum(row.frames_kept for row in rows)
    if kept < settings.min_kept_frames:
        why = _counts_text(count_frames(rows)) or _counts_text(count_outcomes(rows))
        rule = f"gather.min_kept_frames ({settings.min_kept_frames})"
        raise InvalidInput(
            f"{kept} frames kept of {listed} videos ({why}), below {rule}; add videos in which things move"
        )


def _snapshot_shards(records: Iterable[ShardRecord], listed: set[str]) -> Iterable[DatasetShard]:
    """Shards with frames; a video that is no longer listed, or that an earlier shard holds already, is left out."""
    taken: set[str] = set()
    for record in records:
        kept = {row.video.id for row in record.videos if row.frames_kept}
        wanted = (kept & listed) - taken
        taken |= wanted
        if wanted:
            left_out = tuple(sorted(kept - wanted))
            yield DatasetShard(
                key=record.data_key, sha256=record.data_sha256, size_bytes=record.data_bytes, left_out=left_out
            )


def _flat(counts: dict[tuple[str, str], int]) -> dict[str, int]:
    return {f"{outcome}: {reason}" if reason else outcome: count for (outcome, reason), count in sorted(counts.items())}


def _counts_text(counts: dict[tuple[str, str], int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in _flat(counts).items() if count)
