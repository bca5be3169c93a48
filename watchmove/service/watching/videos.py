"""The names of a run's videos by how they ended, with the detail that their record has."""

from collections.abc import Iterator

import numpy as np

from watchmove.pipeline.errors import InvalidInput
from watchmove.service.records import layout
from watchmove.service.records.attempts import Attempts
from watchmove.service.records.listing import listed_ids
from watchmove.service.records.outcomes import Outcome, ShardRecord, VideoOutcome
from watchmove.service.records.plans import PlanRecord
from watchmove.service.records.record import need
from watchmove.service.records.stream import read_ahead, shard_records
from watchmove.service.store.store import Store


def ended_videos(
    store: Store, run: str, outcomes: frozenset[str] = frozenset(), reasons: frozenset[str] = frozenset()
) -> Iterator[VideoOutcome]:
    """Yield how the listed videos of a run ended, in the order of the records.

    Of several attempts at a video, it is the one that counts. `outcomes` and `reasons` select, each if it is not empty.
    Videos without an outcome are not among them. The records are read twice, so that the names of a large run need not
    be in memory at once.

    Raises:
        InvalidInput: an outcome does not exist, no video has a reason, the run has no plan, or a record is damaged.
        Unavailable: the store cannot be reached.
    """
    if unknown := outcomes - set(Outcome):
        raise InvalidInput(f"--outcome {min(unknown)}: no such outcome; there are {', '.join(Outcome)}")
    plan = need(store, layout.run_record(run, "plan"), PlanRecord, "plan")
    attempts = Attempts()
    for key, shard in shard_records(store, plan.recipe):
        attempts.add(key, shard)
    table = attempts.table()
    rows = table.counting & table.of(listed_ids(store, plan))
    present = {reason for _, reason in table.outcomes(rows)}
    # a misspelt reason would otherwise silently list nothing
    if absent := reasons - present:
        known = ", ".join(sorted(present - {""})) or "none"
        raise InvalidInput(f"--reason {min(absent)}: no video of run {run} has this reason; those there: {known}")
    rows &= table.with_outcome(frozenset(Outcome(name) for name in outcomes)) if outcomes else True
    rows &= table.with_reason(reasons) if reasons else True
    # Rows are in the order of the parts, and those of a part in the order of its record.
    ends = np.searchsorted(table.part, np.arange(len(table.parts)), side="right")
    by_part = np.split(rows, ends)[:-1]
    wanted = {part.key: selected for part, selected in zip(table.parts, by_part, strict=True) if selected.any()}
    for key, shard in read_ahead(store, wanted, ShardRecord):
        yield from (row for row, is_wanted in zip(shard.videos, wanted[key], strict=True) if is_wanted)
