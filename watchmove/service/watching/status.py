"""Status of a run: its progress, the outcomes of its videos, its speed, and its expected end.

It is computed from the store's records alone, during a run or after it. It changes nothing and needs no cluster.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from watchmove.pipeline.errors import InvalidInput
from watchmove.service.planning.planned import PlannedVideos, planned_videos
from watchmove.service.records import layout
from watchmove.service.records.attempts import Attempts, AttemptTable, Ids, Rows
from watchmove.service.records.datasets import GatherRecord
from watchmove.service.records.listing import listed_ids
from watchmove.service.records.plans import PlanRecord, Retries, RetryRecord
from watchmove.service.records.record import find, need
from watchmove.service.records.run_settings import recorded_settings
from watchmove.service.records.stream import shard_records
from watchmove.service.store.store import Store
from watchmove.service.watching.exporting.run_states import State
from watchmove.service.watching.pace import Finish, Speed, finish, speeds
from watchmove.service.watching.steps import EvaluationProgress, TrainingProgress, steps_of


class OutcomeCount(BaseModel):
    """An outcome and reason: the number of listed `videos` that ended with it, and of this run's `attempts`.

    Of several attempts at a video, one counts; `videos` goes by those.
    """

    model_config = ConfigDict(frozen=True)

    outcome: str
    reason: str
    videos: int
    attempts: int


class FrameCount(BaseModel):
    """An outcome and reason of sampled frames: the number of `frames` of listed videos, by the attempts that count."""

    model_config = ConfigDict(frozen=True)

    outcome: str
    reason: str
    frames: int


class RunStatus(BaseModel):
    """The status of a run. `faults_of` defines how the counts relate to each other.

    `steps`, `failures`, `pretrainings` and `evaluations` are those of `Steps`. `no_training` says why the run ends
    after gather, and is empty if it trains or has not gathered yet. `videos_listed` is the number of videos in the
    plan's listing, of which this run processes `videos_planned`. Not listed are videos that were removed from the list
    after they ended (`videos_removed`), that the settings exclude (`videos_filtered`) and malformed rows.
    `attempts_per_video` maps a number of attempts, of any run, to the number of listed videos that had so many.
    `seconds_spent` sums the seconds of all workers; `overall` and `recent` are speeds of all pods together.
    """

    model_config = ConfigDict(frozen=True)

    run: str
    recipe: str
    plan: str
    retries: Retries | None
    steps: dict[str, State] = {}
    failures: dict[str, str] = {}
    pretrainings: tuple[TrainingProgress, ...] = ()
    evaluations: EvaluationProgress | None = None
    no_training: str = ""
    asked_at_unix_seconds: float
    videos_listed: int
    videos_ended_before: int
    videos_planned: int
    videos_waiting_elsewhere: int
    videos_ended: int
    videos_waiting: int
    videos_without_outcome: int
    videos_removed: int
    videos_changed: int
    videos_filtered: dict[str, int]
    rows_malformed: int
    outcomes: tuple[OutcomeCount, ...]
    attempts_per_video: dict[int, int]
    frames_seen: int
    frames: tuple[FrameCount, ...]
    seconds_spent: float
    shards: int
    shards_done: int
    shards_open: int
    last_commit_unix_seconds: float | None
    overall: Speed | None
    recent: Speed | None
    finish: Finish | None
    faults: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Evidence:
    """The records that a status is computed from."""

    plan: RetryRecord
    table: AttemptTable
    listed: Ids
    planned: PlannedVideos
    now: float

    @cached_property
    def counting(self) -> Rows:
        """Bool (N,): whether an attempt is the one that counts for its video, and the video is listed."""
        return self.table.counting & self.table.of(self.listed)

    @cached_property
    def own(self) -> Rows:
        """Bool (N,): whether an attempt belongs to this run's plan."""
        return self.table.of_plan(self.plan.plan)

    @cached_property
    def waits(self) -> NDArray[np.bool_]:
        """Bool (P,): whether a planned video has no outcome yet."""
        return np.asarray(~np.isin(self.planned.video, self.table.video[self.own]), np.bool_)


def status(store: Store, run: str, clock: Callable[[], float] = time.time) -> RunStatus:
    """The status of a run. Damaged records and sums that do not add up are listed in its `faults`.

    The settings of the plan, which give the expected work of each video, are those that its record has.

    Raises:
        InvalidInput: the run has no plan, the plan's files are missing, or the record of its gather is damaged.
        Unavailable: the store cannot be reached.
    """
    plan = need(store, layout.run_record(run, "plan"), RetryRecord, "plan")
    # A damaged record must not hide the others: it becomes a fault, and its videos count as waiting.
    attempts, damaged = Attempts(), list[str]()
    for key, record in shard_records(store, plan.recipe, lambda error: damaged.append(str(error))):
        try:
            attempts.add(key, record)
        except InvalidInput as error:
            damaged.append(str(error))
    recorded = recorded_settings(plan.made_by, run)
    listed, planned = listed_ids(store, plan), planned_videos(store, plan, recorded.plan)
    seen = _Evidence(plan, attempts.table(), listed, planned, clock())
    parts = (_plan(seen), _videos(seen), _outcomes(seen), _frames(seen), _shards(seen), _pace(seen))
    gathered = find(store, layout.run_record(run, "gather"), GatherRecord)
    no_training = gathered.no_training if gathered is not None else ""
    steps = steps_of(store, run, plan, seen.table, gathered, recorded)
    facts = {name: value for part in parts for name, value in part.items()}
    counted = RunStatus(run=run, no_training=no_training, **steps._asdict(), **facts)
    return counted.model_copy(update={"faults": (*damaged, *faults_of(counted, seen.plan))})


def faults_of(counted: RunStatus, plan: PlanRecord) -> tuple[str, ...]:
    """A line for each sum that does not add up; empty if every video is accounted for."""
    by_outcome = sum(row.videos for row in counted.outcomes)
    planned_or_not = counted.videos_ended_before + counted.videos_planned + counted.videos_waiting_elsewhere
    sums = (
        ("videos in the listing", counted.videos_listed, "the plan's count", plan.videos_listed),
        ("videos of all shards", counted.videos_planned, "the plan's count", plan.videos_new),
        ("ended before + planned + waiting elsewhere", planned_or_not, "listed", counted.videos_listed),
        ("ended + waiting", counted.videos_ended + counted.videos_waiting, "planned", counted.videos_planned),
        ("attempts of all outcomes", sum(row.attempts for row in counted.outcomes), "ended", counted.videos_ended),
        ("outcomes + without outcome", by_outcome + counted.videos_without_outcome, "listed", counted.videos_listed),
        ("videos by attempts", sum(counted.attempts_per_video.values()), "listed", counted.videos_listed),
        ("shards done + open", counted.shards_done + counted.shards_open, "shards", counted.shards),
    )
    return tuple(
        f"{left} ({count:,}) is not {right} ({total:,})" for left, count, right, total in sums if count != total
    )


def _plan(seen: _Evidence) -> dict[str, Any]:
    plan = seen.plan
    return {"recipe": plan.recipe, "plan": plan.plan, "retries": plan.retries, "asked_at_unix_seconds": seen.now}


def _videos(seen: _Evidence) -> dict[str, Any]:
    tried = seen.table.video
    not_planned = np.setdiff1d(seen.listed, seen.planned.video)
    before = int(np.isin(not_planned, tried).sum())
    return {
        "videos_listed": len(seen.listed),
        "videos_ended_before": before,
        "videos_planned": len(np.unique(seen.planned.video)),
        # Planned by another run that is still in progress, as when its failed videos are retried early.
        "videos_waiting_elsewhere": len(not_planned) - before,
        "videos_ended": len(np.unique(tried[seen.own])),
        "videos_waiting": int(seen.waits.sum()),
        "videos_without_outcome": int((~np.isin(seen.listed, tried)).sum()),
        "videos_removed": seen.plan.videos_removed,
        "videos_changed": seen.plan.videos_changed,
        "videos_filtered": seen.plan.filtered,
        "rows_malformed": seen.plan.rows_malformed,
    }


def _outcomes(seen: _Evidence) -> dict[str, Any]:
    videos, attempts = seen.table.outcomes(seen.counting), seen.table.outcomes(seen.own)
    rows = [
        OutcomeCount(outcome=outcome, reason=reason, videos=videos[outcome, reason], attempts=attempts[outcome, reason])
        for outcome, reason in sorted(videos.keys() | attempts.keys())
    ]
    _, tries = np.unique(seen.table.video[seen.table.of(seen.listed)], return_counts=True)
    often, count = np.unique(tries, return_counts=True)
    untried = len(seen.listed) - len(tries)
    per_video = {0: untried} if untried else {}
    return {"outcomes": rows, "attempts_per_video": per_video | dict(zip(often.tolist(), count.tolist(), strict=True))}


def _frames(seen: _Evidence) -> dict[str, Any]:
    sampled = seen.table.frames(seen.counting)
    frames = [FrameCount(outcome=name, reason=reason, frames=n) for (name, reason), n in sorted(sampled.items())]
    return {
        "frames_seen": int(seen.table.frames_seen[seen.counting].sum()),
        "frames": frames,
        "seconds_spent": round(float(seen.table.seconds[seen.own].sum()), 1),
    }


def _shards(seen: _Evidence) -> dict[str, Any]:
    shards_open = len(np.unique(seen.planned.shard[seen.waits]))
    done = len(np.setdiff1d(seen.planned.shard, seen.planned.shard[seen.waits]))
    return {"shards": seen.plan.shards, "shards_done": done, "shards_open": shards_open}


def _pace(seen: _Evidence) -> dict[str, Any]:
    expected = seen.planned.expected_seconds
    order = np.argsort(seen.planned.video)
    # Only planned videos: searchsorted gives a wrong row for others, which `faults_of` reports.
    own = seen.own & seen.table.of(seen.planned.video)
    found = order[np.searchsorted(seen.planned.video, seen.table.video[own], sorter=order)]
    overall, recent = speeds(seen.table, own, expected[found]) or (None, None)
    # The table has the parts of all runs of the recipe.
    written = [part.written_at_unix_seconds for part in seen.table.parts if part.plan == seen.plan.plan]
    return {
        "overall": overall,
        "recent": recent,
        "finish": finish(expected[seen.waits], recent, seen.now),
        "last_commit_unix_seconds": max(written, default=None),
    }
