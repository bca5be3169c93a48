"""The attempts of a recipe that the exporter knows, and their compacted snapshot in the store.

A restarted exporter begins with the snapshot and reads only the shard records that are newer. It says of every record
in it which version that was, so a snapshot whose records have been replaced or removed is not used. Any snapshot is as
good as another: of two exporters that write at once, either one's may stay.
"""

import io
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.files.npz import DAMAGED, open_npz
from watchmove.service.records.attempts import Attempts, AttemptTable, Part
from watchmove.service.records.outcomes import DeviceUse, Outcome
from watchmove.service.store.store import StoredObject

_VERSION = 1
"""Raised when a snapshot would be read otherwise."""
_COLUMNS = ("video", "outcome", "reason", "part", "frames_seen", "frames_kept", "seconds")
_REJECTED = ("rejected_row", "rejected_reason", "rejected_frames")
_HEAD = "head"


class KnownAttempts(NamedTuple):
    """The attempts of shard records, and the versions of the records by key.

    Of a part, the table has only what metrics need: its plan, shard, times and use of the device. It has no hashes, and
    its columns have the smallest types that hold their numbers; `seconds` is float32.
    """

    table: AttemptTable
    records: Mapping[str, StoredObject]


def no_attempts() -> KnownAttempts:
    """Return no attempts of no records."""
    return KnownAttempts(Attempts().table(), {})


def with_attempts(known: KnownAttempts, more: AttemptTable, records: Mapping[str, StoredObject]) -> KnownAttempts:
    """Return the attempts with those of further records, whose rows come last."""
    first = known.table
    names = {name: code for code, name in enumerate(first.names)}
    # the code in the joined table of each name of the second
    codes = np.array([names.setdefault(name, len(names)) for name in more.names], np.uint32)
    row, reason, frames = more.rejected
    rejected = (row.astype(np.uint32) + np.uint32(len(first.video)), codes[reason], frames)
    columns: dict[str, NDArray[Any]] = {name: getattr(more, name) for name in _COLUMNS}
    columns |= {"reason": codes[more.reason], "part": more.part.astype(np.uint32) + np.uint32(len(first.parts))}
    table = _table(
        (*first.parts, *(_compacted(part) for part in more.parts)),
        tuple(names),
        {name: np.concatenate([getattr(first, name), column]) for name, column in columns.items()},
        tuple(np.concatenate(both) for both in zip(first.rejected, rejected, strict=True)),
    )
    return KnownAttempts(table, {**known.records, **records})


def snapshot_of(known: KnownAttempts) -> bytes:
    """Return the snapshot of attempts."""
    table = known.table
    head = {
        "version": _VERSION,
        "outcomes": [outcome.value for outcome in Outcome],
        "names": table.names,
        "parts": [_fields(part) for part in table.parts],
        "records": [list(item) for item in known.records.values()],
    }
    arrays = {name: getattr(table, name) for name in _COLUMNS} | dict(zip(_REJECTED, table.rejected, strict=True))
    stream = io.BytesIO()
    np.savez_compressed(
        stream, allow_pickle=False, **arrays, **{_HEAD: np.frombuffer(json.dumps(head).encode(), np.uint8)}
    )
    return stream.getvalue()


def read_snapshot(data: bytes, where: str) -> KnownAttempts:
    """Return the attempts of a snapshot.

    Raises:
        InvalidInput: it is damaged, or of another version; the line names it by `where`.
    """
    try:
        with open_npz(data) as arrays:
            head = json.loads(arrays[_HEAD].tobytes())
            columns = {name: arrays[name] for name in _COLUMNS}
            row, reason, frames = (arrays[name] for name in _REJECTED)
        if head["version"] != _VERSION or head["outcomes"] != [outcome.value for outcome in Outcome]:
            raise ValueError("it is of another version")
        parts = tuple(_part(*fields) for fields in head["parts"])
        table = _table(parts, tuple(map(str, head["names"])), columns, (row, reason, frames))
        _check(table)
        items = (StoredObject(str(key), int(size), str(etag)) for key, size, etag in head["records"])
        return KnownAttempts(table, {item.key: item for item in items})
    except DAMAGED as error:
        raise InvalidInput(f"{where}: no snapshot of attempts ({error}); its records are read instead") from error


def _fields(part: Part) -> tuple[object, ...]:
    """The arguments of `_part` for a part."""
    use = (part.device.busy_seconds, part.device.waiting_seconds)
    return (part.key, part.plan, part.shard, part.seconds, *use, part.written_at_unix_seconds)


def _part(key: str, plan: str, shard: int, seconds: float, busy: float, waiting: float, written: float) -> Part:
    use = DeviceUse(busy_seconds=busy, waiting_seconds=waiting)
    return Part(str(key), str(plan), int(shard), "", "", 0, "", "", float(seconds), use, float(written))


def _compacted(part: Part) -> Part:
    """A part without the names of its files."""
    return part._replace(data_key="", data_sha256="", data_bytes=0, index_key="", audit_key="")


def _table(
    parts: tuple[Part, ...],
    names: tuple[str, ...],
    columns: Mapping[str, NDArray[Any]],
    rejected: tuple[NDArray[np.uint32], ...],
) -> AttemptTable:
    row, reason, frames = (_smallest(column) for column in rejected)
    none = np.broadcast_to(np.uint8(0), len(columns["video"]))
    small = {name: _smallest(column) for name, column in columns.items()}
    return AttemptTable(
        parts, names, **small, rejected=(row, reason, frames), hash_count=none, hashes=np.empty(0, np.uint64)
    )


def _smallest(column: NDArray[Any]) -> NDArray[Any]:
    """A column in the smallest type that holds its numbers, which halves the bytes of a large run."""
    if column.dtype.kind != "u":
        return column.astype(np.float32, copy=False)
    return column.astype(np.min_scalar_type(column.max(initial=0)), copy=False)


def _check(table: AttemptTable) -> None:
    """Raise ValueError if columns differ in length, or refer to rows, parts, names or outcomes that are not there."""
    row, reason, frames = table.rejected
    columns = {name: getattr(table, name) for name in _COLUMNS}
    lengths = {column.shape for column in columns.values()}
    if len(lengths) != 1 or not row.shape == reason.shape == frames.shape or table.video.ndim != 1 or row.ndim != 1:
        raise ValueError("its columns differ in length")
    of_parts = np.array([(part.seconds, part.written_at_unix_seconds) for part in table.parts], np.float64)
    if not all((np.isfinite(times) & (times >= 0)).all() for times in (table.seconds, of_parts)):
        raise ValueError("a time is no number, or negative")
    numbers = (*(column for name, column in columns.items() if name != "seconds"), row, reason, frames)
    if any(column.dtype.kind != "u" for column in numbers):
        raise ValueError("a column has numbers of another type")
    bounds = (
        (table.outcome, len(Outcome)),
        (table.reason, len(table.names)),
        (table.part, len(table.parts)),
        (row, len(table.video)),
        (reason, len(table.names)),
    )
    if any(codes.size and codes.max() >= count for codes, count in bounds):
        raise ValueError("a column refers to what is not there")
