"""Reading of a store's records for the exporter: each version of a record is read once, and complete readings replace
each other.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic

import structlog

from watchmove.pipeline.errors import InvalidInput
from watchmove.service.records.attempts import Attempts, AttemptTable
from watchmove.service.records.datasets import DatasetRecord, GatherRecord
from watchmove.service.records.outcomes import ShardRecord
from watchmove.service.records.plans import PlanRecord
from watchmove.service.records.record import AnyRecord, Record
from watchmove.service.records.stream import read_ahead
from watchmove.service.records.training import BackboneRecord, ClassificationRecord, EvaluationRecord
from watchmove.service.report.champion import Champion
from watchmove.service.report.result import PretrainingFacts, ResultRow
from watchmove.service.store.store import Store, StoredObject


class RunFigures(Record):
    """The part of a run's result that is kept of every run: a curve over frames has a point for each of the others."""

    rows: tuple[ResultRow, ...] = ()
    evaluation_keys: tuple[str, ...] = ()
    pretraining: PretrainingFacts | None = None


@dataclass(frozen=True)
class Reading:
    """The records of a store by key, and the attempts of each recipe, as of one complete reading at Unix time `at`."""

    tables: Mapping[str, AttemptTable] = field(default_factory=dict)
    plans: Mapping[str, PlanRecord] = field(default_factory=dict)
    gathered: Mapping[str, GatherRecord] = field(default_factory=dict)
    results: Mapping[str, RunFigures] = field(default_factory=dict)
    datasets: Mapping[str, DatasetRecord] = field(default_factory=dict)
    backbones: Mapping[str, BackboneRecord] = field(default_factory=dict)
    evaluations: Mapping[str, EvaluationRecord] = field(default_factory=dict)
    classifications: Mapping[str, ClassificationRecord] = field(default_factory=dict)
    champions: Mapping[str, Champion] = field(default_factory=dict)
    at: float = 0.0

    def records(self) -> tuple[Mapping[str, Record], ...]:
        """All records except those of shards, which `tables` summarise."""
        of_runs = (self.plans, self.gathered, self.results)
        return (*of_runs, self.datasets, self.backbones, self.evaluations, self.classifications, self.champions)


class Reader:
    """Reads the records of a store, again and again; it keeps those that were read and have not changed since."""

    def __init__(self, store: Store) -> None:
        self._shards = _Shards(store)
        self._plans = _Records(store, "runs/", "/plan.json", PlanRecord)
        self._gathered = _Records(store, "runs/", "/gather.json", GatherRecord)
        self._results = _Records(store, "runs/", "/result.json", RunFigures)
        self._datasets = _Records(store, "datasets/", "", DatasetRecord)
        # Checkpoints have JSON files too, so the complete name is required.
        self._backbones = _Records(store, "backbones/", "/record.json", BackboneRecord)
        self._evaluations = _Records(store, "evaluations/", "/record.json", EvaluationRecord)
        self._classifications = _Records(store, "classifications/", "", ClassificationRecord)
        # Numbered promotions only: the pointer champion.json changes, and repeats one of them.
        self._champions = _Records(store, "champions/", "/0", Champion)

    def read(self) -> Reading:
        """Read the records that are new or were written again; damaged ones are logged and left out.

        Raises:
            Unavailable, InvalidInput: the store cannot be read. The next call continues with what was read before.
        """
        return Reading(
            self._shards.read(),
            self._plans.read(),
            self._gathered.read(),
            self._results.read(),
            self._datasets.read(),
            self._backbones.read(),
            self._evaluations.read(),
            self._classifications.read(),
            self._champions.read(),
            time.time(),
        )


class _Records(Generic[AnyRecord]):
    """The records of one kind: those with keys under `prefix` that contain `part`."""

    def __init__(self, store: Store, prefix: str, part: str, kind: type[AnyRecord]) -> None:
        self._store, self._prefix, self._part, self._kind = store, prefix, part, kind
        self._items: dict[str, StoredObject] = {}
        self._records: dict[str, AnyRecord] = {}

    def read(self) -> dict[str, AnyRecord]:
        """The records that the store has now."""
        listed = _listed(self._store, self._prefix, self._part)
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
        listed = _listed(self._store, "extractions/", "/shards/")
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


def _listed(store: Store, prefix: str, part: str) -> dict[str, StoredObject]:
    """The records in the store's listing by key, with sizes and ETags."""
    listed = store.list(prefix)
    return {item.key: item for item in listed if item.key.endswith(".json") and part in item.key}


def _left_out(error: InvalidInput) -> None:
    structlog.get_logger().warning("record left out", reason=str(error))
