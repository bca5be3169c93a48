"""Names and errors of failed videos, as examples of each reason."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from watchmove.service.records.datasets import FailedVideo
from watchmove.service.records.outcomes import ShardRecord, VideoOutcome
from watchmove.service.records.stream import read_ahead
from watchmove.service.store.store import Store


class FailedName(NamedTuple):
    """The key of a failed video, and what the error said."""

    key: str
    detail: str


def failed_names(store: Store, failed: Mapping[str, Sequence[FailedVideo]]) -> dict[str, list[FailedName]]:
    """Return the names of failed videos by outcome and reason; a place whose video has been removed has none.

    Raises:
        InvalidInput: the record of a shard is damaged.
        Unavailable: the store cannot be reached.
    """
    keys = sorted({place.part for places in failed.values() for place in places})
    parts = dict(read_ahead(store, keys, ShardRecord))
    found = {name: [_row(parts.get(place.part), place.video) for place in places] for name, places in failed.items()}
    return {
        name: [FailedName(row.video.key, row.detail) for row in rows if row is not None and _name(row) == name]
        for name, rows in found.items()
    }


def _row(part: ShardRecord | None, video: str) -> VideoOutcome | None:
    rows = part.videos if part is not None else ()
    return next((row for row in rows if row.video.id == video), None)


def _name(row: VideoOutcome) -> str:
    return f"{row.outcome.value}: {row.reason}" if row.reason else row.outcome.value
