"""A table of all attempts to extract videos, and the rule that selects the attempt of each video that counts.

The rule: the latest attempt that did not fail counts; if all failed, the latest counts. A retry can therefore replace a
failure and never discards a success. Gathering, status, retries and exports all use this rule.

A row of columns costs some hundred bytes, so the 800,000 videos of a large run take 80 MB; a model object for each
would take gigabytes.
"""

from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.video.fingerprint import hashes_of
from watchmove.service.records.outcomes import FAILED, DeviceUse, Outcome, ShardRecord, VideoOutcome

Rows = NDArray[np.bool_]
Ids = NDArray[np.uint64]

_OUTCOMES = tuple(Outcome)
_NUMBER_OF = {outcome: number for number, outcome in enumerate(_OUTCOMES)}
_ROW = {
    "video": "Q",
    "outcome": "B",
    "reason": "I",
    "part": "I",
    "frames_seen": "I",
    "frames_kept": "I",
    "seconds": "d",
    "hash_count": "B",
}
"""Columns of the table of attempts, with the type codes of `array`."""

_REJECTED = ("I", "I", "I")
"""Type codes of the columns row, reason and frames of the table of rejected frames."""

_FAILS = np.array([outcome in FAILED for outcome in _OUTCOMES])


class Part(NamedTuple):
    """The fields of one shard record that are kept in addition to its rows."""

    key: str
    plan: str
    shard: int
    data_key: str
    data_sha256: str
    data_bytes: int
    index_key: str
    audit_key: str
    seconds: float
    device: DeviceUse
    written_at_unix_seconds: float


class Attempts:
    """Collects shard records in any order; the caller adds each record once. `table` has the records added so far."""

    def __init__(self) -> None:
        self.parts: list[Part] = []
        # arrays grow in place and hold machine numbers; a list would hold an object for each
        self._rows = {name: array(code) for name, code in _ROW.items()}
        self._rejected = [array(code) for code in _REJECTED]
        self._hashes = [np.empty(0, np.uint64)]
        self._names: dict[str, int] = {}
        self._table: AttemptTable | None = None

    def add(self, key: str, record: ShardRecord) -> None:
        """Add all rows of one record; if an error is raised, none is added.

        Raises:
            InvalidInput: a video's id is not sixteen hex digits, or a count is negative or too large.
        """
        try:
            # all columns are made before any is extended, so that a count that does not fit leaves nothing behind
            rows = {name: array(_ROW[name], values) for name, values in self._values(key, record.videos).items()}
            hashes = np.array([value for row in record.videos for value in hashes_of(row.fingerprint)], np.uint64)
            rejected = [
                array(code, values) for code, values in zip(_REJECTED, self._sparse(record.videos), strict=True)
            ]
        except OverflowError as error:
            raise InvalidInput(
                f"{key}: a count is out of range; remove the record and extract the shard again"
            ) from error
        for name, column in rows.items():
            self._rows[name].extend(column)
        for known, more in zip(self._rejected, rejected, strict=True):
            known.extend(more)
        self._hashes.append(hashes)
        data = (record.data_key, record.data_sha256, record.data_bytes, record.index_key, record.audit_key)
        written = record.made_by.written_at_unix_seconds
        self.parts.append(Part(key, record.plan, record.shard, *data, record.seconds, record.device, written))
        self._table = None

    def _values(self, key: str, videos: Sequence[VideoOutcome]) -> dict[str, list[Any]]:
        return {
            "video": [number_of(row.video.id, key) for row in videos],
            "outcome": [_NUMBER_OF[row.outcome] for row in videos],
            "reason": [self._code(row.reason) for row in videos],
            "part": [len(self.parts)] * len(videos),
            "frames_seen": [row.frames_seen for row in videos],
            "frames_kept": [row.frames_kept for row in videos],
            "seconds": [row.seconds for row in videos],
            "hash_count": [len(hashes_of(row.fingerprint)) for row in videos],
        }

    def _sparse(self, videos: Sequence[VideoOutcome]) -> tuple[list[int], list[int], list[int]]:
        """Return the columns row, reason and frames, with an entry for each reason why frames were rejected."""
        first = len(self._rows["video"])  # called before these rows are added
        cells = [(first + n, r, c) for n, row in enumerate(videos) for r, c in row.frames_rejected.items()]
        return (
            [row for row, _, _ in cells],
            [self._code(name) for _, name, _ in cells],
            [count for _, _, count in cells],
        )

    def _code(self, name: str) -> int:
        return self._names.setdefault(name, len(self._names))

    def table(self) -> "AttemptTable":
        """Return the table of all rows added so far."""
        if self._table is None:
            # copies, not views: an array whose buffer NumPy holds cannot grow
            row, reason, frames = (np.array(column) for column in self._rejected)
            columns: dict[str, Any] = {name: np.array(column) for name, column in self._rows.items()}
            # joined in place of the arrays of the records: the largest column is in memory once
            self._hashes = [np.concatenate(self._hashes)]
            self._table = AttemptTable(
                tuple(self.parts),
                tuple(self._names),
                **columns,
                rejected=(row, reason, frames),
                hashes=self._hashes[0],
            )
        return self._table


@dataclass(frozen=True)
class AttemptTable:
    """Columns of N attempts, each of shape (N,).

    `video` has the numbers of the videos, `outcome` indices of Outcome, `reason` indices of `names` and `part`
    indices of `parts`. `rejected` has the columns row of this table, reason and number of frames, each of shape (R,).
    `hashes`, of shape (M,), has the hashes of the videos of all rows one after the other, `hash_count` of each.
    """

    parts: tuple[Part, ...]
    names: tuple[str, ...]
    video: Ids
    outcome: NDArray[np.uint8]
    reason: NDArray[np.uint32]
    part: NDArray[np.uint32]
    frames_seen: NDArray[np.uint32]
    frames_kept: NDArray[np.uint32]
    seconds: NDArray[np.float64]
    hash_count: NDArray[np.uint8]
    rejected: tuple[NDArray[np.uint32], NDArray[np.uint32], NDArray[np.uint32]]
    hashes: NDArray[np.uint64]

    @cached_property
    def failed(self) -> Rows:
        """A mask (N,) of the attempts that failed."""
        return np.asarray(_FAILS[self.outcome], np.bool_)

    @cached_property
    def counting(self) -> Rows:
        """A mask (N,) with the one attempt of each video that counts, by the rule at the top of this module."""
        # Only videos with several attempts need the rule. They are few, and sorting all by it takes much memory.
        order = np.argsort(self.video)
        by_video = self.video[order]
        same = by_video[1:] == by_video[:-1]
        several = np.union1d(order[1:][same], order[:-1][same])
        # Sorted by video, then failed before not failed, then time, then row: the last row of each video counts.
        # lexsort takes its keys from the least to the most significant, and is stable.
        written = np.array([part.written_at_unix_seconds for part in self.parts], np.float64)
        order = several[np.lexsort((written[self.part[several]], ~self.failed[several], self.video[several]))]
        superseded = self.video[order[1:]] == self.video[order[:-1]]
        rows = np.ones(len(self.video), np.bool_)
        rows[order[:-1][superseded]] = False
        return rows

    def of(self, videos: Ids) -> Rows:
        """Return a mask (N,) of the attempts at `videos`, numbers of shape (M,)."""
        return np.asarray(np.isin(self.video, videos), np.bool_)

    def of_plan(self, plan: str) -> Rows:
        """Return a mask (N,) of the attempts that `plan` planned."""
        return np.asarray(np.array([part.plan == plan for part in self.parts], np.bool_)[self.part], np.bool_)

    def outcomes(self, rows: Rows) -> Counter[tuple[str, str]]:
        """Count attempts by (outcome, reason)."""
        # One number for each pair, because NumPy counts numbers much faster than Python counts pairs.
        both = self.outcome[rows].astype(np.uint32) * np.uint32(len(self.names)) + self.reason[rows]
        codes, counts = np.unique(both, return_counts=True)
        pairs = [divmod(code, len(self.names)) for code in codes.tolist()]
        names = [(_OUTCOMES[outcome].value, self.names[reason]) for outcome, reason in pairs]
        return Counter(dict(zip(names, counts.tolist(), strict=True)))

    def frames(self, rows: Rows) -> Counter[tuple[str, str]]:
        """Count sampled frames by (`kept` or `rejected`, reason)."""
        row, reason, count = self.rejected
        of_rows = rows[row]
        frames = Counter({("kept", ""): int(self.frames_kept[rows].sum())})
        # reasons are few, and NumPy's counts of all at once would take two arrays of eight bytes for each row
        totals = {name: int(count[of_rows & (reason == code)].sum()) for code, name in enumerate(self.names)}
        frames.update({("rejected", name): total for name, total in totals.items() if total})
        return frames

    def with_outcome(self, outcomes: frozenset[Outcome]) -> Rows:
        """Return a mask (N,) of the attempts with one of `outcomes`."""
        return np.asarray(np.array([outcome in outcomes for outcome in _OUTCOMES])[self.outcome], np.bool_)

    def with_reason(self, reasons: frozenset[str]) -> Rows:
        """Return a mask (N,) of the attempts with one of `reasons`."""
        return np.asarray(np.array([name in reasons for name in self.names], np.bool_)[self.reason], np.bool_)


def number_of(video_id: str, where: str) -> int:
    """Return the number that a video's id writes in sixteen hex digits.

    Raises:
        InvalidInput: the id is not sixteen lower-case hex digits.
    """
    try:
        number = int(video_id, 16)
    except ValueError:
        number = -1
    # int also reads capitals, signs, spaces and underscores, and `id_of` would not give such an id back
    if not 0 <= number < 2**64 or f"{number:016x}" != video_id:
        raise InvalidInput(
            f"{where}: {video_id!r} is not a video's id of sixteen hex digits; remove the record to redo"
        )
    return number


def id_of(number: int) -> str:
    """Return the id of a video from its number."""
    return f"{number:016x}"


def ids_of(numbers: "array[int]") -> Ids:
    """Return the sorted, distinct numbers of videos, of shape (M,)."""
    return np.unique(np.array(numbers, np.uint64))
