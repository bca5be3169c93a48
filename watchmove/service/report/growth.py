"""Growth of mean average precision with the number of pretraining frames, over comparable backbones of a store."""

from collections.abc import Iterator, Sequence

import structlog

from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.statistics.forecast import fit_frames, forecast
from watchmove.service.records.datasets import DatasetRecord
from watchmove.service.records.record import find
from watchmove.service.records.training import PRETRAINED, BackboneRecord, EvaluationRecord
from watchmove.service.report.champion import protocol_of
from watchmove.service.report.result import Growth, GrowthPoint, PretrainingFacts, ResultRow, RunResult
from watchmove.service.settings.settings import settings_hash
from watchmove.service.store.store import Store

_LOG = structlog.get_logger()
_MAY_DIFFER = (
    *("iterations", "seed", "device", "max_device_batch", "crop_on", "compile"),
    *("validate_every_iterations", "validation_frames", "checkpoint_every_iterations", "keep_checkpoints"),
)
"""Settings of pretraining that comparable backbones may differ in: more frames take more iterations, and the rest does
not affect what is learnt from a frame.
"""


def pretraining_facts(
    backbone: BackboneRecord, dataset: DatasetRecord, records: Sequence[EvaluationRecord]
) -> PretrainingFacts:
    """The facts of a run's pretraining; `comparable` is equal for runs that differ only in frames and iterations."""
    settings = {key: value for key, value in backbone.made_by.settings["pretrain"].items() if key not in _MAY_DIFFER}
    # All evaluations of a run share one protocol, so the first gives it.
    comparable = settings_hash(protocol_of(records[0]), dataset.masks_from, settings)
    return PretrainingFacts(backbone=backbone.backbone, frames=dataset.kept_frames, comparable=comparable)


def growth(store: Store, result: RunResult, supervised: str) -> Growth:
    """The growth at the first freezing level of a result, and the forecast of when it reaches the baseline.

    `supervised` is the initialisation of the baseline's row; without one there is no forecast.
    """
    level = result.rows[0].freeze_through
    points = _points(store, result, level)
    curve = fit_frames([point.frames for point in points], [point.ap_11_point.mean for point in points])
    made = Growth(freeze_through=level, points=points)
    if curve is not None:
        line = {"slope": curve.slope, "slope_low": curve.slope_low, "slope_high": curve.slope_high}
        made = made.model_copy(update={**line, "intercept": curve.intercept})
    baseline = _row(result, supervised, level)
    if baseline is None or baseline.ap_11_point is None:
        why = "there is no supervised baseline; name one of evaluate.initialisations in evaluate.supervised"
        return made.model_copy(update={"refused": why})
    goal = baseline.ap_11_point.mean
    found = forecast(curve, goal, max((point.frames for point in points), default=1))
    return made.model_copy(
        update={
            "goal": goal,
            "goal_of": supervised,
            "frames": found.frames,
            "frames_low": found.low,
            "frames_high": found.high,
            "refused": found.refused,
        }
    )


def _points(store: Store, result: RunResult, level: int) -> tuple[GrowthPoint, ...]:
    """A point for each backbone; of several runs that evaluated one, this run's figures take precedence."""
    points: dict[str, GrowthPoint] = {}
    for evaluated in (result, *_others(store, result)):
        row, facts = _row(evaluated, PRETRAINED, level), evaluated.pretraining
        # The fit takes the logarithm of the frames, which must not be zero.
        if row is not None and row.ap_11_point is not None and facts is not None and facts.frames > 0:
            points.setdefault(
                facts.backbone,
                GrowthPoint(
                    run=evaluated.run, backbone=facts.backbone, frames=facts.frames, ap_11_point=row.ap_11_point
                ),
            )
    return tuple(sorted(points.values(), key=lambda point: (point.frames, point.backbone)))


def _others(store: Store, result: RunResult) -> Iterator[RunResult]:
    """The comparable results of other runs; one that cannot be read is logged and left out."""
    for item in store.list("runs/"):
        if not item.key.endswith("/result.json"):
            continue
        try:
            other = find(store, item.key, RunResult)
        except InvalidInput as error:
            _LOG.warning("result of another run left out", reason=str(error))
            continue
        if other is None or other.run == result.run or other.pretraining is None or result.pretraining is None:
            continue
        if other.pretraining.comparable == result.pretraining.comparable:
            yield other


def _row(result: RunResult, initialisation: str, level: int) -> ResultRow | None:
    rows = (row for row in result.rows if (row.initialisation, row.freeze_through) == (initialisation, level))
    return next(rows, None)
