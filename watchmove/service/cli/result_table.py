"""Tables of results, which commands print on the terminal."""

import json
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from watchmove.pipeline.files.text_lines import printable
from watchmove.service.records.training import EvaluationRecord
from watchmove.service.report.result import ClassificationResult, Growth, RunResult
from watchmove.service.runner.narrow_tables import cell, print_table
from watchmove.service.steps.run import CompletedRun

if TYPE_CHECKING:
    # Not when it runs: it loads OpenCV, which `watchmove results` does not need.
    from watchmove.pipeline.voc.average_precision import DetectionScores


def print_summary(completed: CompletedRun, store: str, console: Console) -> None:
    """Print a run's counts, the average precision of each evaluation or why there is none, and the report's URI.

    Commands follow that go on from there; `store` is the URI of the run's store.
    """
    counts = ", ".join(f"{count} {name}" for name, count in completed.gathered.outcomes.items())
    # Names and URIs may contain brackets, so below they are escaped or printed without markup.
    console.print(f"videos: {printable(counts)}", highlight=False, markup=False)
    sampled = sum(completed.gathered.frames.values())
    console.print(f"frames: {completed.dataset.kept_frames} kept of {sampled} sampled", highlight=False)
    if completed.gathered.no_training:
        line = f"no training: {printable(completed.gathered.no_training)}"
        console.print(line, soft_wrap=True, highlight=False, markup=False)
    else:
        print_table(console, _evaluations_table(completed.evaluations))
    # Not broken into lines, so that the URI can be copied.
    console.print(f"report: {completed.report}", soft_wrap=True, highlight=False, markup=False)
    place = f"{shlex.quote(completed.run)} --store {shlex.quote(store.removeprefix('file://'))}"
    line_of_export = [] if completed.gathered.no_training else [f"watchmove export {place} --out backbone"]
    for line in (f"watchmove videos {place}", f"watchmove status {place}", *line_of_export):
        console.print(f"next: {line}", soft_wrap=True, highlight=False, markup=False)


def _evaluations_table(evaluations: Sequence[EvaluationRecord]) -> Table:
    table = Table(title="mean average precision, IoU 0.5")
    for heading in ("initialisation", "frozen", "seed", "11-point", "area"):
        table.add_column(heading, justify="left" if heading == "initialisation" else "right")
    for record in evaluations:
        evaluation = record.evaluation
        frozen = f"conv1-{evaluation.freeze_through}" if evaluation.freeze_through else "none"
        scores = (_figure(record.mean_ap_11_point), _figure(record.mean_ap_area))
        table.add_row(cell(evaluation.trunk), frozen, str(evaluation.seed), *scores)
    return table


def print_result(result: RunResult, console: Console, *, as_json: bool) -> None:
    """Print the mean average precision over seeds as a table, or the complete result as JSON."""
    if as_json:
        print(result.model_dump_json(indent=1))
        return
    table = Table(title=f"run {cell(result.run)}: mean average precision, IoU 0.5, 11-point")
    for heading in ("initialisation", "frozen", "seeds", "mean", "std. dev.", "95 % interval", "preset"):
        table.add_column(heading)
    for row in result.rows:
        frozen = f"conv1-{row.freeze_through}" if row.freeze_through else "none"
        spread = row.ap_11_point
        mean, deviation = (_figure(spread.mean), _figure(spread.deviation)) if spread else ("–", "–")
        known = spread is not None and spread.low is not None
        interval = f"{_figure(spread.low)} to {_figure(spread.high)}" if spread and known else "–"
        name = cell(row.initialisation)
        table.add_row(name, frozen, row.seeds_in_words(), mean, deviation, interval, cell(row.preset_in_short()))
    print_table(console, table)
    for caution in dict.fromkeys(row.caution() for row in result.rows if row.caution()):
        console.print(f"caution: {printable(caution)}", soft_wrap=True, highlight=False, markup=False)
    if result.classification:
        print_table(console, _layers_table(result.classification))
    if result.growth is not None:
        _print_growth(result.growth, console)


def _print_growth(growth: Growth, console: Console) -> None:
    """Print the points of the curve over frames, the forecast or why there is none, and the runs left out."""
    table = Table(title="growth with pretraining frames")
    for heading in ("run", "frames", "mean"):
        table.add_column(heading, justify="left" if heading == "run" else "right")
    for point in growth.points:
        table.add_row(cell(point.run), f"{point.frames:,}", _figure(point.ap_11_point.mean))
    print_table(console, table)
    reached = f"forecast: {growth.goal_of} is reached at {growth.frames:,.0f} frames" if growth.frames else ""
    lines = [reached or f"no forecast: {growth.refused}"]
    lines += [f"left out of the growth: {left.run}: {left.why}" for left in growth.left_out]
    for line in lines:
        console.print(printable(line), soft_wrap=True, highlight=False, markup=False)


def _layers_table(rows: Sequence[ClassificationResult]) -> Table:
    table = Table(title="image classification by linear SVMs: mean average precision, area")
    for heading in ("initialisation", "layer", "seeds", "mean", "std. dev."):
        table.add_column(heading)
    for row in rows:
        mean, deviation = (row.ap_area.mean, row.ap_area.deviation) if row.ap_area else (None, None)
        table.add_row(cell(row.initialisation), cell(row.layer), str(len(row.seeds)), _figure(mean), _figure(deviation))
    return table


def print_scores(scores: "DetectionScores", *, as_json: bool) -> None:
    """Print the average precision of each class and its mean, as a table or as JSON."""
    if as_json:
        print(json.dumps(scores.as_json(), indent=1))
        return
    table = Table()
    for heading in ("class", "11-point", "area", "objects"):
        table.add_column(heading, justify="left" if heading == "class" else "right")
    for name, score in scores.per_class.items():
        table.add_row(cell(name), _figure(score.ap_11_point), _figure(score.ap_area), str(score.n_ground_truth))
    table.add_row("mean", _figure(scores.mean_ap_11_point), _figure(scores.mean_ap_area), "", style="bold")
    console = Console()
    print_table(console, table)
    if scores.classes_without_objects:
        names = ", ".join(scores.classes_without_objects)
        console.print(
            f"classes without objects, left out of the mean: {printable(names)}", highlight=False, markup=False
        )


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
