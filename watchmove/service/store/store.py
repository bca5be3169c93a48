"""One small interface over the places where data lies: a folder (`file://`) or a bucket (`s3://`)."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from watchmove.pipeline.errors import InvalidInput


class StoredObject(NamedTuple):
    """What a listing says of one object; the ETag changes when the content does."""

    key: str
    size_bytes: int
    etag: str


class Access(NamedTuple):
    """How requests to a bucket that is not one's own are made; a folder takes no notice."""

    unsigned: bool = False
    requester_pays: bool = False


class ObjectRefused(InvalidInput):
    """The store does not let this object be read."""


class ObjectChanged(Exception):
    """The object that lies there now is not the one that was described."""


class Store(Protocol):
    """Objects by key below one URI. Writes are atomic: a reader sees the whole object or none.

    Every method raises Unavailable for what may work later and InvalidInput for what never will.
    """

    uri: str
    fetches_copies: bool
    """Whether `fetch` writes to its target; a folder's objects are files already."""

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Objects whose key starts with `prefix`, in the order of their keys."""

    def head(self, key: str) -> StoredObject | None:
        """What is known of one object, or None where it is absent."""

    def read(self, key: str) -> bytes | None:
        """An object's bytes, or None where it is absent."""

    def write(self, key: str, data: bytes) -> None:
        """Write an object, replacing what was there."""

    def create(self, key: str, data: bytes) -> bool:
        """Write an object unless there is one; False says that there was, and that it was left alone."""

    def upload(self, key: str, path: Path) -> None:
        """Write an object from a file."""

    def local(self, key: str, target: Path) -> Path | None:
        """A local file with the object's bytes: `target`, unless it is local already; None where it is absent."""

    def fetch(self, item: StoredObject, target: Path, stop: threading.Event) -> Path | None:
        """A local file with the bytes of just the object that `item` describes; None where it is absent.

        Raises ObjectChanged where another one lies there now, ObjectRefused where it may not be read, and Stopped
        when `stop` is set meanwhile.
        """

    def read_range(self, item: StoredObject, offset: int, size_bytes: int) -> bytes:
        """`size_bytes` bytes from `offset` on of just the object that `item` describes, which has as many.

        Raises ObjectChanged and ObjectRefused as `stream` does.
        """

    def stream(self, item: StoredObject) -> Iterator[bytes]:
        """The bytes of just the object that `item` describes, from first to last, in pieces of some hundred thousand.

        Raises ObjectChanged and ObjectRefused as `fetch` does; ObjectChanged too where nothing lies there any more.
        """

    def make(self) -> None:
        """Make the folder or bucket where it is absent."""


def check_key(key: str) -> str:
    """The key itself, once it is known to stay below its store.

    Raises:
        InvalidInput: the key is empty, absolute, or climbs out.
    """
    if not key or key.startswith("/") or "\\" in key or "\0" in key or ".." in key.split("/"):
        raise InvalidInput(f"key {key!r}: would leave its store")
    return key
