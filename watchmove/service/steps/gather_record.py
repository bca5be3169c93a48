"""What the record of a gathered run says: how its videos ended, when they were extracted, and where examples are."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from watchmove.service.records.attempts import AttemptTable, Rows, id_of, number_of
from watchmove.service.records.datasets import (
    ExtractionTime,
    FailedVideo,
    GatherRecord,
    NewFrames,
    evenly_chosen,
    named_counts,
)
from watchmove.service.records.outcomes import Outcome, ShownStages
from watchmove.service.records.plans import PlanRecord
from watchmove.service.records.record import Origin

AUDITS = 24
"""Most tars of rejected frames that a run's record names. Set by hand; not tuned."""
FAILED_EXAMPLES = 5
"""Most failed videos of each outcome and reason that a run's record points to. Set by hand; not tuned."""

STAGES_NAMED = 4
"""Most tars of stages that a run's record names. Set by hand; not tuned."""

_NEAR_DUPLICATE_VIDEO = "near-duplicate-video"
"""Why frames that extraction has kept are left out: another video has nearly the same pictures."""


def gather_record(
    made_by: Origin,
    plan: PlanRecord,
    table: AttemptTable,
    selected: tuple[Rows, Rows],
    dataset: str,
    new: NewFrames | None,
    stages: Sequence[tuple[int, ShownStages]],
) -> GatherRecord:
    """Return the run's own figures, which are not part of its snapshot.

    `selected` has the rows with one attempt for each listed video, and those of them that are near-duplicates. `stages`
    are those of the parts that have any, each with the number of its part.
    """
    rows, repeated = selected
    # The parts of other runs too, if they hold attempts that count for this one.
    parts = [table.parts[number] for number in np.unique(table.part[rows]).tolist()]
    return GatherRecord(
        made_by=made_by,
        dataset=dataset,
        videos_listed=int(rows.sum()),
        videos_removed=plan.videos_removed,
        outcomes=named_counts(table.outcomes(rows)),
        frames=named_counts(frames_by_reason(table, rows, repeated)),
        frames_seen=int(table.frames_seen[rows].sum()),
        seconds_of_extraction=sum(part.seconds for part in parts),
        audit_keys=tuple(part.audit_key for part in evenly_chosen(parts, AUDITS)),
        near_duplicate_videos=int(repeated.sum()),
        new_frames=new,
        attempts=int(table.of(table.video[rows]).sum()),
        extraction=_extraction_time(table, plan),
        failed=_failed(table, rows),
        stages_keys=_best_stages(table, rows & ~repeated, stages),
    )


def frames_by_reason(table: AttemptTable, rows: Rows, repeated: Rows) -> Counter[tuple[str, str]]:
    """Count sampled frames by (`kept` or `rejected`, reason), where frames of near-duplicate videos are rejected."""
    frames = table.frames(rows)
    if left_out := frames_kept(table, repeated):
        frames["kept", ""] -= left_out
        frames["rejected", _NEAR_DUPLICATE_VIDEO] = left_out
    return frames


def frames_kept(table: AttemptTable, rows: Rows) -> int:
    """Count the kept frames of the rows, a mask (N,)."""
    return int(table.frames_kept[rows].sum())


def _extraction_time(table: AttemptTable, plan: PlanRecord) -> ExtractionTime | None:
    """When the parts of this plan were extracted; None if there are none."""
    parts = [part for part in table.parts if part.plan == plan.plan]
    if not parts:
        return None
    return ExtractionTime(
        began_unix_seconds=min(part.written_at_unix_seconds - part.seconds for part in parts),
        ended_unix_seconds=max(part.written_at_unix_seconds for part in parts),
        seconds=sum(part.seconds for part in parts),
        core_seconds=float(table.seconds[table.of_plan(plan.plan)].sum()),
        parts=len(parts),
    )


def _best_stages(table: AttemptTable, rows: Rows, stages: Sequence[tuple[int, ShownStages]]) -> tuple[str, ...]:
    """The keys of the stages of highest confidence, of videos whose attempts in the same part are selected.

    There are several, so that another one can be shown when the video of the first is forgotten.
    """
    chosen: list[ShownStages] = []
    for part, shown in sorted(stages, key=lambda one: (-one[1].confidence, one[1].key)):
        of_part = slice(*np.searchsorted(table.part, (part, part + 1)).tolist())
        if np.any(rows[of_part] & (table.video[of_part] == number_of(shown.video, shown.key))):
            chosen.append(shown)
        if len(chosen) == STAGES_NAMED:
            break
    return tuple(shown.key for shown in chosen)


def _failed(table: AttemptTable, rows: Rows) -> dict[str, tuple[FailedVideo, ...]]:
    """The first videos of each outcome and reason of a failure, by their place in the records of shards."""
    failed = rows & table.failed
    found: dict[str, tuple[FailedVideo, ...]] = {}
    for (outcome, reason), _ in sorted(table.outcomes(failed).items()):
        same = failed & table.with_outcome(frozenset({Outcome(outcome)})) & table.with_reason(frozenset({reason}))
        first = np.flatnonzero(same)[:FAILED_EXAMPLES].tolist()
        found[f"{outcome}: {reason}" if reason else outcome] = tuple(
            FailedVideo(part=table.parts[table.part[row]].key, video=id_of(int(table.video[row]))) for row in first
        )
    return found
