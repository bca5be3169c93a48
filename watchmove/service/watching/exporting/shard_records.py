"""Reading of shard records for the exporter: each version once, and after a restart those alone that are newer."""

from collections.abc import Iterable, Mapping

import structlog

from watchmove.pipeline.errors import InvalidInput, Unavailable
from watchmove.service.records import layout
from watchmove.service.records.attempts import Attempts, AttemptTable
from watchmove.service.records.outcomes import ShardRecord
from watchmove.service.records.stream import read_ahead
from watchmove.service.store.store import Store, StoredObject
from watchmove.service.watching.exporting.known_attempts import (
    KnownAttempts,
    no_attempts,
    read_snapshot,
    snapshot_of,
    with_attempts,
)

SNAPSHOT_RECORDS, SNAPSHOT_SHARE = 100, 0.05
"""Number of shard records, and their share in those of a recipe, that its snapshot may lack before it is written again.

A restarted exporter reads as many at most: 250 of 5,000, in about a second. Set by hand; not tuned.
"""


class ShardRecords:
    """The attempts of each recipe, from the records of its shards."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, KnownAttempts] = {}
        self._compacted: dict[str, int] = {}

    def read(self) -> dict[str, AttemptTable]:
        """The tables of the attempts that the store has now, by recipe. A table does not change after it was made.

        Raises:
            Unavailable, InvalidInput: the store cannot be read. The next call continues with what was read before.
        """
        recipes: dict[str, dict[str, StoredObject]] = {}
        for key, item in listed_records(self._store.list(layout.all_extractions()), "/shards/").items():
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
                left_out(error)
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
            for key, record in read_ahead(self._store, new, ShardRecord, left_out):
                try:
                    attempts.add(key, record)
                except InvalidInput as error:
                    left_out(error)
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


def listed_records(objects: Iterable[StoredObject], part: str) -> dict[str, StoredObject]:
    """The records in a listing whose keys contain `part`, by key."""
    return {item.key: item for item in objects if layout.is_record(item.key) and part in item.key}


def left_out(error: InvalidInput) -> None:
    """Log that a damaged object is left out."""
    structlog.get_logger().warning("record left out", reason=str(error))
