"""Reading of a store's records for the exporter: each version of a record is read once, and complete readings replace
each other.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Generic

import structlog

from watchmove.pipeline.errors import InvalidInput, Unavailable
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
from watchmove.service.watching.exporting.known_attempts import (
    KnownAttempts,
    no_attempts,
    read_snapshot,
    snapshot_of,
    with_attempts,
)

RUNS_SHOWN = 20
"""Number of newest runs with metrics of their own, which bounds the number of time series."""

SNAPSHOT_RECORDS, SNAPSHOT_SHARE = 100, 0.05
"""Number of shard records, and their share in those of a recipe, that its snapshot may lack before it is written again.

A restarted exporter reads as many at most: 250 of 5,000, in about a second. Set by hand; not tuned.
"""


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
        self._known: dict[str, KnownAttempts] = {}
        self._compacted: dict[str, int] = {}

    def read(self) -> dict[str, AttemptTable]:
        """The tables of the attempts that the store has now, by recipe. A table does not change after it was made."""
        recipes: dict[str, dict[str, StoredObject]] = {}
        for key, item in _listed(self._store.list(layout.all_extractions()), "/shards/").items():
            # The recipe is in the key alone; the record names its plan.
            recipes.setdefault(key.split("/")[1], {})[key] = item
        for recipe in self._known.keys() - recipes.keys():
            del self._known[recipe]
        for recipe, listed in recipes.items():
            known = self._known.get(recipe)
            # Shard records are replaced by hand and by `forget` alone, so all are read again.
            if known is None or not _is_listed(known, listed):
                self._known[recipe] = self._compacted_attempts(recipe, listed)
            self._read_new(recipe, listed)
            self._compact(recipe)
        return {recipe: known.table for recipe, known in self._known.items() if known.records}

    def _compacted_attempts(self, recipe: str, listed: Mapping[str, StoredObject]) -> KnownAttempts:
        """The attempts in the store's snapshot; none if there is none, or if its records are not those of the store."""
        key = layout.attempts(recipe)
        data = self._store.read(key)
        self._compacted[recipe] = 0
        if data is not None:
            try:
                known = read_snapshot(data, f"{self._store.uri}/{key}")
            except InvalidInput as error:
                _left_out(error)
            else:
                if _is_listed(known, listed):
                    self._compacted[recipe] = len(known.records)
                    return known
        return no_attempts()

    def _read_new(self, recipe: str, listed: Mapping[str, StoredObject]) -> None:
        known = self._known[recipe]
        attempts, added = Attempts(), dict[str, StoredObject]()
        try:
            new = [key for key in listed if key not in known.records]
            for key, record in read_ahead(self._store, new, ShardRecord, _left_out):
                try:
                    attempts.add(key, record)
                except InvalidInput as error:
                    _left_out(error)
                else:
                    added[key] = listed[key]
        finally:
            # Also if the store fails half-way: the next call does not read these again.
            if added:
                self._known[recipe] = with_attempts(known, attempts.table(), added)

    def _compact(self, recipe: str) -> None:
        """Write the snapshot if it lacks many records."""
        count = len(self._known[recipe].records)
        if count - self._compacted[recipe] < max(SNAPSHOT_RECORDS, SNAPSHOT_SHARE * count):
            return
        # Before the write: an exporter that may not write would otherwise try it again and again.
        self._compacted[recipe] = count
        try:
            self._store.write(layout.attempts(recipe), snapshot_of(self._known[recipe]))
        except (InvalidInput, Unavailable) as error:
            structlog.get_logger().warning("snapshot of attempts not written", reason=str(error))


def _is_listed(known: KnownAttempts, listed: Mapping[str, StoredObject]) -> bool:
    """Whether the store still has the records that the attempts are from."""
    return all(listed.get(key) == item for key, item in known.records.items())


def _listed(objects: Iterable[StoredObject], part: str) -> dict[str, StoredObject]:
    """The records in a listing whose keys contain `part`, by key."""
    return {item.key: item for item in objects if item.key.endswith(".json") and part in item.key}


def _left_out(error: InvalidInput) -> None:
    structlog.get_logger().warning("record left out", reason=str(error))
