"""States of the newest runs and of their steps, as far as records tell them, and the failures of steps."""

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
from prometheus_client.core import Metric

from watchmove.pipeline.errors import InvalidInput
from watchmove.service.records import layout
from watchmove.service.records.attempts import Attempts, AttemptTable
from watchmove.service.records.plans import PlanRecord
from watchmove.service.records.record import StepFailure
from watchmove.service.records.run_settings import recorded_settings
from watchmove.service.records.training import EvaluationPointer, evaluations_of
from watchmove.service.runner import metrics
from watchmove.service.watching.exporting.reading import Reading, newest_plans, run_of

State = Literal["waiting", "begun", "done", "left-out", "failed"]
"""`begun`: a part of the work has been done. `left-out`: the run ends without training, by `gather.min_new_frames`."""


def state_metrics(reading: Reading) -> Iterator[Metric]:
    """The metrics of states and failures."""
    declared = (metrics.RUN_STATE, metrics.RUN_STEP_STATE, metrics.RUN_FAILURE_AT)
    of_run, of_step, failed_at = (d.family() for d in declared)
    for run, plan in newest_plans(reading).items():
        failures = failures_of(reading, run)
        steps = step_states(reading, run, plan)
        of_run.add_metric([run, _state(steps)], 1)
        for step, state in steps.items():
            of_step.add_metric([run, step, state], 1)
        times: dict[tuple[str, str], float] = {}
        for failure in failures:
            at = failure.made_by.written_at_unix_seconds
            times[failure.step, failure.cause] = max(at, times.get((failure.step, failure.cause), at))
        for (step, cause), at in times.items():
            failed_at.add_metric([run, step, cause], at)
    yield from (of_run, of_step, failed_at)


def step_states(reading: Reading, run: str, plan: PlanRecord) -> dict[str, State]:
    """The states of a run's steps after its plan, in their order."""
    return _steps(reading, run, plan) | {failure.step: "failed" for failure in failures_of(reading, run)}


def ended_videos(table: AttemptTable, plan: PlanRecord) -> int:
    """The number of videos that a plan planned and that have ended, each counted once."""
    return len(np.unique(table.video[table.of_plan(plan.plan)]))


def failures_of(reading: Reading, run: str) -> list[StepFailure]:
    """The failures of a run's steps, without those that its result has made up for."""
    result = reading.results.get(layout.run_record(run, "result"))
    since = result.made_by.written_at_unix_seconds if result is not None else 0.0
    failures = (failure for key, failure in reading.failures.items() if run_of(key) == run)
    return [failure for failure in failures if failure.made_by.written_at_unix_seconds > since]


def _state(steps: dict[str, State]) -> State:
    """The state of a run, from those of its steps."""
    states = set(steps.values())
    if "failed" in states:
        return "failed"
    if states <= {"done", "left-out"}:
        return "done"
    return "waiting" if states == {"waiting"} else "begun"


def _steps(reading: Reading, run: str, plan: PlanRecord) -> dict[str, State]:
    """The states of the steps after the plan, without regard to failures."""
    gathered = reading.gathered.get(layout.run_record(run, "gather"))
    pretrained = layout.run_record(run, "pretrain") in reading.pretrained
    without: State = "left-out" if gathered is not None and gathered.no_training and not pretrained else "waiting"
    return {
        "extract": _extract(reading, plan),
        "gather": "done" if gathered is not None else "waiting",
        "pretrain": "done" if pretrained else without,
        "evaluate": _evaluate(reading, run) or without,
        "report": "done" if reading.reports & {layout.report(run), layout.single_file_report(run)} else "waiting",
    }


def _extract(reading: Reading, plan: PlanRecord) -> State:
    table = reading.tables.get(plan.recipe, Attempts().table())
    ended = ended_videos(table, plan)
    if ended >= plan.videos_new:
        return "done"
    return "begun" if ended else "waiting"


def _evaluate(reading: Reading, run: str) -> State | None:
    """The state of a run's evaluations; None if there is none."""
    if layout.run_record(run, "result") in reading.results:
        return "done"
    pointers = [pointer for key, pointer in reading.evaluated.items() if run_of(key) == run]
    if not pointers:
        return None
    count = evaluations_in(pointers, run)
    return "done" if count is not None and len(pointers) >= count else "begun"


def evaluations_in(pointers: Sequence[EvaluationPointer], run: str) -> int | None:
    """The number of evaluations that the settings of the newest one make; None if they are not valid."""
    newest = max(pointers, key=lambda pointer: pointer.made_by.written_at_unix_seconds)
    try:
        return len(evaluations_of(recorded_settings(newest.made_by, run)))
    except InvalidInput:
        return None
