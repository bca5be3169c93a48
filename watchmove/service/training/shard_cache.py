"""Pieces of a snapshot's shards on this machine: fetched by range when first wanted, and no more than fit.

A shard's name is made of its content, and every piece is asked for under the ETag that the shard had at first, so that
pieces of one shard are of one object. What breaks or is throttled is asked for again; what is gone is named.
"""

import itertools
import threading
from collections import OrderedDict
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path

from watchmove.pipeline.dataset.frame_table import LocalShards, ShardBytes
from watchmove.pipeline.errors import InvalidInput, Unavailable
from watchmove.service.store.store import ObjectChanged, Store, StoredObject

PIECE_BYTES = 8 * 2**20
"""A divisor of the runs of bytes that are shuffled together."""


class ShardCache:
    """Bytes of shards of a store, by key; what was used longest ago makes room. One process's own."""

    def __init__(self, store: Store, size_bytes: Mapping[str, int], folder: Path, limit_bytes: int) -> None:
        """`size_bytes` says how large each shard must be; `limit_bytes` is for all pieces in `folder` together."""
        self.fetched_bytes = 0
        self._store = store
        self._sizes = size_bytes
        self._folder = folder
        self._limit = max(limit_bytes, 2 * PIECE_BYTES)
        self._items: dict[str, StoredObject] = {}
        self._pieces: OrderedDict[tuple[str, int], Future[Path]] = OrderedDict()
        self._held_bytes = 0
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        # a piece on its way cannot make room: no more of them at once than fit
        self._on_the_way = threading.Semaphore(self._limit // PIECE_BYTES)
        folder.mkdir(parents=True, exist_ok=True)

    def read_range(self, shard: str, offset: int, size_bytes: int) -> bytes:
        """As `watchmove.pipeline.dataset.frame_table.ShardBytes` says."""
        if offset + size_bytes > self._sizes[shard]:
            raise InvalidInput(f"{self._where(shard)}: ends before byte {offset + size_bytes}; extract its shard again")
        content = bytearray()
        at = offset
        while at < offset + size_bytes:
            number, begin = divmod(at, PIECE_BYTES)
            end = min(PIECE_BYTES, begin + offset + size_bytes - at)
            content += self._part(shard, number, begin, end - begin)
            at += end - begin
        return bytes(content)

    def _part(self, shard: str, number: int, begin: int, size_bytes: int) -> bytes:
        while True:
            try:
                with self._piece(shard, number).open("rb") as file:
                    file.seek(begin)
                    return file.read(size_bytes)
            except FileNotFoundError:
                continue  # it made room for another just now

    def _piece(self, shard: str, number: int) -> Path:
        """The file of a piece; of several threads that want it one fetches it."""
        with self._lock:
            piece = self._pieces.get((shard, number))
            if piece is not None:
                self._pieces.move_to_end((shard, number))
            else:
                mine = self._pieces[shard, number] = Future()
        if piece is not None:
            return piece.result()
        with self._on_the_way:
            try:
                mine.set_result(self._fetch(shard, number))
            except BaseException as error:
                with self._lock:
                    self._pieces.pop((shard, number), None)
                mine.set_exception(error)
                raise
        return mine.result()

    def _fetch(self, shard: str, number: int) -> Path:
        first = number * PIECE_BYTES
        size_bytes = min(PIECE_BYTES, self._sizes[shard] - first)
        try:
            content = self._store.read_range(self._item(shard), first, size_bytes)
        except ObjectChanged as error:
            raise self._changed(shard) from error
        if len(content) != size_bytes:
            raise self._changed(shard)
        path = self._folder / f"piece-{next(self._numbers)}"
        self._make_room(size_bytes)
        try:
            path.write_bytes(content)
        except OSError as error:
            with self._lock:
                self._held_bytes -= size_bytes
            path.unlink(missing_ok=True)
            raise Unavailable(f"{path}: could not be written ({error.strerror}); free space or try again") from error
        return path

    def _item(self, shard: str) -> StoredObject:
        """The object as it was when its first piece was fetched."""
        item = self._items.get(shard)
        if item is None:
            item = self._store.head(shard)
            if item is None:
                raise _gone(self._where(shard))
            if item.size_bytes != self._sizes[shard]:
                raise self._changed(shard)
            self._items[shard] = item
        return item

    def _make_room(self, size_bytes: int) -> None:
        with self._lock:
            self.fetched_bytes += size_bytes
            self._held_bytes += size_bytes
            for key in [key for key, piece in self._pieces.items() if piece.done()]:
                if self._held_bytes <= self._limit:
                    break
                path = self._pieces.pop(key).result()
                self._held_bytes -= path.stat().st_size
                path.unlink()

    def _changed(self, shard: str) -> InvalidInput:
        return InvalidInput(f"{self._where(shard)}: not what the snapshot's record says; extract its shard again")

    def _where(self, shard: str) -> str:
        return f"{self._store.uri}/{shard}"


class StoredFiles:
    """Bytes of shards of a store whose objects are files already: nothing is copied."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._local = LocalShards()

    def read_range(self, shard: str, offset: int, size_bytes: int) -> bytes:
        """As `watchmove.pipeline.dataset.frame_table.ShardBytes` says."""
        path = self._store.local(shard, Path())
        if path is None:
            raise _gone(f"{self._store.uri}/{shard}")
        return self._local.read_range(str(path), offset, size_bytes)


def shard_bytes(store: Store, size_bytes: Mapping[str, int], folder: Path, limit_bytes: int) -> ShardBytes:
    """Bytes of shards of a store: of its files where it has files, else through a cache in `folder`."""
    if store.fetches_copies:
        return ShardCache(store, size_bytes, folder, limit_bytes)
    return StoredFiles(store)


def _gone(where: str) -> InvalidInput:
    return InvalidInput(f"{where}: the snapshot names it, but it is gone; remove its shard's record to extract anew")
