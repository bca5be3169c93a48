"""Reading of a store's records for the exporter: each version of a record is read once, and complete readings replace
each other.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic

from watchmove.service.records import layout
from watchmove.service.records.attempts import AttemptTable
from watchmove.service.records.datasets import DatasetRecord, GatherRecord
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
from watchmove.service.watching.exporting.shard_records import ShardRecords, left_out, listed_records

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
        self._shards = ShardRecords(store)
        settings: dict[str, dict[str, Any]] = {}
        self._plans = _Records(store, "/plan.json", PlanRecord, settings)
        self._gathered = _Records(store, "/gather.json", GatherRecord, settings)
        self._pretrained = _Records(store, "/pretrain.json", PretrainPointer, settings)
        self._evaluated = _Records(store, "/evaluate-", EvaluationPointer, settings)
        self._results = _Records(store, "/result.json", RunFigures, settings)
        self._failures = _Records(store, "/failure-", StepFailure, settings)
        self._datasets = _Records(store, "", DatasetRecord, settings)
        # Checkpoints have JSON files too, so the complete name is required.
        self._backbones = _Records(store, "/record.json", BackboneRecord, settings)
        self._evaluations = _Records(store, "/record.json", EvaluationRecord, settings)
        self._classifications = _Records(store, "", ClassificationRecord, settings)
        # Numbered promotions only: the pointer champion.json changes, and repeats one of them.
        self._champions = _Records(store, "/0", Champion, settings)

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
            reports=frozenset(item.key for item in runs if item.key.endswith(".html")),
            datasets=self._datasets.read(self._store.list("datasets/")),
            backbones=self._backbones.read(self._store.list("backbones/")),
            evaluations=self._evaluations.read(self._store.list("evaluations/")),
            classifications=self._classifications.read(self._store.list("classifications/")),
            champions=self._champions.read(self._store.list("champions/")),
            at=time.time(),
        )


class _Records(Generic[AnyRecord]):
    """The records of one kind, whose keys contain `part`; `settings` are those of all kinds, by their hash."""

    def __init__(self, store: Store, part: str, kind: type[AnyRecord], settings: dict[str, dict[str, Any]]) -> None:
        self._store, self._part, self._kind, self._settings = store, part, kind, settings
        self._items: dict[str, StoredObject] = {}
        self._records: dict[str, AnyRecord] = {}

    def read(self, objects: Iterable[StoredObject]) -> dict[str, AnyRecord]:
        """The records among `objects`, which the store has now."""
        listed = listed_records(objects, self._part)
        for key in [key for key, item in self._items.items() if listed.get(key) != item]:
            del self._items[key], self._records[key]
        new = [key for key in listed if key not in self._items]
        for key, record in read_ahead(self._store, new, self._kind, left_out):
            # A record that is replaced after the listing is read once more: the next listing has another ETag.
            self._items[key], self._records[key] = listed[key], self._with_shared_settings(record)
        # A copy, which the next call does not change.
        return dict(self._records)

    def _with_shared_settings(self, record: AnyRecord) -> AnyRecord:
        """The record with one object for all equal settings, which take more memory than the rest of a record.

        Those of all evaluations of a run are equal, and those of most nights.
        """
        made_by = record.made_by
        shared = self._settings.setdefault(made_by.settings_hash, made_by.settings)
        if shared is made_by.settings or shared != made_by.settings:
            return record
        return record.model_copy(update={"made_by": made_by.model_copy(update={"settings": shared})})
