"""Report: one page that stands alone, with what went in, what was seen moving, and what came of it."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined

from pipeline.tar_dataset import Sample, read_shard
from service import layout
from service.outcomes import ShardRecord
from service.pictures import Picture, curve_picture, detection_picture, picture_of
from service.records import need
from service.runner import StepContext
from service.settings import settings_hash
from service.steps.gather import DatasetRecord, dataset_of, gathered_of
from service.steps.plan import PlanRecord, shard_records
from service.training_records import (
    BackboneRecord,
    EvaluationPointer,
    EvaluationRecord,
    backbone_id_of,
    evaluations_of,
)

KEPT_PICTURES, REJECTED_PICTURES = 24, 16


class _Row(NamedTuple):
    """One evaluation as the table shows it."""

    name: str
    mean_ap_11_point: float | None
    mean_ap_area: float | None
    record: EvaluationRecord


def report(context: StepContext, run: str) -> str:
    """Write the run's report and return its URI. The page is a function of the records, so writing it again is free.

    Raises:
        InvalidInput: a step of the run has not been done.
        Unavailable: the store cannot be reached.
    """
    store = context.store
    plan = need(store, layout.run_record(run, "plan"), PlanRecord, "plan")
    dataset = dataset_of(store, run)
    backbone_key = layout.backbone(backbone_id_of(context.settings, dataset.dataset), "record.json")
    backbone = need(store, backbone_key, BackboneRecord, "pretrain")
    rows = list(_rows(context, run))
    shards = list(shard_records(store, plan.recipe))
    page = (
        _environment()
        .get_template("report.html.j2")
        .render(
            run=run,
            plan=plan,
            dataset=dataset,
            gathered=gathered_of(store, run),
            backbone=backbone,
            rows=rows,
            classes=sorted({name for row in rows for name in row.record.per_class}),
            kept=_pictures(_spread(_kept(context, dataset), KEPT_PICTURES)),
            rejected=_pictures(_spread(_rejected(context, shards), REJECTED_PICTURES)),
            curve=_curve(backbone),
            bars=_bars(rows),
            seconds_of_extraction=sum(shard.seconds for shard in shards),
            settings_hash=settings_hash(context.settings),
        )
    )
    store.write(layout.report(run), page.encode())
    return f"{store.uri}/{layout.report(run)}"


def _rows(context: StepContext, run: str) -> Iterator[_Row]:
    for number, cell in enumerate(evaluations_of(context.settings.evaluate)):
        key = layout.run_record(run, f"evaluate-{number}")
        pointer = need(context.store, key, EvaluationPointer, "evaluate")
        record = need(context.store, pointer.key, EvaluationRecord, "evaluate")
        frozen = f", conv1–{cell.freeze_through} frozen" if cell.freeze_through else ""
        name = f"{cell.initialisation}{frozen}, seed {cell.seed}"
        yield _Row(name, record.mean_ap_11_point, record.mean_ap_area, record)


def _kept(context: StepContext, dataset: DatasetRecord) -> Iterator[list[Sample]]:
    """Kept frames, a list for each video of the snapshot."""
    for shard in dataset.shards:
        path = context.store.local(shard.key, context.scratch / f"report-{shard.sha256}.tar")
        if path is not None:
            by_video: dict[object, list[Sample]] = {}
            for sample in read_shard(path):
                if sample.metadata.get("video_id") not in shard.left_out:
                    by_video.setdefault(sample.metadata.get("video_id"), []).append(sample)
            yield from by_video.values()


def _rejected(context: StepContext, shards: Sequence[ShardRecord]) -> Iterator[list[Sample]]:
    """Rejected frames kept for looking at, a list for each reason."""
    by_reason: dict[object, list[Sample]] = {}
    for number, shard in enumerate(shards):
        path = context.store.local(shard.audit_key, context.scratch / f"audit-{number}.tar")
        for sample in read_shard(path) if path is not None else ():
            by_reason.setdefault(sample.metadata.get("reject_reason"), []).append(sample)
    yield from by_reason.values()


def _spread(groups: Iterable[list[Sample]], most: int) -> list[Sample]:
    """Up to `most` samples, dealt out group by group so that every group is seen before any is seen twice."""
    queues = [list(group) for group in groups]
    chosen: list[Sample] = []
    while len(chosen) < most and any(queues):
        chosen += [queue.pop(len(queue) // 2) for queue in queues if queue]
    return chosen[:most]


def _pictures(samples: Sequence[Sample]) -> list[Picture]:
    return [picture for sample in samples if (picture := picture_of(sample)) is not None]


def _curve(backbone: BackboneRecord) -> str:
    loss = [(point.iteration, point.loss) for point in backbone.curve]
    held_out = [(p.iteration, p.validation_iou) for p in backbone.curve if p.validation_iou is not None]
    return curve_picture(loss, held_out)


def _bars(rows: Sequence[_Row]) -> str:
    known = [row for row in rows if row.mean_ap_11_point is not None]
    return detection_picture([row.name for row in known], [row.mean_ap_11_point or 0.0 for row in known])


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("service"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["figure"] = lambda value: "–" if value is None else f"{value:.3f}"
    return environment
