"""The stages of a run on one machine: which of how many begins, and how long the rest takes, as earlier runs took."""

from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from watchmove.pipeline.errors import InvalidInput
from watchmove.service.records import layout
from watchmove.service.records.datasets import GatherRecord, gathered_of
from watchmove.service.records.outcomes import ShardRecord
from watchmove.service.records.plans import PlanRecord
from watchmove.service.records.record import find
from watchmove.service.records.stream import read_ahead
from watchmove.service.records.training import (
    BackboneRecord,
    EvaluationPointer,
    EvaluationRecord,
    PretrainPointer,
    backbone_id_of,
)
from watchmove.service.runner.progress import ProgressReport
from watchmove.service.settings.settings import Settings
from watchmove.service.store.store import Store

_MOST_RUNS = 8
"""Most earlier runs that are read for an estimate. Set by hand."""

EXTRACT, PRETRAIN, EVALUATE = "extract", "pretrain", "evaluate"


@dataclass(frozen=True)
class Pace:
    """Seconds that a run took for one video, one image of pretraining and one iteration of a detector.

    The last includes the detector's test. None where the run did not do this itself.
    """

    run: str
    video: float | None
    image: float | None
    iteration: float | None


def pace_of_last_run(store: Store) -> Pace | None:
    """Return the pace of the last run of the store that has extracted videos; None if there is none.

    Only the last few runs by name are read, as names are times by default. A damaged record is passed over: nothing
    but an estimate depends on it. Raises Unavailable if the store cannot be reached.
    """
    names = sorted(
        item.key.split("/")[1] for item in store.list(layout.all_runs()) if item.key.endswith("/gather.json")
    )
    last: Pace | None = None
    ended = 0.0
    for run in names[-_MOST_RUNS:]:
        with suppress(InvalidInput):
            record = gathered_of(store, run)
            if record.extraction is not None and record.made_by.written_at_unix_seconds > ended:
                last = Pace(run, _of_video(store, run, record), _of_image(store, run), _of_iteration(store, run))
                ended = record.made_by.written_at_unix_seconds
    return last


def _of_video(store: Store, run: str, record: GatherRecord) -> float | None:
    plan = find(store, layout.run_record(run, "plan"), PlanRecord)
    if plan is None or not plan.videos_new or record.extraction is None:
        return None
    return record.extraction.seconds / plan.videos_new


def _of_image(store: Store, run: str) -> float | None:
    pointer = find(store, layout.run_record(run, "pretrain"), PretrainPointer)
    for backbone in pointer.backbones.values() if pointer else ():
        record = find(store, layout.backbone(backbone, "record.json"), BackboneRecord)
        if record is not None and record.images_per_second > 0:
            return 1 / record.images_per_second
    return None


def _of_iteration(store: Store, run: str) -> float | None:
    pointer = find(store, layout.run_record(run, "evaluate-0"), EvaluationPointer)
    record = find(store, pointer.key, EvaluationRecord) if pointer else None
    iterations = record.made_by.settings["evaluate"]["detector"]["iterations"] if record else 0
    return record.seconds / iterations if record and iterations else None


def done_before(store: Store, run: str, settings: Settings, plan: PlanRecord) -> Mapping[str, float]:
    """Return how many stages of each kind an interrupted run has done, parts included; all are 0 where it begins.

    A damaged record is passed over, as the stage that reads it will name it. Raises Unavailable if the store cannot be
    reached.
    """
    prefix = f"{layout.shard_records(plan.recipe)}{plan.plan}/"
    keys = (item.key for item in store.list(prefix) if layout.is_record(item.key))
    parts = read_ahead(store, keys, ShardRecord, on_damage=lambda _: None)
    ended = len({row.video.id for _, part in parts for row in part.videos})
    pointers = layout.run_record(run, "evaluate-").removesuffix(".json")
    evaluated = sum(layout.is_record(item.key) for item in store.list(pointers))
    shards = plan.shards * ended / max(plan.videos_new, 1)
    return {EXTRACT: shards, PRETRAIN: _trained(store, run, settings), EVALUATE: evaluated}


def _trained(store: Store, run: str, settings: Settings) -> float:
    """The share of the seeds of a run's pretraining that have a backbone."""
    with suppress(InvalidInput):
        gathered = find(store, layout.run_record(run, "gather"), GatherRecord)
        if gathered is not None:
            seeds = settings.pretrain.all_seeds()
            backbones = [backbone_id_of(settings, gathered.dataset, seed) for seed in seeds]
            done = sum(store.head(layout.backbone(name, "record.json")) is not None for name in backbones)
            return done / len(seeds)
    return 0.0


class Stages:
    """Announces each stage of a run before it begins, with an estimate of what is left of the run.

    One shard is expected until `planned` says what the plan has decided on.
    """

    def __init__(self, progress: ProgressReport, *, draws: bool, evaluations: int = 1) -> None:
        self._progress = progress
        self._pace: Pace | None = None
        self._left: Counter[str] = Counter({"world": int(draws), "plan": 1, **_after_plan(1, evaluations)})
        self._seconds: dict[str, float | None] = {}
        self._done: dict[str, float] = {}
        self._number = 0

    def planned(
        self, settings: Settings, plan: PlanRecord, evaluations: int, pace: Pace | None, done: Mapping[str, float]
    ) -> None:
        """Set the stages after the plan: its shards, and one pretraining for each seed in one stage.

        `pace` is that of an earlier run; without one there is no estimate. `done` is that of `done_before`.
        """
        self._pace, self._done = pace, dict(done)
        images = settings.pretrain.iterations * settings.pretrain.batch_size * len(settings.pretrain.all_seeds())
        self._left |= _after_plan(plan.shards, evaluations)
        self._left[EXTRACT] = plan.shards  # fewer than expected where there is none
        if pace is not None:
            videos = plan.videos_new / max(plan.shards, 1)
            self._seconds = {
                EXTRACT: _times(pace.video, videos),
                PRETRAIN: _times(pace.image, images),
                EVALUATE: _times(pace.iteration, settings.evaluate.detector.iterations),
            }

    def without_training(self) -> None:
        """Leave out pretraining and evaluations."""
        del self._left[PRETRAIN], self._left[EVALUATE]

    def begin(self, stage: str) -> None:
        """Announce the next stage."""
        self._number += 1
        self._progress.stage(stage, self._number, self._number - 1 + self._left.total(), self._estimate())
        self._left[stage] -= 1
        self._done[stage] = max(self._done.get(stage, 0.0) - 1, 0.0)

    def _estimate(self) -> str:
        """What is left of the run, in words; empty where no earlier run has done the same kind of work."""
        left = {stage: self._left[stage] - self._done.get(stage, 0.0) for stage in (EXTRACT, PRETRAIN, EVALUATE)}
        kinds = [stage for stage, count in left.items() if count > 0]
        seconds = [self._seconds.get(stage) for stage in kinds]
        known = [value * left[stage] for stage, value in zip(kinds, seconds, strict=True) if value is not None]
        if self._pace is None or not known or len(known) < len(kinds):
            return ""
        return f"about {_in_words(sum(known))} left, at the pace of run {self._pace.run}"


def _after_plan(shards: int, evaluations: int) -> Counter[str]:
    """The numbers of stages after the plan."""
    return Counter({EXTRACT: shards, "gather": 1, PRETRAIN: 1, EVALUATE: evaluations, "report": 1})


def _times(pace: float | None, amount: float) -> float | None:
    return None if pace is None else pace * amount


def _in_words(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
