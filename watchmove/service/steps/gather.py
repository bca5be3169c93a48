"""Gather: the gate between extraction and training, and the snapshot that a training reads."""

from collections import Counter
from collections.abc import Iterator, Mapping

import numpy as np

from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.files.digest import file_sha256
from watchmove.service.planning.planned import listed_ids
from watchmove.service.records import layout
from watchmove.service.records.attempts import Attempts, AttemptTable, Rows, id_of
from watchmove.service.records.attribution import Credits
from watchmove.service.records.datasets import DatasetRecord, DatasetShard, GatherRecord, dataset_of, evenly_chosen
from watchmove.service.records.outcomes import FAILED
from watchmove.service.records.plans import PlanRecord
from watchmove.service.records.record import Origin, commit, find, need, origin
from watchmove.service.records.stream import shard_records
from watchmove.service.runner.runner import StepContext
from watchmove.service.settings.settings import GatherSettings, settings_hash

AUDITS = 24
"""Most tars of rejected frames that a run's record names."""


def gather(context: StepContext, run: str) -> DatasetRecord:
    """Check that extraction went well enough and write the snapshot; the same frames give the same snapshot.

    Raises:
        InvalidInput: videos without an outcome, too many failed, or too few frames kept.
    """
    key = layout.run_record(run, "gather")
    if find(context.store, key, GatherRecord) is not None:
        return dataset_of(context.store, run)
    plan = need(context.store, layout.run_record(run, "plan"), PlanRecord, "plan")
    listed = listed_ids(context.store, plan)
    attempts, credit = Attempts(), Credits(context.scratch)
    for shard_key, record in shard_records(context.store, plan.recipe):
        attempts.add(shard_key, record)
        credit.add(record)
    table = attempts.table()
    rows = table.counting & table.of(listed)
    check_gate(len(listed), table.outcomes(rows), table.frames(rows), context.settings.gather)
    dataset = _snapshot(context, plan, table, rows, credit)
    commit(context.store, layout.dataset(dataset.dataset), dataset)
    commit(context.store, key, _gathered(_origin(context, plan), plan, table, rows, dataset.dataset))
    return dataset_of(context.store, run)


def check_gate(
    listed: int, outcomes: Counter[tuple[str, str]], frames: Counter[tuple[str, str]], settings: GatherSettings
) -> None:
    """Raise InvalidInput when the extraction is not fit to train on; counts are by (outcome, reason)."""
    if outcomes.total() < listed:
        without = listed - outcomes.total()
        raise InvalidInput(f"{without} of {listed} videos have no outcome yet; run `watchmove extract` first")
    failed = {name: count for name, count in outcomes.items() if name[0] in FAILED}
    if sum(failed.values()) > settings.max_failed_fraction * listed:
        rule = f"max_failed_fraction ({settings.max_failed_fraction})"
        raise InvalidInput(
            f"{sum(failed.values())} of {listed} videos failed ({_text(failed)}), above gather.{rule}; "
            "mend them and `watchmove retry`, or raise it"
        )
    kept = frames["kept", ""]
    if kept < settings.min_kept_frames:
        rule = f"gather.min_kept_frames ({settings.min_kept_frames})"
        raise InvalidInput(
            f"{kept} frames kept of {listed} videos ({_text(frames) or _text(outcomes)}), below {rule}; "
            "add videos in which things move"
        )


def flat(counts: Mapping[tuple[str, str], int]) -> dict[str, int]:
    """Counts by `outcome: reason`, in order."""
    return {f"{outcome}: {reason}" if reason else outcome: count for (outcome, reason), count in sorted(counts.items())}


def _origin(context: StepContext, plan: PlanRecord) -> Origin:
    """The shards themselves stand in the snapshot, with their sums."""
    return origin(context.settings, {f"{context.store.uri}/{layout.listing(plan.recipe, plan.plan)}": plan.plan})


def _gathered(made_by: Origin, plan: PlanRecord, table: AttemptTable, rows: Rows, dataset: str) -> GatherRecord:
    """What a run says of itself beside its snapshot; every listed video has one of `rows`."""
    parts = [table.parts[number] for number in np.unique(table.part[rows]).tolist()]
    return GatherRecord(
        made_by=made_by,
        dataset=dataset,
        videos_listed=int(rows.sum()),
        videos_removed=plan.videos_removed,
        outcomes=flat(table.outcomes(rows)),
        frames=flat(table.frames(rows)),
        frames_seen=int(table.frames_seen[rows].sum()),
        seconds_of_extraction=sum(part.seconds for part in parts),
        audit_keys=tuple(part.audit_key for part in evenly_chosen(parts, AUDITS)),
    )


def _snapshot(
    context: StepContext, plan: PlanRecord, table: AttemptTable, rows: Rows, credit: Credits
) -> DatasetRecord:
    """The snapshot's record: the one that is there, or else a new one, not written yet while its attribution is."""
    shards = tuple(_shards(table, rows))
    dataset_id = settings_hash(plan.recipe, [shard.model_dump(mode="json") for shard in shards])
    known = find(context.store, layout.dataset(dataset_id), DatasetRecord)
    if known is not None:
        return known
    file = context.scratch / "attribution.tsv.gz"
    licences = credit.write(file, dataset_id, rows)
    context.store.upload(layout.attribution(dataset_id), file)
    return DatasetRecord(
        made_by=_origin(context, plan),
        dataset=dataset_id,
        recipe=plan.recipe,
        masks_from=plan.masks_from,
        shards=shards,
        kept_frames=sum(shard.frames for shard in shards),
        kept_videos=int((rows & (table.frames_kept > 0)).sum()),
        licences=licences,
        attribution_key=layout.attribution(dataset_id),
        attribution_sha256=file_sha256(file),
    )


def _shards(table: AttemptTable, rows: Rows) -> Iterator[DatasetShard]:
    """Shards with frames; a video that is no longer listed, or whose frames of another attempt count, is left out."""
    has_frames = table.frames_kept > 0
    begins = np.searchsorted(table.part, np.arange(len(table.parts) + 1))
    for part, begin, end in zip(table.parts, begins, begins[1:], strict=False):
        here = slice(begin, end)
        wanted = rows[here] & has_frames[here]
        if wanted.any():
            unwanted = table.video[here][has_frames[here] & ~rows[here]]
            yield DatasetShard(
                key=part.data_key,
                sha256=part.data_sha256,
                size_bytes=part.data_bytes,
                index_key=part.index_key,
                frames=int(table.frames_kept[here][wanted].sum()),
                left_out=tuple(sorted(id_of(number) for number in unwanted.tolist())),
            )


def _text(counts: Mapping[tuple[str, str], int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in flat(counts).items() if count)
