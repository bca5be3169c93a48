"""Gather: check the outcome of extraction, and write the snapshot of frames that pretraining reads."""

from collections import Counter
from collections.abc import Iterator, Mapping

import numpy as np
import structlog

from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.extraction.near_duplicate_videos import near_duplicate_videos
from watchmove.pipeline.files.digest import file_sha256
from watchmove.service.records import layout
from watchmove.service.records.attempts import Attempts, AttemptTable, Rows, id_of
from watchmove.service.records.attribution import Credits
from watchmove.service.records.datasets import (
    DatasetRecord,
    DatasetShard,
    GatherRecord,
    dataset_of,
    named_counts,
)
from watchmove.service.records.listing import listed_ids
from watchmove.service.records.outcomes import FAILED
from watchmove.service.records.plans import PlanRecord
from watchmove.service.records.record import Origin, commit, find, need, origin
from watchmove.service.records.stream import shard_records
from watchmove.service.runner.events import log_step
from watchmove.service.runner.runner import StepContext
from watchmove.service.settings.settings import GatherSettings, Settings, settings_hash
from watchmove.service.steps.failures import record_failure
from watchmove.service.steps.gather_record import frames_by_reason, frames_kept, gather_record
from watchmove.service.store.store import Store
from watchmove.service.training.new_frames import new_frames


@log_step
@record_failure
def gather(context: StepContext, run: str) -> DatasetRecord:
    """Check the limits on failed videos and kept frames, and write the snapshot; equal frames give an equal snapshot.

    The run's record says whether enough frames are new for a training.

    Raises:
        InvalidInput: videos without an outcome, too many failed, or too few frames kept.
        Unavailable: the store cannot be reached.
    """
    key = layout.run_record(run, "gather")
    # A run keeps its first snapshot, so that a repeated step trains on the same frames.
    if find(context.store, key, GatherRecord) is not None:
        return dataset_of(context.store, run)
    plan = need(context.store, layout.run_record(run, "plan"), PlanRecord, "plan")
    listed = listed_ids(context.store, plan)
    # Records of all runs of the recipe are read once; which attempts count is known only after the last of them.
    attempts, credit = Attempts(), Credits(context.scratch)
    read, stages = 0, []
    for part, (shard_key, record) in enumerate(shard_records(context.store, plan.recipe)):
        attempts.add(shard_key, record)
        credit.add(record)
        read += len(record.videos)
        if record.stages is not None:
            stages.append((part, record.stages))
        # One unit is left for the snapshot.
        context.progress.update("gather", min(read, len(listed)), len(listed) + 1, f"{read} videos read")
    table = attempts.table()
    rows = table.counting & table.of(listed)
    wanted = context.settings.gather.leave_out_near_duplicates
    repeated = _near_duplicate_rows(table, rows) if wanted else np.zeros_like(rows)
    counts = table.outcomes(rows), frames_by_reason(table, rows, repeated)
    check_gate(len(listed), *counts, context.settings.gather, run)
    if repeated.any():
        structlog.get_logger().info(
            "near-duplicate videos left out", videos=int(repeated.sum()), frames=frames_kept(table, repeated)
        )
    dataset = _snapshot(context, plan, table, rows & ~repeated, credit)
    # The snapshot goes first, so that a run's record never names a snapshot that is missing.
    commit(context.store, layout.dataset(dataset.dataset), dataset)
    new = new_frames(context.settings, context.store, dataset, table, rows & ~repeated)
    made_by = _origin(context.settings, context.store, plan)
    commit(context.store, key, gather_record(made_by, plan, table, (rows, repeated), dataset.dataset, new, stages))
    context.progress.update("gather", len(listed) + 1, len(listed) + 1, f"{dataset.kept_frames} frames")
    # Read back: of two processes that gather at once, the first commit decides.
    return dataset_of(context.store, run)


def check_gate(
    listed: int,
    outcomes: Counter[tuple[str, str]],
    frames: Counter[tuple[str, str]],
    settings: GatherSettings,
    run: str,
) -> None:
    """Raise InvalidInput if the extraction exceeds the limits of `settings`; counts are by (outcome, reason).

    The message has commands for `run`.
    """
    if outcomes.total() < listed:
        without = listed - outcomes.total()
        raise InvalidInput(f"{without} of {listed} videos have no outcome yet; run `watchmove extract`")
    failed = {name: count for name, count in outcomes.items() if name[0] in FAILED}
    if sum(failed.values()) > settings.max_failed_fraction * listed:
        rule = f"max_failed_fraction ({settings.max_failed_fraction})"
        names = ",".join(sorted({outcome for outcome, _ in failed}))
        # a repaired file is another version of its video, and a retry would find it changed
        raise InvalidInput(
            f"{sum(failed.values())} of {listed} videos failed ({_text(failed)}), above gather.{rule}; "
            f"`watchmove videos {run} --outcome {names}` lists them; begin a new run after repairing files, try others "
            f"again by `watchmove retry {run} --outcomes {names}`, or raise the limit"
        )
    kept = frames["kept", ""]
    if kept < settings.min_kept_frames:
        rule = f"gather.min_kept_frames ({settings.min_kept_frames})"
        raise InvalidInput(
            f"{kept} frames kept of {listed} videos ({_text(frames) or _text(outcomes)}), below {rule}; "
            "add videos in which things move"
        )


def _origin(settings: Settings, store: Store, plan: PlanRecord) -> Origin:
    """Origin that names the plan alone as input: the snapshot lists its shards with their sha256."""
    return origin(settings, {f"{store.uri}/{layout.listing(plan.recipe, plan.plan)}": plan.plan})


def _snapshot(
    context: StepContext, plan: PlanRecord, table: AttemptTable, rows: Rows, credit: Credits
) -> DatasetRecord:
    """The stored record of the snapshot, or a new one that is not written yet; a new one's attribution file is."""
    shards = tuple(_shards(table, rows))
    dataset_id = settings_hash(plan.recipe, [shard.model_dump(mode="json") for shard in shards])
    known = find(context.store, layout.dataset(dataset_id), DatasetRecord)
    if known is not None:
        return known
    file = context.scratch / "attribution.tsv.gz"
    licences = credit.write(file, dataset_id, rows)
    # Before the record that names it; the same videos give the same bytes, so a second writer changes nothing.
    context.store.upload(layout.attribution(dataset_id), file)
    return DatasetRecord(
        made_by=_origin(context.settings, context.store, plan),
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
    """Shards with wanted frames. Each names the videos that it leaves out: unlisted ones, and superseded attempts."""
    has_frames = table.frames_kept > 0
    # Rows are in the order of their parts, so each part is a slice; a mask for each would take quadratic time.
    begins = np.searchsorted(table.part, np.arange(len(table.parts) + 1))
    for part, begin, end in zip(table.parts, begins, begins[1:], strict=False):
        here = slice(begin, end)
        wanted = rows[here] & has_frames[here]
        # Parts without wanted frames are left out, so that a video without frames does not change the snapshot's id.
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
    return ", ".join(f"{count} {name}" for name, count in named_counts(counts).items() if count)


def _near_duplicate_rows(table: AttemptTable, rows: Rows) -> Rows:
    """Return a mask (N,) of the attempts in `rows`, a mask (N,), whose video repeats another one in `rows`.

    Of several, the one with most kept frames stays, and of equals that with the least id, in whatever order their
    records were read. Videos without kept frames repeat none.
    """
    numbers = np.flatnonzero(rows & (table.frames_kept > 0))
    best_first = np.lexsort((table.video[numbers], -table.frames_kept[numbers].astype(np.int64)))
    return near_duplicate_videos(table.hashes, table.hash_count, numbers[best_first])
