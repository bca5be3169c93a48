"""What the records of one run say, as far as the run has come: its settings, counts and evaluations."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from watchmove.pipeline.errors import InvalidInput
from watchmove.service.records import layout
from watchmove.service.records.attempts import Attempts, AttemptTable, Rows
from watchmove.service.records.datasets import DatasetRecord, GatherRecord, MasksFrom, dataset_of, named_counts
from watchmove.service.records.listing import listed_ids
from watchmove.service.records.plans import PlanRecord
from watchmove.service.records.record import find, need
from watchmove.service.records.run_settings import last_origin, settings_of_run
from watchmove.service.records.stream import shard_records
from watchmove.service.records.training import PRETRAINED, EvaluationRecord
from watchmove.service.report.champion import protocol_of, standing
from watchmove.service.report.evaluated_cells import evaluation_records
from watchmove.service.store.store import Store

_EXTRACTED_WITH = ("videos", "plan", "extract")
"""Settings that the record of the plan decides, whatever later steps were given."""


@dataclass(frozen=True)
class RunFacts:
    """One run.

    settings: its recorded settings; version: that of the code of its last step; gathered, dataset: None before gather.
    table: the attempts of all runs of its recipe; rows: a mask (N,) of those that count for its listed videos;
    listed: number of listed videos. evaluations: by the key of their record, none before all are made; missing:
    what the run lacks, as predicates; champion: what the champions say of its backbones, empty if nothing.
    """

    run: str
    settings: dict[str, Any]
    version: str
    plan: PlanRecord
    gathered: GatherRecord | None
    dataset: DatasetRecord | None
    table: AttemptTable
    rows: Rows
    listed: int
    evaluations: dict[str, EvaluationRecord]
    missing: tuple[str, ...]
    champion: str

    @property
    def masks_from(self) -> MasksFrom:
        """Where its masks are from."""
        return self.dataset.masks_from if self.dataset else self.plan.masks_from

    @property
    def protocol(self) -> str:
        """The protocol of its evaluations, which all share; empty if it has none."""
        return protocol_of(next(iter(self.evaluations.values()))) if self.evaluations else ""

    def outcomes(self) -> dict[str, int]:
        """The number of listed videos by `outcome: reason`; before gather, of those that have ended."""
        return self.gathered.outcomes if self.gathered else named_counts(self.table.outcomes(self.rows))

    def frames(self) -> dict[str, int]:
        """The number of sampled frames by `outcome: reason`."""
        return self.gathered.frames if self.gathered else named_counts(self.table.frames(self.rows))

    def frames_seen(self) -> int:
        """The number of frames of the videos that were read."""
        return self.gathered.frames_seen if self.gathered else int(self.table.frames_seen[self.rows].sum())


def run_facts(store: Store, *runs: str) -> Iterator[RunFacts]:
    """Yield the facts of runs; the records of a recipe that several share are read once.

    Raises:
        InvalidInput: a run is unknown or has no plan, or a record of a plan, a shard or a snapshot is damaged.
        Unavailable: the store cannot be reached.
    """
    tables: dict[str, AttemptTable] = {}
    for run in runs:
        made_by = last_origin(store, run)
        plan = need(store, layout.run_record(run, "plan"), PlanRecord, "plan")
        if plan.recipe not in tables:
            tables[plan.recipe] = _table(store, plan.recipe)
        table, listed = tables[plan.recipe], listed_ids(store, plan)
        rows = table.counting & table.of(listed)
        gathered = find(store, layout.run_record(run, "gather"), GatherRecord)
        dataset = dataset_of(store, run) if gathered else None
        evaluations, without = _evaluations(store, run, gathered)
        missing = [without] if without else []
        if waiting := len(listed) - int(rows.sum()):
            missing.insert(0, f"has no outcome yet of {waiting:,} of its {len(listed):,} videos")
        if gathered is None:
            missing.insert(0, "has no snapshot of frames, as it has not been gathered")
        settings = made_by.settings | {name: plan.made_by.settings[name] for name in _EXTRACTED_WITH}
        if gathered is not None:
            settings["gather"] = gathered.made_by.settings["gather"]
        yield RunFacts(
            run=run,
            settings=settings,
            version=made_by.version,
            plan=plan,
            gathered=gathered,
            dataset=dataset,
            table=table,
            rows=rows,
            listed=len(listed),
            evaluations=evaluations,
            missing=tuple(missing),
            champion=_champion(store, run, list(evaluations.values())),
        )


def _table(store: Store, recipe: str) -> AttemptTable:
    attempts = Attempts()
    for key, record in shard_records(store, recipe):
        attempts.add(key, record)
    return attempts.table()


def _evaluations(store: Store, run: str, gathered: GatherRecord | None) -> tuple[dict[str, EvaluationRecord], str]:
    """The evaluations of a run, or why there are none."""
    begun = any(True for _ in store.list(f"{layout.run_records(run)}evaluate-"))
    if gathered is None or not begun:
        why = gathered.no_training if gathered else ""
        return {}, f"ended without training: {why}" if why else "has not been evaluated"
    try:
        return dict(evaluation_records(store, run, settings_of_run(store, run), gathered.dataset)), ""
    except InvalidInput as error:  # the rest of the run can be compared without them
        return {}, f"has no complete evaluations: {error}"


def _champion(store: Store, run: str, records: list[EvaluationRecord]) -> str:
    """What the champions of a run's protocol say of the backbones that it has evaluated as its own."""
    own = list(dict.fromkeys(record.backbone for record in records if record.evaluation.initialisation == PRETRAINED))
    if not own:
        return ""
    if store.head(layout.run_record(run, "result")) is None:
        return "not judged, as the run has no report"
    return standing(store, run, protocol_of(records[0]), own)
