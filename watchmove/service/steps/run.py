"""Run: all steps one after the other on one machine, as on a laptop."""

import re
from datetime import UTC, datetime

import structlog
from pydantic import BaseModel, ConfigDict

from watchmove.service.records import layout
from watchmove.service.records.datasets import DatasetRecord, GatherRecord
from watchmove.service.records.plans import PlanRecord
from watchmove.service.records.record import deciding, find
from watchmove.service.records.training import BackboneRecord, EvaluationRecord, evaluations_of
from watchmove.service.runner.events import log_event
from watchmove.service.runner.runner import StepContext
from watchmove.service.runner.tracing import span
from watchmove.service.steps.run_stages import EVALUATE, EXTRACT, PRETRAIN, Stages, done_before, pace_of_last_run
from watchmove.service.store.store import Store

_GIVEN_NAME = re.compile(r"\d{8}-\d{6}")
"""A name that `new_run_name` gives."""


class CompletedRun(BaseModel):
    """The records that one complete run has made, and the URI of its report.

    A run that ends without training has neither backbones nor evaluations.
    """

    model_config = ConfigDict(frozen=True)

    run: str
    gathered: GatherRecord
    dataset: DatasetRecord
    backbones: tuple[BackboneRecord, ...]
    evaluations: tuple[EvaluationRecord, ...]
    report: str


def new_run_name() -> str:
    """Return a name for a run that begins now: its date and time in UTC, to the second."""
    return datetime.now(UTC).strftime("%Y%m%d-%H%M%S")


def interrupted_run(context: StepContext) -> str | None:
    """Return the run without a name of its own that the next such run continues; None if that one begins anew.

    Of the runs of these settings it is the last one, if it has no report and planning now would list the same videos.
    Settings of the machine may differ. Raises the errors of `plan`.
    """
    from watchmove.service.steps.plan import is_current

    store, settings = context.store, deciding(context.settings.model_dump(mode="json"))
    runs = {item.key.split("/")[1] for item in store.list(layout.all_runs()) if item.key.endswith("/plan.json")}
    for run in sorted(filter(_GIVEN_NAME.fullmatch, runs), reverse=True):
        plan = find(store, layout.run_record(run, "plan"), PlanRecord)
        if plan is not None and deciding(plan.made_by.settings) == settings:
            return run if not _has_report(store, run) and is_current(context, plan) else None
    return None


def _has_report(store: Store, run: str) -> bool:
    # in one file only, where an earlier version wrote it
    return any(store.head(key) is not None for key in (layout.report(run), layout.single_file_report(run)))


def run_all(context: StepContext, run: str = "", *, draw_videos: bool, draw_detection_set: bool) -> CompletedRun:
    """Draw the requested parts of the world, then plan, extract, gather, pretrain, evaluate and report.

    Without a name, the run is the interrupted one of the same settings, or else has a new name. It neither pretrains
    nor evaluates if too few frames are new, by `gather.min_new_frames`. Raises the errors of the steps. Work committed
    before an error is kept, and the next call continues from it.
    """
    # Imported here, so that `CompletedRun` can be imported without loading the libraries of the steps.
    from watchmove.service.evaluation.detection_set import DetectionSet
    from watchmove.service.steps.world import world

    if not draw_detection_set:
        # A missing detection set is reported now, not after hours of extraction.
        DetectionSet.at(context.settings)
    draws = draw_videos or draw_detection_set
    stages = Stages(context.progress, draws=draws, evaluations=len(evaluations_of(context.settings)))
    if draws:
        stages.begin("world")
        world(context, videos=draw_videos, detection_set=draw_detection_set)
    name = run or _name(context)
    with span("run", context.store.uri, name, {}):
        done = _run_steps(context, name, stages)
        log_event("run", run=name, dataset=done.dataset.dataset, frames=done.dataset.kept_frames, report=done.report)
    return done


def _run_steps(context: StepContext, run: str, stages: Stages) -> CompletedRun:
    """All steps of a run, from its plan to its report."""
    from watchmove.service.records.datasets import gathered_of
    from watchmove.service.steps.evaluate import evaluate
    from watchmove.service.steps.extract import extract
    from watchmove.service.steps.gather import gather
    from watchmove.service.steps.plan import plan
    from watchmove.service.steps.pretrain import pretrain
    from watchmove.service.steps.report import report

    stages.begin("plan")
    planned = plan(context, run)
    # Only now, as drawing makes a store that is not there yet.
    pace, done = pace_of_last_run(context.store), done_before(context.store, run, context.settings, planned)
    stages.planned(context.settings, planned, len(evaluations_of(context.settings)), pace, done)
    # One after another, because each extraction already uses all cores.
    for shard in range(planned.shards):
        stages.begin(EXTRACT)
        extract(context, run, shard)
    stages.begin("gather")
    dataset = gather(context, run)
    gathered = gathered_of(context.store, run)
    backbones: tuple[BackboneRecord, ...] = ()
    evaluations: list[EvaluationRecord] = []
    if gathered.no_training:
        stages.without_training()
    else:
        stages.begin(PRETRAIN)
        backbones = pretrain(context, run)
        for number in range(len(evaluations_of(context.settings))):
            stages.begin(EVALUATE)
            evaluations.append(evaluate(context, run, number))
    stages.begin("report")
    return CompletedRun(
        run=run,
        gathered=gathered,
        dataset=dataset,
        backbones=backbones,
        evaluations=tuple(evaluations),
        report=report(context, run),
    )


def _name(context: StepContext) -> str:
    """The name of a run that is given none: that of the interrupted one, or a new one."""
    found = interrupted_run(context)
    if found is None:
        return new_run_name()
    structlog.get_logger().info("continues an interrupted run; --run NAME begins another", run=found)
    return found
