"""Attempts: every time a video was tried, in columns, and the one rule that says which of them counts.

The rule: of several attempts at one video the latest that did not fail counts, and where all failed, the latest. So a
retry mends a failure, and never takes anything away. Who gathers, asks for a status, retries or exports goes by it.

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
}
"""The columns of a table, with their type codes."""
_REJECTED = ("I", "I", "I")
_FAILS = np.array([outcome in FAILED for outcome in _OUTCOMES])


class Part(NamedTuple):
    """What is kept of a shard's record beside its rows."""

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
    """Collects shard records, each once, in any order and number; `table` sees what was added so far."""

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.keys: set[str] = set()
        self._rows = {name: array(code) for name, code in _ROW.items()}
        self._rejected = [array(code) for code in _REJECTED]
        self._names: dict[str, int] = {}
        self._table: AttemptTable | None = None

    def add(self, key: str, record: ShardRecord) -> None:
        """Take up the rows of one record, or none of them.

        Raises:
            InvalidInput: a video's id is not sixteen hex digits, or a count is no count.
        """
        try:
            rows = {name: array(_ROW[name], values) for name, values in self._values(key, record.videos).items()}
            rejected = [
                array(code, values) for code, values in zip(_REJECTED, self._sparse(record.videos), strict=True)
            ]
        except OverflowError as error:
            raise InvalidInput(f"{key}: a count in it is out of range; remove it to redo") from error
        for name, column in rows.items():
            self._rows[name].extend(column)
        for known, more in zip(self._rejected, rejected, strict=True):
            known.extend(more)
        data = (record.data_key, record.data_sha256, record.data_bytes, record.index_key, record.audit_key)
        written = record.made_by.written_at_unix_seconds
        self.parts.append(Part(key, record.plan, record.shard, *data, record.seconds, record.device, written))
        self.keys.add(key)
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
        }

    def _sparse(self, videos: Sequence[VideoOutcome]) -> tuple[list[int], list[int], list[int]]:
        """Row, reason and frames, for each reason that a video's frames were rejected for."""
        first = len(self._rows["video"])
        cells = [(first + n, r, c) for n, row in enumerate(videos) for r, c in row.frames_rejected.items()]
        return (
            [row for row, _, _ in cells],
            [self._code(name) for _, name, _ in cells],
            [count for _, _, count in cells],
        )

    def _code(self, name: str) -> int:
        return self._names.setdefault(name, len(self._names))

    def table(self) -> "AttemptTable":
        """All rows as they are now."""
        if self._table is None:
            row, reason, frames = (np.array(column) for column in self._rejected)
            columns: dict[str, Any] = {name: np.array(column) for name, column in self._rows.items()}
            self._table = AttemptTable(tuple(self.parts), tuple(self._names), **columns, rejected=(row, reason, frames))
        return self._table


@dataclass(frozen=True)
class AttemptTable:
    """Columns of N attempts: `video` uint64 (N,), `outcome` and `reason` codes, `part` into `parts`; see `counting`.

    `rejected` holds three columns: row of this table, code of the reason, frames.
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
    rejected: tuple[NDArray[np.uint32], NDArray[np.uint32], NDArray[np.uint32]]

    @cached_property
    def failed(self) -> Rows:
        """(N,) whether an attempt failed."""
        return np.asarray(_FAILS[self.outcome], np.bool_)

    @cached_property
    def counting(self) -> Rows:
        """(N,) the one attempt of each video that counts, by the rule at the top of this module."""
        written = np.array([part.written_at_unix_seconds for part in self.parts], np.float64)
        order = np.lexsort((np.arange(len(self.video)), written[self.part], ~self.failed, self.video))
        by_video = self.video[order]
        last = np.ones(len(order), np.bool_)
        last[:-1] = by_video[1:] != by_video[:-1]
        rows = np.zeros(len(order), np.bool_)
        rows[order[last]] = True
        return rows

    def of(self, videos: Ids) -> Rows:
        """(N,) whether an attempt is at one of `videos` (M,)."""
        return np.asarray(np.isin(self.video, videos), np.bool_)

    def of_plan(self, plan: str) -> Rows:
        """(N,) whether an attempt was planned by `plan`."""
        return np.asarray(np.array([part.plan == plan for part in self.parts], np.bool_)[self.part], np.bool_)

    def outcomes(self, rows: Rows) -> Counter[tuple[str, str]]:
        """Attempts by (outcome, reason)."""
        both = self.outcome[rows].astype(np.int64) * len(self.names) + self.reason[rows]
        codes, counts = np.unique(both, return_counts=True)
        pairs = [divmod(code, len(self.names)) for code in codes.tolist()]
        names = [(_OUTCOMES[outcome].value, self.names[reason]) for outcome, reason in pairs]
        return Counter(dict(zip(names, counts.tolist(), strict=True)))

    def frames(self, rows: Rows) -> Counter[tuple[str, str]]:
        """Sampled frames by (`kept` or `rejected`, reason)."""
        row, reason, count = self.rejected
        of_rows = rows[row]
        totals = np.bincount(reason[of_rows], count[of_rows].astype(np.float64), len(self.names))
        frames = Counter({("kept", ""): int(self.frames_kept[rows].sum())})
        frames.update({("rejected", self.names[code]): int(totals[code]) for code in np.flatnonzero(totals)})
        return frames

    def with_outcome(self, outcomes: frozenset[Outcome]) -> Rows:
        """(N,) whether an attempt ended in one of `outcomes`."""
        return np.asarray(np.array([outcome in outcomes for outcome in _OUTCOMES])[self.outcome], np.bool_)

    def with_reason(self, reasons: frozenset[str]) -> Rows:
        """(N,) whether an attempt has one of `reasons`."""
        return np.asarray(np.array([name in reasons for name in self.names], np.bool_)[self.reason], np.bool_)


def number_of(video_id: str, where: str) -> int:
    """A video's id as the number its sixteen hex digits write.

    Raises:
        InvalidInput: it is not of that form.
    """
    try:
        number = int(video_id, 16)
    except ValueError:
        number = -1
    if number < 0 or f"{number:016x}" != video_id:
        raise InvalidInput(f"{where}: {video_id!r} is no video's id (sixteen hex digits); remove it to redo")
    return number


def id_of(number: int) -> str:
    """The id whose number this is."""
    return f"{number:016x}"


def ids_of(numbers: "array[int]") -> Ids:
    """(M,) sorted numbers of videos, each once."""
    return np.unique(np.array(numbers, np.uint64))
