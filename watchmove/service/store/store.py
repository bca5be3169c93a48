"""The interface that every store has, whether it is a folder (`file://`) or a prefix of a bucket (`s3://`)."""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, Protocol

from watchmove.pipeline.errors import InvalidInput, Unavailable

_WRITERS = 8
"""Objects that are written at once: a write mostly waits for the network or a disk. Set by hand; not tuned."""


class StoredObject(NamedTuple):
    """An object in a listing: its key, its size and its ETag, which changes when the content does."""

    key: str
    size_bytes: int
    etag: str


class Access(NamedTuple):
    """How requests to another owner's bucket are made: unsigned, or paid by the requester. Folders ignore it."""

    unsigned: bool = False
    requester_pays: bool = False


class ObjectRefused(InvalidInput):
    """The store does not let this object be read."""


class ObjectUnserved(Unavailable):
    """The store serves other objects, and this one not in several tries."""


class ObjectChanged(Exception):
    """The key now has another object than the one that was described, or none."""


class Store(Protocol):
    """Objects by key below one URI. Writes are atomic: a reader sees the complete object or none.

    Every method raises Unavailable if the same call may succeed later, and InvalidInput if it cannot succeed.
    """

    uri: str
    fetches_copies: bool
    """Whether `fetch` writes a copy to its target; a folder returns the path of the object itself."""

    def check_key(self, key: str) -> str:
        """Return the key unchanged. Raises InvalidInput if it would leave the store."""

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Yield the objects with keys that start with `prefix`, in the order of their keys."""

    def head(self, key: str) -> StoredObject | None:
        """Return the size and ETag of an object, or None if it is absent."""

    def read(self, key: str) -> bytes | None:
        """Return an object's bytes, or None if it is absent."""

    def write(self, key: str, data: bytes) -> None:
        """Write an object and replace any object with the same key."""

    def write_all(self, objects: Iterable[tuple[str, bytes]]) -> None:
        """Write objects by key as `write` does, several at a time, in bounded memory; all are there when this returns.

        After an error, as one that `objects` raises, any of them may be there.
        """

    def create(self, key: str, data: bytes) -> bool:
        """Write an object unless the key exists; return False, with the object unchanged, if it does."""

    def upload(self, key: str, path: Path) -> None:
        """Write an object from a file."""

    def remove(self, key: str) -> None:
        """Remove an object; nothing happens if it is absent."""

    def local(self, key: str, target: Path) -> Path | None:
        """Return a local file with the object's bytes (`target`, or the object's own file), or None if it is absent."""

    def fetch(self, item: StoredObject, target: Path, stop: threading.Event) -> Path | None:
        """Return a local file with the bytes of the object that `item` describes, or None if it is absent.

        Raises:
            ObjectChanged: the key now has another object.
            ObjectRefused: the object may not be read.
            ObjectUnserved: the store serves other objects, and not this one.
            Stopped: `stop` was set during the download.
        """

    def read_range(self, item: StoredObject, offset: int, size_bytes: int) -> bytes:
        """Return `size_bytes` bytes from `offset`, all within the object that `item` describes.

        Raises:
            ObjectChanged: the key now has another object, or none.
            ObjectRefused: the object may not be read.
        """

    def stream(self, item: StoredObject) -> Iterator[bytes]:
        """Yield the bytes of the object that `item` describes, from first to last, in pieces of at most 256 KiB.

        Raises:
            ObjectChanged: the key now has another object, or none.
            ObjectRefused: the object may not be read.
        """

    def make(self) -> None:
        """Make the folder or bucket unless it exists."""

    def reconnect(self) -> None:
        """Close idle connections, so that the next request makes one: what an address leads to may have changed."""


def write_at_once(write: Callable[[str, bytes], None], objects: Iterable[tuple[str, bytes]]) -> None:
    """Write objects by `write(key, data)`, which several threads call, in memory that does not depend on their number.

    Raises what `write` and `objects` raise.
    """
    waiting: deque[Future[None]] = deque()
    with ThreadPoolExecutor(_WRITERS) as writers:
        for key, data in objects:
            waiting.append(writers.submit(write, key, data))
            # waiting for the oldest write bounds the memory that pending objects take
            if len(waiting) > 2 * _WRITERS:
                waiting.popleft().result()
        for future in waiting:
            future.result()


def check_key(key: str) -> str:
    """Return the key unchanged after checking that it stays below its store.

    Raises:
        InvalidInput: the key is empty, or has a `.` or `..` part or a NUL.
    """
    # Keys come from lists and buckets that are not trusted, and HTTP libraries resolve dots in the path of a URL.
    if not key or "\0" in key or not {".", ".."}.isdisjoint(key.split("/")):
        raise InvalidInput(f"key {key!r}: would leave its store")
    return key


def check_path(key: str) -> str:
    """Return the key unchanged after checking that it is a relative path.

    Raises:
        InvalidInput: the key is no relative path, or would leave its folder.
    """
    if key.startswith("/") or "\\" in key:
        raise InvalidInput(f"key {key!r}: would leave its store")
    return check_key(key)
