"""The records of finished cells, so that none is done twice."""

import time

from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.settings.pretraining import PRETRAINING_VERSION
from watchmove.service.claims.cells import Cell, cells_of, run_cell
from watchmove.service.claims.series import Series
from watchmove.service.extraction.recipe import EXTRACTION_VERSION
from watchmove.service.records import layout
from watchmove.service.records.record import Record, commit, find, origin
from watchmove.service.records.training import EVALUATION_VERSION, EvaluationRecord
from watchmove.service.runner.runner import StepContext
from watchmove.service.settings.settings import settings_hash
from watchmove.service.steps.control import CONTROL_VERSION


class CellRecord(Record):
    """A finished cell: what it computed, in how many seconds of the clock, and its figure if it has one."""

    name: str
    seconds: float
    backbone: str = ""
    mean_ap_11_point: float | None = None


def series_id(series: Series) -> str:
    """Return a hash of all that decides a series: its settings but those of the machine, its runs, and the code."""
    runs = [[run.name, run.control, run.objective, run.fraction] for run in series.runs]
    settings = series.settings.model_dump(mode="json", exclude={"work"})
    versions = [EXTRACTION_VERSION, PRETRAINING_VERSION, EVALUATION_VERSION, CONTROL_VERSION]
    return settings_hash(
        settings, series.world, series.truth, list(series.seeds), series.few_images, list(series.levels), runs, versions
    )


def do_cell(context: StepContext, series: Series, cell: Cell) -> CellRecord:
    """Do a cell other than the page, or return its record if it is done. Raises the errors of its steps."""
    key = _key(series, cell)
    known = find(context.store, key, CellRecord)
    if known is not None:
        return known
    began = time.monotonic()
    made = run_cell(context, series, cell)
    record = CellRecord(
        made_by=origin(series.settings, {}),
        name=cell.name,
        seconds=round(time.monotonic() - began, 1),
        backbone=made.backbone if made is not None else "",
        mean_ap_11_point=made.mean_ap_11_point if isinstance(made, EvaluationRecord) else None,
    )
    commit(context.store, key, record)
    return record


def need_cell(context: StepContext, series: Series, cell: Cell) -> CellRecord:
    """Return the record of a cell. Raises InvalidInput if it is not done."""
    record = find(context.store, _key(series, cell), CellRecord)
    if record is None:
        number = cells_of(series).index(cell)
        raise InvalidInput(f"claims: cell {number} ({cell.name}) is not done; run `watchmove claims --cell {number}`")
    return record


def _key(series: Series, cell: Cell) -> str:
    return layout.claims(series_id(series), f"cells/{cell.name}")
