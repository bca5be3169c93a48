"""Growth of mean average precision with the number of pretraining frames, over comparable backbones of a store."""

from collections.abc import Iterator

from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.statistics.forecast import fit_frames, forecast
from watchmove.service.records import layout
from watchmove.service.records.record import find
from watchmove.service.records.training import PRETRAINED
from watchmove.service.report.comparison import difference
from watchmove.service.report.result import Growth, GrowthPoint, LeftOut, PretrainingFacts, ResultRow, RunResult
from watchmove.service.store.store import Store


def growth(store: Store, result: RunResult, supervised: str) -> Growth:
    """The growth at the first freezing level of a result, and the forecast of when it reaches the baseline.

    `supervised` is the initialisation of the baseline's row; without one there is no forecast.
    """
    level = result.rows[0].freeze_through
    points, left_out = _points(store, result, level)
    curve = fit_frames([point.frames for point in points], [point.ap_11_point.mean for point in points])
    made = Growth(freeze_through=level, points=points, left_out=left_out)
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


def _points(store: Store, result: RunResult, level: int) -> tuple[tuple[GrowthPoint, ...], tuple[LeftOut, ...]]:
    """A point for each backbone, and the runs left out; of several runs that evaluated one, this run's comes first."""
    points: dict[str, GrowthPoint] = {}
    left_out: list[LeftOut] = []
    for evaluated in (result, *_others(store, result.run, left_out)):
        row, facts = _row(evaluated, PRETRAINED, level), evaluated.pretraining
        why = _why_not(result, facts, row, level)
        if why:
            left_out.append(LeftOut(run=evaluated.run, why=why))
        elif facts is not None and row is not None and row.ap_11_point is not None:
            point = GrowthPoint(
                run=evaluated.run, backbone=facts.backbone, frames=facts.frames, ap_11_point=row.ap_11_point
            )
            points.setdefault(facts.backbone, point)
    in_order = sorted(points.values(), key=lambda point: (point.frames, point.backbone))
    return tuple(in_order), tuple(sorted(left_out, key=lambda left: left.run))


def _why_not(result: RunResult, facts: PretrainingFacts | None, row: ResultRow | None, level: int) -> str:
    """Why a run is no point of this result's curve; empty if it is one."""
    # The fit takes the logarithm of the frames, which must not be zero.
    if facts is None or result.pretraining is None or not facts.frames:
        return "it has no pretraining frames"
    differs = difference(result.pretraining, facts)
    if differs:
        return differs
    if row is None or row.ap_11_point is None:
        return f"it has no figure of the pretrained trunk with {level} frozen convolutions"
    return ""


def _others(store: Store, run: str, left_out: list[LeftOut]) -> Iterator[RunResult]:
    """The results of other runs; one that cannot be read is added to `left_out`."""
    for item in store.list(layout.all_runs()):
        if not item.key.endswith("/result.json"):
            continue
        try:
            other = find(store, item.key, RunResult)
        except InvalidInput as error:
            left_out.append(LeftOut(run=item.key.split("/")[1], why=str(error)))
            continue
        if other is not None and other.run != run:
            yield other


def _row(result: RunResult, initialisation: str, level: int) -> ResultRow | None:
    rows = (row for row in result.rows if (row.initialisation, row.freeze_through) == (initialisation, level))
    return next(rows, None)
