"""When each step of a run worked, from the times that its records hold."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from watchmove.service.records.datasets import GatherRecord
from watchmove.service.records.outcomes import MachineUse
from watchmove.service.records.plans import PlanRecord
from watchmove.service.records.training import BackboneRecord, EvaluationRecord


@dataclass(frozen=True)
class TimelineRow:
    """A piece of work: when it began and ended in Unix seconds, and what to know of it.

    Of work whose record has no duration, `began` equals `ended`. `core_hours` are None if the record has none.
    """

    name: str
    began: float
    ended: float
    remark: str = ""
    core_hours: float | None = None

    @property
    def seconds(self) -> float:
        """Wall-clock seconds; 0 if they are not known."""
        return self.ended - self.began


@dataclass(frozen=True)
class Timeline:
    """The rows of a run in the order in which they ended; `waited_seconds` are those in which no row worked.

    `reused` counts backbones and evaluations that earlier runs made and that this run has taken over.
    """

    rows: tuple[TimelineRow, ...]
    began: float
    ended: float
    waited_seconds: float
    reused: int

    @property
    def core_hours(self) -> float:
        """The core-hours of all rows whose records have them."""
        return sum(row.core_hours or 0.0 for row in self.rows)

    def left(self, row: TimelineRow) -> float:
        """Where a row's bar begins, in percent of the time line."""
        return 100 * (row.began - self.began) / max(self.ended - self.began, 1e-9)

    def width(self, row: TimelineRow) -> float:
        """The width of a row's bar, in percent of the time line."""
        return 100 * row.seconds / max(self.ended - self.began, 1e-9)


def timeline_of(
    plan: PlanRecord,
    gathered: GatherRecord,
    backbones: Sequence[BackboneRecord],
    evaluations: Sequence[EvaluationRecord],
) -> Timeline:
    """Return when the steps of a run worked. Steps that only read records have an end and no duration."""
    planned = plan.made_by.written_at_unix_seconds
    trained = [*map(_pretraining, backbones), *map(_evaluation, evaluations)]
    own = [row for row in trained if row.ended >= planned]
    rows = sorted([*_before(plan, gathered), *own], key=lambda row: row.ended)
    began, ended = min(row.began for row in rows), max(row.ended for row in rows)
    return Timeline(tuple(rows), began, ended, _uncovered(rows, began, ended), len(trained) - len(own))


def _before(plan: PlanRecord, gathered: GatherRecord) -> Iterator[TimelineRow]:
    planned, done = plan.made_by.written_at_unix_seconds, gathered.made_by.written_at_unix_seconds
    yield TimelineRow("plan", planned, planned)
    if gathered.extraction is not None:
        parts = gathered.extraction.parts
        work = f"{gathered.extraction.seconds:,.0f} s of work in {parts} {'part' if parts == 1 else 'parts'} of shards"
        began, ended = gathered.extraction.began_unix_seconds, gathered.extraction.ended_unix_seconds
        yield TimelineRow("extract", began, ended, work, gathered.extraction.core_seconds / 3600)
    yield TimelineRow("gather", done, done)


def _pretraining(record: BackboneRecord) -> TimelineRow:
    ended = record.made_by.written_at_unix_seconds
    batch = record.made_by.settings["pretrain"].get("batch_size", 0)
    iterations = record.curve[-1].iteration if record.curve else 0
    seconds = batch * iterations / record.images_per_second if record.images_per_second > 0 else 0.0
    rate = f"{record.images_per_second:,.0f} images per second"
    return TimelineRow(f"pretrain, seed {record.seed}", ended - seconds, ended, rate, _core_hours(record.use))


def _evaluation(record: EvaluationRecord) -> TimelineRow:
    ended, cell = record.made_by.written_at_unix_seconds, record.evaluation
    frozen = f", conv1–{cell.freeze_through} frozen" if cell.freeze_through else ""
    name, hours = f"evaluate {cell.trunk}{frozen}, seed {cell.seed}", _core_hours(record.use)
    return TimelineRow(name, ended - record.seconds, ended, core_hours=hours)


def _core_hours(use: MachineUse | None) -> float | None:
    return None if use is None else use.core_hours


def _uncovered(rows: Sequence[TimelineRow], began: float, ended: float) -> float:
    """Seconds between `began` and `ended` that no row covers."""
    covered, reached = 0.0, began
    for row in sorted(rows, key=lambda row: row.began):
        covered += max(0.0, row.ended - max(row.began, reached))
        reached = max(reached, row.ended)
    return ended - began - covered
