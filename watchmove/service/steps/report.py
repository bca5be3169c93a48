"""Report: a run's result, and its page with what came in, what was kept, and what was learnt from it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import structlog
from matplotlib.figure import Figure

from watchmove.service.records import layout
from watchmove.service.records.datasets import DatasetRecord, GatherRecord, dataset_of, gathered_of
from watchmove.service.records.plans import PlanRecord
from watchmove.service.records.record import find, need, origin
from watchmove.service.records.training import BackboneRecord, EvaluationRecord, PretrainPointer, backbone_id_of
from watchmove.service.report.champion import promote
from watchmove.service.report.comparison import pretraining_facts
from watchmove.service.report.evaluated_cells import classification_records, evaluation_records
from watchmove.service.report.figures import frames_figure, freezing_figure
from watchmove.service.report.growth import growth
from watchmove.service.report.images import svg
from watchmove.service.report.result import Growth, PretrainingFacts, RunResult, classification_rows, result_rows
from watchmove.service.report.run_page.confidence import confidence_figure, verdicts_of
from watchmove.service.report.run_page.failed_videos import failed_names
from watchmove.service.report.run_page.frames import kept_frames, rejected_frames, samples_of, stages_of_a_frame
from watchmove.service.report.run_page.page import bars, chart, evaluation_row, images_of, rendered, training_curve
from watchmove.service.report.run_page.page_files import PageFiles, write_folder, write_page
from watchmove.service.report.run_page.predictions import PredictionsTable, predictions_table
from watchmove.service.report.run_page.sentences import transfer_sentence, yield_sentence
from watchmove.service.report.run_page.stages import stages_figure
from watchmove.service.report.run_page.timeline import timeline_of
from watchmove.service.runner.events import log_step
from watchmove.service.runner.runner import StepContext
from watchmove.service.runner.tracing import add_to_span
from watchmove.service.settings.settings import settings_hash
from watchmove.service.steps.failures import record_failure
from watchmove.service.store.store import Store


@log_step
@record_failure
def report(context: StepContext, run: str, *, single_file: bool = False, folder: Path | None = None) -> str:
    """Write the run's result and its report, a folder, and return the URI of the report's page.

    Both depend on the records alone, so the step can be repeated at any time. A run that ends without training has no
    result, and its report says why. With `single_file`, the page is also written as one file with its pictures inside,
    and the URI is that of this file. With `folder`, a folder of this machine has the page and its pictures too.

    Raises:
        InvalidInput: a step of the run has not been done, or `folder` cannot be written to.
        Unavailable: the store cannot be reached.
    """
    store, files = context.store, PageFiles()
    page = rendered(_facts(context, run, files))
    key = write_page(store, run, page, files)
    if folder is not None:
        write_folder(folder, page, files)
    if single_file:
        key = layout.single_file_report(run)
        store.write(key, files.embedded(page).encode())
    return f"{store.uri}/{key}"


def _facts(context: StepContext, run: str, files: PageFiles) -> dict[str, Any]:
    """What the page shows, by the names of its template; pictures are added to `files`."""
    store = context.store
    plan = need(store, layout.run_record(run, "plan"), PlanRecord, "plan")
    dataset = dataset_of(store, run)
    gathered = gathered_of(store, run)
    # The steps themselves train a run that they are called for, whatever its record of gather says.
    pretrained = find(store, layout.run_record(run, "pretrain"), PretrainPointer) is not None
    trains = pretrained or not gathered.no_training
    # Only `forget` makes the counts of a plan smaller; it marks the snapshots that have lost frames.
    has_fewer_videos = plan.videos_listed < gathered.videos_listed
    works_forgotten = has_fewer_videos or store.head(layout.learnt_dataset(dataset.dataset)) is not None
    rejected = rejected_frames(store, context.scratch, gathered.audit_keys)
    stages = stages_of_a_frame(store, context.scratch, gathered.stages_keys)
    facts = {
        "run": run,
        "plan": plan,
        "dataset": dataset,
        "gathered": gathered,
        "trains": trains,
        "yield_sentence": yield_sentence(gathered, dataset, works_forgotten=works_forgotten),
        "failed": failed_names(store, gathered.failed),
        "kept": images_of(files, kept_frames(store, dataset)),
        "stages": stages_figure(files, stages, context.settings.pretrain),
        "rejected": {reason: images_of(files, samples) for reason, samples in rejected.items()},
        "confidence_figure": chart(files, confidence_figure(verdicts_of(store, gathered.audit_keys))),
        "timeline": timeline_of(plan, gathered, (), ()),
        "settings_hash": settings_hash(context.settings),
    }
    return facts | _trained(context, run, plan, dataset, gathered, files) if trains else facts


def _trained(
    context: StepContext,
    run: str,
    plan: PlanRecord,
    dataset: DatasetRecord,
    gathered: GatherRecord,
    files: PageFiles,
) -> dict[str, Any]:
    """Write the run's result, and return what the page shows of pretraining and evaluations."""
    store = context.store
    backbones = _backbones(context, dataset)
    evaluated = dict(evaluation_records(store, run, context.settings, dataset.dataset))
    records = list(evaluated.values())
    rows = [evaluation_row(record) for record in records]
    facts = pretraining_facts(plan, gathered, dataset, backbones, records)
    result, grown = _write_result(context, run, dataset, facts, evaluated)
    champion, verdict = promote(context.settings, store, run, backbones, records)
    structlog.get_logger().info("champion", verdict=verdict)
    add_to_span("champion", {"backbone": champion.backbone if champion else None, "verdict": verdict})
    return {
        "transfer_sentence": transfer_sentence(records),
        "timeline": timeline_of(plan, gathered, backbones, records),
        "backbone": backbones[0],
        "backbones": backbones,
        "rows": rows,
        "summary": result.rows,
        "layers": result.classification,
        "growth": grown,
        "freezing_figure": _figure(store, run, "freezing", freezing_figure(result.rows), files),
        "frames_figure": _figure(store, run, "frames", frames_figure(grown), files),
        "champion": champion,
        "verdict": verdict,
        "classes": sorted({name for row in rows for name in row.record.per_class}),
        "curves": [(record.seed, training_curve(files, record)) for record in backbones],
        "bars": bars(files, rows),
        "predictions": _predictions(context, backbones[0], files),
    }


def _predictions(context: StepContext, backbone: BackboneRecord, files: PageFiles) -> PredictionsTable | None:
    """The table of predictions that the training of a backbone has kept, if any."""
    key = backbone.predictions_key
    return predictions_table(files, samples_of(context.store, context.scratch, key)) if key else None


def _backbones(context: StepContext, dataset: DatasetRecord) -> list[BackboneRecord]:
    """The record of the backbone of each seed of pretraining."""
    keys = (
        layout.backbone(backbone_id_of(context.settings, dataset.dataset, seed), "record.json")
        for seed in context.settings.pretrain.all_seeds()
    )
    return [need(context.store, key, BackboneRecord, "pretrain") for key in keys]


def _write_result(
    context: StepContext,
    run: str,
    dataset: DatasetRecord,
    facts: PretrainingFacts,
    evaluated: Mapping[str, EvaluationRecord],
) -> tuple[RunResult, Growth]:
    """Write and return the run's result, given its evaluations by their keys, and the growth that is part of it."""
    store = context.store
    records = list(evaluated.values())
    result = RunResult(
        made_by=origin(context.settings, {f"{store.uri}/{key}": record.backbone for key, record in evaluated.items()}),
        run=run,
        rows=result_rows(records),
        evaluation_keys=tuple(evaluated),
        classification=classification_rows(list(classification_records(store, run, context.settings, dataset.dataset))),
        pretraining=facts,
    )
    # The growth includes this run's own figures, so the result is made without it first.
    grown = growth(store, result, context.settings.evaluate.supervised)
    result = result.model_copy(update={"growth": grown})
    store.write(layout.run_record(run, "result"), result.model_dump_json(indent=1).encode())
    return result, grown


def _figure(store: Store, run: str, name: str, figure: Figure | None, files: PageFiles) -> str:
    """Write a figure next to the result, and return its file beside the page; "" where there is no figure."""
    if figure is None:
        return ""
    data = svg(figure)
    store.write(layout.figure(run, name), data)
    return files.add(data, ".svg")
