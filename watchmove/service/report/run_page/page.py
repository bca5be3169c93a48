"""Rendering of a run's page from its records and pictures."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from jinja2 import Environment
from matplotlib.figure import Figure

from watchmove.pipeline.dataset.shard import Sample
from watchmove.service.records.training import BackboneRecord, EvaluationRecord
from watchmove.service.report.html_pages import html_environment
from watchmove.service.report.images import curve_image, detection_image, image_of, svg
from watchmove.service.report.run_page.page_files import PageFiles


class PageImage(NamedTuple):
    """A picture of a page: its file, its size in pixels, and its caption."""

    source: str
    width: int
    height: int
    caption: str


class EvaluationRow(NamedTuple):
    """One evaluation as the table shows it."""

    name: str
    mean_ap_11_point: float | None
    mean_ap_area: float | None
    record: EvaluationRecord


def rendered(facts: Mapping[str, Any]) -> str:
    """Return the page as HTML; `facts` are the variables of the template `report.html.j2`."""
    return page_environment().get_template("report.html.j2").render(facts)


def images_of(files: PageFiles, samples: Iterable[Sample]) -> list[PageImage]:
    """Return the pictures of frames with their masks; a frame that cannot be decoded has none."""
    found = (image for sample in samples if (image := image_of(sample)) is not None)
    return [PageImage(files.add(one.jpeg, ".jpg"), one.width, one.height, one.caption) for one in found]


def chart(files: PageFiles, figure: Figure | None) -> str:
    """Return the file of a figure; "" where there is no figure."""
    return "" if figure is None else files.add(svg(figure), ".svg")


def evaluation_row(record: EvaluationRecord) -> EvaluationRow:
    """Return the row of one evaluation."""
    cell = record.evaluation
    frozen = f", conv1–{cell.freeze_through} frozen" if cell.freeze_through else ""
    name = f"{cell.trunk}{frozen}, seed {cell.seed}"
    return EvaluationRow(name, record.mean_ap_11_point, record.mean_ap_area, record)


def training_curve(files: PageFiles, backbone: BackboneRecord) -> str:
    """Return the file of the training curve of a backbone."""
    loss = [(point.iteration, point.loss) for point in backbone.curve]
    held_out = [
        (point.iteration, point.validation_score) for point in backbone.curve if point.validation_score is not None
    ]
    return files.add(curve_image(loss, held_out, backbone.score_name), ".svg")


def bars(files: PageFiles, rows: Sequence[EvaluationRow]) -> str:
    """Return the file of the bar chart of all evaluations."""
    known = [row for row in rows if row.mean_ap_11_point is not None]
    chart_of_known = detection_image([row.name for row in known], [row.mean_ap_11_point or 0.0 for row in known])
    return files.add(chart_of_known, ".svg")


def page_environment() -> Environment:
    """Return the environment of the templates, with the filters that they use."""
    environment = html_environment("watchmove.service.report")
    environment.filters["figure"] = lambda value: "–" if value is None else f"{value:.3f}"
    # Two significant digits: more would suggest a precision that a forecast does not have.
    environment.filters["rough"] = lambda value: f"{float(f'{value:.2g}'):,.0f}"
    environment.filters["time"] = lambda seconds: f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}"
    environment.filters["duration"] = _duration
    return environment


def _duration(seconds: float) -> str:
    """A duration in words, with two units at most."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60} min"
