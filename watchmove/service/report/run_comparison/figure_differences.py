"""The differences of average precision between two runs, over the seeds of each."""

from collections.abc import Iterator, Mapping
from typing import Any

from watchmove.pipeline.statistics.difference import difference_of
from watchmove.pipeline.statistics.seed_spread import units_of
from watchmove.service.records.training import EvaluationRecord
from watchmove.service.report.champion import protocol_settings
from watchmove.service.report.result import SeedSpread, nested_figures, nested_spread
from watchmove.service.report.run_comparison.differences import FigureDifference
from watchmove.service.report.run_comparison.run_facts import RunFacts
from watchmove.service.report.run_comparison.setting_differences import setting_differences

_Cells = Mapping[str, EvaluationRecord]


def not_comparable(a: RunFacts, b: RunFacts) -> str:
    """Why figures of the runs are not comparable; empty if they are, or if one has none."""
    if not a.protocol or not b.protocol or a.protocol == b.protocol:
        return ""
    (one, set_a), (two, set_b) = (protocol_settings(next(iter(run.evaluations.values()))) for run in (a, b))
    names = [f"evaluate.{row.name}" for row in setting_differences(one, two)] + ["the detection set"] * (set_a != set_b)
    return f"the runs have different protocols of evaluation: {', '.join(names)}"


def figure_differences(a: RunFacts, b: RunFacts) -> Iterator[FigureDifference]:
    """Yield the difference of each initialisation and number of frozen convolutions of either run."""
    of_a, of_b = (_by_cell(run.evaluations) for run in (a, b))
    for cell in dict.fromkeys((*of_a, *of_b)):
        one, two = of_a.get(cell, {}), of_b.get(cell, {})
        row = FigureDifference(initialisation=cell[0], freeze_through=cell[1], a=_spread(one), b=_spread(two))
        yield row.model_copy(update=_difference(one, two)) if row.a and row.b and a.protocol == b.protocol else row


def _by_cell(evaluations: _Cells) -> dict[tuple[str, int], dict[str, EvaluationRecord]]:
    """The evaluations of each initialisation and number of frozen convolutions, by the key of their record."""
    cells: dict[tuple[str, int], dict[str, EvaluationRecord]] = {}
    for key, record in evaluations.items():
        cell = record.evaluation
        cells.setdefault((cell.initialisation, cell.freeze_through), {})[key] = record
    return cells


def _values(cells: _Cells) -> list[tuple[Any, float | None]]:
    return [(record.evaluation, record.mean_ap_11_point) for record in cells.values()]


def _spread(cells: _Cells) -> SeedSpread | None:
    return nested_spread(_values(cells))


def _difference(a: _Cells, b: _Cells) -> dict[str, Any]:
    """The fields of the difference of two cells that both have a figure."""
    if a.keys() == b.keys():
        return {"difference": 0.0, "verdict": "the same detectors"}
    one, two = (units_of(nested_figures(_values(cells))) for cells in (a, b))
    found = difference_of(two, one)
    words: dict[str, str] = {"shown": "higher in B", "opposite": "higher in A"}
    verdict = words.get(found.verdict, found.verdict)
    return {"difference": found.mean, "low": found.low, "high": found.high, "verdict": verdict}
