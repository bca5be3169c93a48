"""Report: one page that stands alone, with what went in, what was seen moving, and what came of it."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar

from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure

from watchmove.pipeline.dataset.shard import Sample, SamplePlace, index_shard, read_sample, read_shard
from watchmove.service.records import layout
from watchmove.service.records.datasets import DatasetRecord, dataset_of, evenly_chosen, gathered_of
from watchmove.service.records.plans import PlanRecord
from watchmove.service.records.record import need, origin
from watchmove.service.records.training import (
    BackboneRecord,
    EvaluationRecord,
    backbone_id_of,
)
from watchmove.service.report.champion import promote
from watchmove.service.report.figures import frames_figure, freezing_figure
from watchmove.service.report.growth import growth, pretraining_facts
from watchmove.service.report.images import CaptionedImage, curve_image, detection_image, image_of, svg, svg_uri
from watchmove.service.report.result import (
    RunResult,
    classification_records,
    classification_rows,
    evaluation_records,
    result_rows,
)
from watchmove.service.runner.runner import StepContext
from watchmove.service.settings.settings import settings_hash
from watchmove.service.store.store import Store

Item = TypeVar("Item")

KEPT_IMAGES, REJECTED_IMAGES = 24, 16


class _Row(NamedTuple):
    """One evaluation as the table shows it."""

    name: str
    mean_ap_11_point: float | None
    mean_ap_area: float | None
    record: EvaluationRecord


def report(context: StepContext, run: str) -> str:
    """Write the run's result and its report, and return the report's URI.

    Both are functions of the records, so writing them again is free.

    Raises:
        InvalidInput: a step of the run has not been done.
        Unavailable: the store cannot be reached.
    """
    store = context.store
    plan = need(store, layout.run_record(run, "plan"), PlanRecord, "plan")
    dataset = dataset_of(store, run)
    backbone_key = layout.backbone(backbone_id_of(context.settings, dataset.dataset), "record.json")
    backbone = need(store, backbone_key, BackboneRecord, "pretrain")
    settings = context.settings.evaluate
    evaluated = dict(evaluation_records(store, run, settings, backbone.backbone))
    rows = [_row(record) for record in evaluated.values()]
    made_by = origin(context.settings, {f"{store.uri}/{key}": record.backbone for key, record in evaluated.items()})
    summary = result_rows(list(evaluated.values()))
    layers = classification_rows(list(classification_records(store, run, settings)))
    result = RunResult(
        made_by=made_by,
        run=run,
        rows=summary,
        evaluation_keys=tuple(evaluated),
        classification=layers,
        pretraining=pretraining_facts(backbone, dataset, list(evaluated.values())),
    )
    grown = growth(store, result, settings.supervised)
    result = result.model_copy(update={"growth": grown})
    store.write(layout.run_record(run, "result"), result.model_dump_json(indent=1).encode())
    champion, verdict = promote(context.settings, store, run, backbone, list(evaluated.values()))
    gathered = gathered_of(store, run)
    page = (
        _environment()
        .get_template("report.html.j2")
        .render(
            run=run,
            plan=plan,
            dataset=dataset,
            gathered=gathered,
            backbone=backbone,
            rows=rows,
            summary=summary,
            layers=layers,
            growth=grown,
            freezing_figure=_figure(store, run, "freezing", freezing_figure(summary)),
            frames_figure=_figure(store, run, "frames", frames_figure(grown)),
            champion=champion,
            verdict=verdict,
            classes=sorted({name for row in rows for name in row.record.per_class}),
            kept=_images(_kept(context, dataset))[:KEPT_IMAGES],
            rejected=_images(_rejected(context, gathered.audit_keys)),
            curve=_curve(backbone),
            bars=_bars(rows),
            settings_hash=settings_hash(context.settings),
        )
    )
    store.write(layout.report(run), page.encode())
    return f"{store.uri}/{layout.report(run)}"


def _figure(store: Store, run: str, name: str, figure: Figure | None) -> str:
    """A figure as a data URI, and as a file beside the result; empty where there is none to draw."""
    if figure is None:
        return ""
    data = svg(figure)
    store.write(layout.figure(run, name), data)
    return svg_uri(data)


def _row(record: EvaluationRecord) -> _Row:
    cell = record.evaluation
    frozen = f", conv1–{cell.freeze_through} frozen" if cell.freeze_through else ""
    return _Row(
        f"{cell.initialisation}{frozen}, seed {cell.seed}", record.mean_ap_11_point, record.mean_ap_area, record
    )


def _kept(context: StepContext, dataset: DatasetRecord) -> Iterator[Sample]:
    """Kept frames from shards of all over the snapshot, and in each from as many videos as may be."""
    shards = evenly_chosen(dataset.shards, KEPT_IMAGES)
    quota = -(-KEPT_IMAGES // max(len(shards), 1))
    for shard in shards:
        with _at_hand(context, shard.key) as path:
            by_video: dict[object, list[SamplePlace]] = {}
            for place in index_shard(path) if path is not None else ():
                by_video.setdefault(place.key.rpartition("-")[0], []).append(place)
            belonging = [places for video, places in by_video.items() if video not in shard.left_out]
            yield from map(read_sample, _dealt(belonging, quota))


def _rejected(context: StepContext, audits: Sequence[str]) -> Iterator[Sample]:
    """Rejected frames kept for looking at, of as many reasons as may be."""
    most = -(-REJECTED_IMAGES // max(len(audits), 1))
    by_reason: dict[object, list[Sample]] = {}
    for key in audits:
        taken: Counter[object] = Counter()
        with _at_hand(context, key) as path:
            for sample in read_shard(path) if path is not None else ():
                reason = sample.metadata.get("reject_reason")
                taken[reason] += 1
                if taken[reason] <= most:
                    by_reason.setdefault(reason, []).append(sample)
    return iter(_dealt(list(by_reason.values()), REJECTED_IMAGES))


@contextmanager
def _at_hand(context: StepContext, key: str) -> Iterator[Path | None]:
    """A local copy of an object, gone afterwards."""
    copy = context.scratch / "report.tar"
    try:
        yield context.store.local(key, copy)
    finally:
        copy.unlink(missing_ok=True)


def _dealt(groups: Sequence[list[Item]], most: int) -> list[Item]:
    """Up to `most` things, dealt out group by group so that every group is seen before any is seen twice."""
    queues = [list(group) for group in groups]
    chosen: list[Item] = []
    while len(chosen) < most and any(queues):
        chosen += [queue.pop(len(queue) // 2) for queue in queues if queue]
    return chosen[:most]


def _images(samples: Iterable[Sample]) -> list[CaptionedImage]:
    return [image for sample in samples if (image := image_of(sample)) is not None]


def _curve(backbone: BackboneRecord) -> str:
    loss = [(point.iteration, point.loss) for point in backbone.curve]
    held_out = [(p.iteration, p.validation_score) for p in backbone.curve if p.validation_score is not None]
    return curve_image(loss, held_out, backbone.score_name)


def _bars(rows: Sequence[_Row]) -> str:
    known = [row for row in rows if row.mean_ap_11_point is not None]
    return detection_image([row.name for row in known], [row.mean_ap_11_point or 0.0 for row in known])


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("watchmove.service.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["figure"] = lambda value: "–" if value is None else f"{value:.3f}"
    environment.filters["rough"] = lambda value: f"{float(f'{value:.2g}'):,.0f}"
    return environment
