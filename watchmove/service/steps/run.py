"""Run: all steps one after the other on one machine, as on a laptop."""

from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict

from watchmove.service.records.datasets import DatasetRecord, GatherRecord
from watchmove.service.records.training import BackboneRecord, EvaluationRecord, evaluations_of
from watchmove.service.runner.runner import StepContext


class CompletedRun(BaseModel):
    """The records that one complete run has made, and the URI of its report."""

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


def run_all(context: StepContext, run: str, *, draw_videos: bool, draw_detection_set: bool) -> CompletedRun:
    """Draw the requested parts of the world, then plan, extract, gather, pretrain, evaluate and report.

    Raises the errors of the steps. Work committed before an error is kept, and the next call continues from it.
    """
    # Imported here, so that `CompletedRun` can be imported without loading the libraries of the steps.
    from watchmove.service.evaluation.detection_set import DetectionSet
    from watchmove.service.records.datasets import gathered_of
    from watchmove.service.steps.evaluate import evaluate
    from watchmove.service.steps.extract import extract
    from watchmove.service.steps.gather import gather
    from watchmove.service.steps.plan import plan
    from watchmove.service.steps.pretrain import pretrain
    from watchmove.service.steps.report import report
    from watchmove.service.steps.world import world

    if not draw_detection_set:
        # A missing detection set is reported now, not after hours of extraction.
        DetectionSet.at(context.settings)
    if draw_videos or draw_detection_set:
        world(context, videos=draw_videos, detection_set=draw_detection_set)
    # One after another, because each extraction already uses all cores.
    for shard in range(plan(context, run).shards):
        extract(context, run, shard)
    dataset = gather(context, run)
    backbones = pretrain(context, run)
    cells = range(len(evaluations_of(context.settings)))
    evaluations = tuple(evaluate(context, run, number) for number in cells)
    return CompletedRun(
        run=run,
        gathered=gathered_of(context.store, run),
        dataset=dataset,
        backbones=backbones,
        evaluations=evaluations,
        report=report(context, run),
    )
