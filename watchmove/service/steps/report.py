"""Report: one self-contained HTML page with a run's input, its kept and rejected frames, and its results."""

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import structlog
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure

from watchmove.pipeline.dataset.shard import Sample, SamplePlace, index_shard, read_sample, read_shard
from watchmove.service.records import layout
from watchmove.service.records.datasets import DatasetRecord, GatherRecord, dataset_of, evenly_chosen, gathered_of
from watchmove.service.records.plans import PlanRecord
from watchmove.service.records.record import find, need, origin
from watchmove.service.records.training import BackboneRecord, EvaluationRecord, PretrainPointer, backbone_id_of
from watchmove.service.report.champion import promote
from watchmove.service.report.comparison import pretraining_facts
from watchmove.service.report.evaluated_cells import classification_records, evaluation_records
from watchmove.service.report.figures import frames_figure, freezing_figure
from watchmove.service.report.growth import growth
from watchmove.service.report.images import CaptionedImage, curve_image, detection_image, image_of, svg, svg_uri
from watchmove.service.report.result import Growth, PretrainingFacts, RunResult, classification_rows, result_rows
from watchmove.service.runner.events import log_step
from watchmove.service.runner.runner import StepContext
from watchmove.service.settings.settings import settings_hash
from watchmove.service.store.store import Store

Item = TypeVar("Item")

KEPT_IMAGES = 24
"""Most kept frames that a page shows. Set by hand; not tuned."""
REJECTED_IMAGES = 16
"""Most rejected frames that a page shows. Set by hand; not tuned."""


class _Row(NamedTuple):
    """One evaluation as the table shows it."""

    name: str
    mean_ap_11_point: float | None
    mean_ap_area: float | None
    record: EvaluationRecord


@log_step
def report(context: StepContext, run: str) -> str:
    """Write the run's result and its report, and return the report's URI.

    Both depend on the records alone, so the step can be repeated at any time. A run that ends without training has no
    result, and its report says why.

    Raises:
        InvalidInput: a step of the run has not been done.
        Unavailable: the store cannot be reached.
    """
    store = context.store
    plan = need(store, layout.run_record(run, "plan"), PlanRecord, "plan")
    dataset = dataset_of(store, run)
    gathered = gathered_of(store, run)
    # The steps themselves train a run that they are called for, whatever its record of gather says.
    pretrained = find(store, layout.run_record(run, "pretrain"), PretrainPointer) is not None
    trains = pretrained or not gathered.no_training
    page = (
        _environment()
        .get_template("report.html.j2")
        .render(
            run=run,
            plan=plan,
            dataset=dataset,
            gathered=gathered,
            trains=trains,
            kept=_images(_kept_samples(store, context.scratch, dataset))[:KEPT_IMAGES],
            rejected=_images(_rejected_samples(store, context.scratch, gathered.audit_keys)),
            settings_hash=settings_hash(context.settings),
            **(_trained(context, run, plan, dataset, gathered) if trains else {}),
        )
    )
    store.write(layout.report(run), page.encode())
    return f"{store.uri}/{layout.report(run)}"


def _trained(
    context: StepContext, run: str, plan: PlanRecord, dataset: DatasetRecord, gathered: GatherRecord
) -> dict[str, Any]:
    """Write the run's result, and return what the page shows of pretraining and evaluations."""
    store = context.store
    backbones = _backbones(context, dataset)
    evaluated = dict(evaluation_records(store, run, context.settings, dataset.dataset))
    rows = [_row(record) for record in evaluated.values()]
    facts = pretraining_facts(plan, gathered, dataset, backbones, list(evaluated.values()))
    result, grown = _write_result(context, run, dataset, facts, evaluated)
    champion, verdict = promote(context.settings, store, run, backbones, list(evaluated.values()))
    structlog.get_logger().info("champion", verdict=verdict)
    return {
        "backbone": backbones[0],
        "backbones": backbones,
        "rows": rows,
        "summary": result.rows,
        "layers": result.classification,
        "growth": grown,
        "freezing_figure": _figure(store, run, "freezing", freezing_figure(result.rows)),
        "frames_figure": _figure(store, run, "frames", frames_figure(grown)),
        "champion": champion,
        "verdict": verdict,
        "classes": sorted({name for row in rows for name in row.record.per_class}),
        "curves": [(record.seed, _curve(record)) for record in backbones],
        "bars": _bars(rows),
    }


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


def _figure(store: Store, run: str, name: str, figure: Figure | None) -> str:
    """Write a figure next to the result, and return it as a data URI; "" where there is no figure."""
    if figure is None:
        return ""
    data = svg(figure)
    store.write(layout.figure(run, name), data)
    return svg_uri(data)


def _row(record: EvaluationRecord) -> _Row:
    cell = record.evaluation
    frozen = f", conv1–{cell.freeze_through} frozen" if cell.freeze_through else ""
    return _Row(f"{cell.trunk}{frozen}, seed {cell.seed}", record.mean_ap_11_point, record.mean_ap_area, record)


def _kept_samples(store: Store, scratch: Path, dataset: DatasetRecord) -> Iterator[Sample]:
    """Kept frames of evenly spaced shards of the snapshot, each shard's from as many videos as possible."""
    shards = evenly_chosen(dataset.shards, KEPT_IMAGES)
    # Rounded up, so that the page is full; the caller cuts the excess.
    quota = -(-KEPT_IMAGES // max(len(shards), 1))
    for shard in shards:
        with _local_copy(store, scratch, shard.key) as path:
            by_video: dict[Hashable, list[SamplePlace]] = {}
            for place in index_shard(path) if path is not None else ():
                by_video.setdefault(place.key.rpartition("-")[0], []).append(place)  # a key is VIDEO-FRAME
            # The shard's tar may hold videos that are no longer listed, which the snapshot leaves out.
            places_by_video = [places for video, places in by_video.items() if video not in shard.left_out]
            # Inside the block, because leaving it removes the local copy that the samples are read from.
            yield from map(read_sample, _round_robin(places_by_video, quota))


def _rejected_samples(store: Store, scratch: Path, audits: Sequence[str]) -> list[Sample]:
    """Rejected frames from the tars that extraction keeps for inspection, of as many reasons as possible."""
    most = -(-REJECTED_IMAGES // max(len(audits), 1))
    by_reason: dict[Hashable, list[Sample]] = {}
    for key in audits:
        taken: Counter[Hashable] = Counter()
        with _local_copy(store, scratch, key) as path:
            for sample in read_shard(path) if path is not None else ():
                reason = sample.metadata.get("reject_reason")
                taken[reason] += 1
                if taken[reason] <= most:
                    by_reason.setdefault(reason, []).append(sample)
    return _round_robin(list(by_reason.values()), REJECTED_IMAGES)


@contextmanager
def _local_copy(store: Store, scratch: Path, key: str) -> Iterator[Path | None]:
    """A local path of an object, None where it is missing; a copy in `scratch` is removed afterwards."""
    copy = scratch / "report.tar"
    try:
        yield store.local(key, copy)
    finally:
        # A local store yields the object's own file, which is not removed: there is no copy then.
        copy.unlink(missing_ok=True)


def _round_robin(groups: Sequence[list[Item]], most: int) -> list[Item]:
    """Up to `most` items, one from each group in turn."""
    queues = [list(group) for group in groups]
    chosen: list[Item] = []
    while len(chosen) < most and any(queues):
        chosen += [queue.pop(len(queue) // 2) for queue in queues if queue]
    return chosen[:most]


def _images(samples: Iterable[Sample]) -> list[CaptionedImage]:
    return [image for sample in samples if (image := image_of(sample)) is not None]


def _curve(backbone: BackboneRecord) -> str:
    loss = [(point.iteration, point.loss) for point in backbone.curve]
    held_out = [
        (point.iteration, point.validation_score) for point in backbone.curve if point.validation_score is not None
    ]
    return curve_image(loss, held_out, backbone.score_name)


def _bars(rows: Sequence[_Row]) -> str:
    known = [row for row in rows if row.mean_ap_11_point is not None]
    return detection_image([row.name for row in known], [row.mean_ap_11_point or 0.0 for row in known])


def _environment() -> Environment:
    # Titles and licences in a report come from lists of videos, which are not trusted, so all text is escaped.
    environment = Environment(
        loader=PackageLoader("watchmove.service.report"),
        autoescape=True,
        undefined=StrictUndefined,  # a misspelt name fails instead of printing nothing
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["figure"] = lambda value: "–" if value is None else f"{value:.3f}"
    # Two significant digits: more would suggest a precision that a forecast does not have.
    environment.filters["rough"] = lambda value: f"{float(f'{value:.2g}'):,.0f}"
    return environment
