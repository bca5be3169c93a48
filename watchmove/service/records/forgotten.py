"""Works that are forgotten, by hashes: what no step takes up again, what was removed, and what has learnt from them.

A work is a video by its URI, in whatever version. No record of this module holds a name.
"""

import hashlib
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from watchmove.service.records import layout
from watchmove.service.records.record import FINITE, Count, Record, UnixSeconds, find
from watchmove.service.store.folder import FileStore
from watchmove.service.store.store import Store

SelectorKind = Literal["video", "owner", "licence"]
"""What selects works: their key or URI, their owner's name, or the name of their licence."""

FORGOTTEN = "forgotten"
"""Why a listed video is left out of a plan."""


class ForgottenWork(BaseModel):
    """One work: the SHA-256 of its URI, and the ids of its versions that the store has had."""

    model_config = FINITE

    work: str
    videos: tuple[str, ...] = ()


class Removal(BaseModel):
    """An object of the store that held something of forgotten works, and what was done to it.

    `entries` counts the rows or pictures, and `frames` the frames with their masks, that were taken out of it.
    """

    model_config = FINITE

    key: str
    what: Literal["rewritten", "removed"]
    entries: Count = 0
    frames: Count = 0


class ForgetRecord(Record):
    """The receipt of a request to forget, and a part of the list of forgotten works.

    It is written before anything is removed. `finished_at_unix_seconds` is None until all `removals` are done.
    `selector_hashes` are SHA-256s of the selector and what it was given. `datasets` and `backbones` have learnt from
    the works, and `unknown_checkpoints` are those of unfinished trainings whose snapshot no record tells.
    """

    selector: SelectorKind
    selector_hashes: tuple[str, ...]
    works: tuple[ForgottenWork, ...]
    removals: tuple[Removal, ...] = ()
    datasets: tuple[str, ...] = ()
    backbones: tuple[str, ...] = ()
    unknown_checkpoints: tuple[str, ...] = ()
    finished_at_unix_seconds: UnixSeconds | None = None


class LearntRecord(Record):
    """The mark of a snapshot or backbone that has learnt from works which were forgotten since.

    `receipts` names the requests. A mark is not part of an identity: what it marks keeps its name and its figures.
    """

    receipts: tuple[str, ...]


class ForgottenWorks:
    """The list of forgotten works, by the hashes of their URIs."""

    def __init__(self, works: frozenset[str]) -> None:
        self._works = works

    def __len__(self) -> int:
        return len(self._works)

    def has(self, place: str, key: str) -> bool:
        """Return whether the work `key` of the store of videos at the URI `place` is forgotten."""
        # most stores have forgotten nothing, and a large plan would compute a hash for each video in vain
        return bool(self._works) and work_hash(place, key) in self._works


def receipts_of(store: Store) -> dict[str, ForgetRecord]:
    """Return all receipts of a store by their ids.

    Raises:
        InvalidInput: a receipt is damaged.
        Unavailable: the store cannot be reached.
    """
    prefix = layout.all_receipts()
    keys = [item.key for item in store.list(prefix) if layout.is_record(item.key)]
    found = {key: find(store, key, ForgetRecord) for key in keys}
    return {
        key.removeprefix(prefix).removesuffix(".json"): record for key, record in found.items() if record is not None
    }


def forgotten_works(store: Store) -> ForgottenWorks:
    """Return the works that a store has forgotten; raises the errors of `receipts_of`."""
    return ForgottenWorks(frozenset(work.work for record in receipts_of(store).values() for work in record.works))


def work_hash(place: str, key: str) -> str:
    """Return the SHA-256 of the URI of the video `key` in the store of videos at the URI `place`."""
    return sha256_of(f"{place_of(place)}/{key}")


@cache
def place_of(uri: str) -> str:
    """Return the URI of a store of videos in the one form that hashes are made of."""
    if uri.startswith("file://"):
        # `file://~/videos` is the same place as the complete path
        return FileStore(Path(uri.removeprefix("file://"))).uri
    return uri.rstrip("/")


def sha256_of(text: str) -> str:
    """Return the SHA-256 of a text as 64 hexadecimal digits."""
    # the name of a local file may have bytes that are not UTF-8
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
