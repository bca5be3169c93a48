"""Reading of a store's records for the exporter: each version of a record is read once, and complete readings replace
each other.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Generic

import structlog

from watchmove.pipeline.errors import InvalidInput
from watchmove.service.records import layout
from watchmove.service.records.attempts import Attempts, AttemptTable
from watchmove.service.records.datasets import DatasetRecord, GatherRecord
from watchmove.service.records.outcomes import ShardRecord
from watchmove.service.records.plans import PlanRecord
from watchmove.service.records.record import AnyRecord, Record, StepFailure
from watchmove.service.records.stream import read_ahead
from watchmove.service.records.training import (
    BackboneRecord,
    ClassificationRecord,
    EvaluationPointer,
    EvaluationRecord,
    PretrainPointer,
)
from watchmove.service.report.champion import Champion
from watchmove.service.report.result import PretrainingFacts, ResultRow
from watchmove.service.store.store import Store, StoredObject

RUNS_SHOWN = 20
"""Number of newest runs with metrics of their own, which bounds the number of time series."""


class RunFigures(Record):
    """The part of a run's result that is kept of every run: a curve over frames has a point for each of the others."""

    rows: tuple[ResultRow, ...] = ()
    evaluation_keys: tuple[str, ...] = ()
    pretraining: PretrainingFacts | None = None


@dataclass(frozen=True)
class Reading:
    """The records of a store by key, and the attempts of each recipe, as of one complete reading at Unix time `at`.

    `evaluated` has the pointers of runs to their evaluations, and `reports` the keys of the pages of runs.
    """

    tables: Mapping[str, AttemptTable] = field(default_factory=dict)
    plans: Mapping[str, PlanRecord] = field(default_factory=dict)
    gathered: Mapping[str, GatherRecord] = field(default_factory=dict)
    pretrained: Mapping[str, PretrainPointer] = field(default_factory=dict)
    evaluated: Mapping[str, EvaluationPointer] = field(default_factory=dict)
    results: Mapping[str, RunFigures] = field(default_factory=dict)
    failures: Mapping[str, StepFailure] = field(default_factory=dict)
    reports: frozenset[str] = frozenset()
    datasets: Mapping[str, DatasetRecord] = field(default_factory=dict)
    backbones: Mapping[str, BackboneRecord] = field(default_factory=dict)
    evaluations: Mapping[str, EvaluationRecord] = field(default_factory=dict)
    classifications: Mapping[str, ClassificationRecord] = field(default_factory=dict)
    champions: Mapping[str, Champion] = field(default_factory=dict)
    at: float = 0.0

    def records(self) -> tuple[Mapping[str, Record], ...]:
        """All records except those of shards, which `tables` summarise."""
        of_runs = (self.plans, self.gathered, self.pretrained, self.evaluated, self.results, self.failures)
        return (*of_runs, self.datasets, self.backbones, self.evaluations, self.classifications, self.champions)


def newest_plans(reading: Reading) -> dict[str, PlanRecord]:
    """The plans of the newest runs, by the names of the runs."""
    by_time = sorted(by_run(reading.plans).items(), key=lambda row: row[1].made_by.written_at_unix_seconds)
    return dict(by_time[-RUNS_SHOWN:])


def by_run(records: Mapping[str, AnyRecord]) -> dict[str, AnyRecord]:
    """Records of runs by the names of the runs; of several records of a run, the last one in the order of keys."""
    return {run_of(key): record for key, record in records.items()}


def run_of(key: str) -> str:
    """The name of the run whose record has a key."""
    return key.split("/")[1]


class Reader:
    """Reads the records of a store, again and again; it keeps those that were read and have not changed since."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._shards = _Shards(store)
        self._plans = _Records(store, "/plan.json", PlanRecord)
        self._gathered = _Records(store, "/gather.json", GatherRecord)
        self._pretrained = _Records(store, "/pretrain.json", PretrainPointer)
        self._evaluated = _Records(store, "/evaluate-", EvaluationPointer)
        self._results = _Records(store, "/result.json", RunFigures)
        self._failures = _Records(store, "/failure-", StepFailure)
        self._datasets = _Records(store, "", DatasetRecord)
        # Checkpoints have JSON files too, so the complete name is required.
        self._backbones = _Records(store, "/record.json", BackboneRecord)
        self._evaluations = _Records(store, "/record.json", EvaluationRecord)
        self._classifications = _Records(store, "", ClassificationRecord)
        # Numbered promotions only: the pointer champion.json changes, and repeats one of them.
        self._champions = _Records(store, "/0", Champion)

    def read(self) -> Reading:
        """Read the records that are new or were written again; damaged ones are logged and left out.

        Raises:
            Unavailable, InvalidInput: the store cannot be read. The next call continues with what was read before.
        """
        tables = self._shards.read()
        runs = tuple(self._store.list(layout.all_runs()))
        return Reading(
            tables,
            plans=self._plans.read(runs),
            gathered=self._gathered.read(runs),
            pretrained=self._pretrained.read(runs),
            evaluated=self._evaluated.read(runs),
            results=self._results.read(runs),
            failures=self._failures.read(runs),
            reports=frozenset(item.key for item in runs if item.key.endswith("/report.html")),
            datasets=self._datasets.read(self._store.list("datasets/")),
            backbones=self._backbones.read(self._store.list("backbones/")),
            evaluations=self._evaluations.read(self._store.list("evaluations/")),
            classifications=self._classifications.read(self._store.list("classifications/")),
            champions=self._champions.read(self._store.list("champions/")),
            at=time.time(),
        )


class _Records(Generic[AnyRecord]):
    """The records of one kind: those with keys that contain `part`."""

    def __init__(self, store: Store, part: str, kind: type[AnyRecord]) -> None:
        self._store, self._part, self._kind = store, part, kind
        self._items: dict[str, StoredObject] = {}
        self._records: dict[str, AnyRecord] = {}

    def read(self, objects: Iterable[StoredObject]) -> dict[str, AnyRecord]:
        """The records among `objects`, which the store has now."""
        listed = _listed(objects, self._part)
        for key in [key for key, item in self._items.items() if listed.get(key) != item]:
            del self._items[key], self._records[key]
        new = [key for key in listed if key not in self._items]
        for key, record in read_ahead(self._store, new, self._kind, _left_out):
            # A record that is replaced after the listing is read once more: the next listing has another ETag.
            self._items[key], self._records[key] = listed[key], record
        # A copy, which the next call does not change.
        return dict(self._records)


class _Shards:
    """The attempts of each recipe, from the records of its shards."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._items: dict[str, dict[str, StoredObject]] = {}
        self._attempts: dict[str, Attempts] = {}

    def read(self) -> dict[str, AttemptTable]:
        """The tables of the attempts that the store has now, by recipe. A table does not change after it was made."""
        listed = _listed(self._store.list(layout.all_extractions()), "/shards/")
        for recipe, items in list(self._items.items()):
            if any(listed.get(key) != item for key, item in items.items()):
                # Columns only grow. Shard records are replaced by hand and by `forget` alone, so all are read again.
                del self._items[recipe], self._attempts[recipe]
        known = {key for items in self._items.values() for key in items}
        new = [key for key in listed if key not in known]
        for key, record in read_ahead(self._store, new, ShardRecord, _left_out):
            self._add(listed[key], record)
        return {recipe: attempts.table() for recipe, attempts in self._attempts.items()}

    def _add(self, item: StoredObject, record: ShardRecord) -> None:
        # The recipe is in the key alone; the record names its plan.
        recipe = item.key.split("/")[1]
        attempts = self._attempts.setdefault(recipe, Attempts())
        try:
            attempts.add(item.key, record)
        except InvalidInput as error:
            _left_out(error)
        else:
            self._items.setdefault(recipe, {})[item.key] = item


def _listed(objects: Iterable[StoredObject], part: str) -> dict[str, StoredObject]:
    """The records in a listing whose keys contain `part`, by key."""
    return {item.key: item for item in objects if item.key.endswith(".json") and part in item.key}


def _left_out(error: InvalidInput) -> None:
    structlog.get_logger().warning("record left out", reason=str(error))
