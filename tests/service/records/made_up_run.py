"""Runs whose extraction is made up: real plans of empty files, and shard records that say what a test wants."""

import time
from collections.abc import Mapping
from pathlib import Path

from watchmove.service.records import layout
from watchmove.service.records.outcomes import (
    NO_DEVICE,
    DeviceUse,
    Outcome,
    ShardRecord,
    ShownStages,
    Video,
    VideoOutcome,
)
from watchmove.service.records.plans import PlanRecord
from watchmove.service.records.record import commit, from_json_lines, origin
from watchmove.service.runner.runner import StepContext

Ending = tuple[str, str]
"""An outcome and its reason."""

FRAMES_SEEN, FRAMES_KEPT, FRAMES_DULL = 48, 3, 5


def touch_videos(context: StepContext, *names: str) -> None:
    """Empty files where the settings look for videos."""
    folder = Path(context.settings.videos.removeprefix("file://"))
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()


def row(video: Video, outcome: str, reason: str = "") -> VideoOutcome:
    """How a video ended; one that was decoded gave eight frames, of which three were kept or none."""
    decoded = outcome in (Outcome.KEPT, Outcome.REJECTED)
    kept = FRAMES_KEPT if outcome == Outcome.KEPT else 0
    return VideoOutcome(
        video=video,
        outcome=Outcome(outcome),
        reason=reason,
        seconds=2.0,
        frames_seen=FRAMES_SEEN if decoded else 0,
        frames_kept=kept,
        frames_rejected={"no-motion": FRAMES_KEPT + FRAMES_DULL - kept} if decoded else {},
    )


def planned_videos(context: StepContext, plan: PlanRecord, shard: int) -> list[Video]:
    """The videos of one shard."""
    key = layout.shard_list(plan.recipe, plan.plan, shard)
    videos: list[Video] = from_json_lines(context.store.read(key) or b"", Video, key)
    return videos


def commit_part(
    context: StepContext,
    plan: PlanRecord,
    place: tuple[int, int],
    rows: tuple[VideoOutcome, ...],
    at: float,
    took: float,
    device: DeviceUse = NO_DEVICE,
    stages: ShownStages | None = None,
) -> None:
    """Commit rows as one part of a shard, written `at` a time after `took` seconds."""
    shard, part = place
    stem = layout.shard_part(plan.recipe, plan.plan, shard, part)
    made_by = origin(context.settings, {}).model_copy(update={"written_at_unix_seconds": at})
    record = ShardRecord(
        made_by=made_by,
        plan=plan.plan,
        shard=shard,
        part=part,
        data_key=f"{stem}-abc.tar",
        data_sha256=stem[-1] * 64,
        data_bytes=10240,
        index_key=f"{stem}-abc.index.json.gz",
        audit_key=f"{stem}-abc.audit.tar",
        seconds=took,
        device=device,
        stages=stages,
        videos=rows,
    )
    assert commit(context.store, f"{stem}.json", record).new


def end_shard(
    context: StepContext,
    plan: PlanRecord,
    shard: int,
    endings: Mapping[str, Ending],
    at: float | None = None,
) -> None:
    """End every video of a shard in one part; `endings` tells how by its key, and without a word it is kept."""
    rows = tuple(row(v, *endings.get(v.key, ("kept", ""))) for v in planned_videos(context, plan, shard))
    commit_part(context, plan, (shard, 0), rows, time.time() if at is None else at, 60.0)
