"""A bounded local cache of pieces of a snapshot's shards, which are fetched by range when they are first needed.

The name of a shard is derived from its content, and every piece is requested under the ETag that the shard had when its
first piece was fetched, so that pieces of different objects are never mixed. The store repeats failed requests.
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
"""Size of a piece. It divides the runs of bytes that are shuffled together, so that a run consists of full pieces."""


class ShardCache:
    """Bytes of a store's shards by key, with the least recently used pieces evicted. For one process, many threads."""

    def __init__(self, store: Store, size_bytes: Mapping[str, int], folder: Path, limit_bytes: int) -> None:
        """`size_bytes` is the recorded size of each shard; `limit_bytes` bounds all pieces in `folder` together."""
        self.fetched_bytes = 0
        self._store = store
        self._sizes = size_bytes
        self._folder = folder
        # without room for a piece nothing could be fetched; with room for one, a frame in two pieces evicts its first
        self._limit = max(limit_bytes, 2 * PIECE_BYTES)
        self._items: dict[str, StoredObject] = {}
        self._pieces: OrderedDict[tuple[str, int], Future[Path]] = OrderedDict()
        self._held_bytes = 0
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        # Pieces that are being fetched cannot be evicted, so at most as many as fit are fetched at once.
        self._fetching = threading.Semaphore(self._limit // PIECE_BYTES)
        folder.mkdir(parents=True, exist_ok=True)

    def read_range(self, shard: str, offset: int, size_bytes: int) -> bytes:
        """Read bytes of a shard, as the protocol `ShardBytes` defines."""
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
                continue  # another thread evicted the piece after it was looked up

    def _piece(self, shard: str, number: int) -> Path:
        """The file of a piece; if several threads need it, the first fetches it and the others wait."""
        with self._lock:
            piece = self._pieces.get((shard, number))
            if piece is not None:
                self._pieces.move_to_end((shard, number))
            else:
                mine = self._pieces[shard, number] = Future()
        if piece is not None:
            return piece.result()  # outside the lock, which the fetching thread needs
        with self._fetching:
            try:
                mine.set_result(self._fetch(shard, number))
            except BaseException as error:
                with self._lock:
                    self._pieces.pop((shard, number), None)  # the next read tries again
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
        """The object as it was when its first piece was fetched, whose ETag all later requests name."""
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
            # pieces move to the end when they are used, so the first is the least recently used
            for key in [key for key, piece in self._pieces.items() if piece.done()]:
                if self._held_bytes <= self._limit:
                    break
                path = self._pieces.pop(key).result()
                self._held_bytes -= path.stat().st_size
                path.unlink()

    def _changed(self, shard: str) -> InvalidInput:
        return InvalidInput(f"{self._where(shard)}: differs from the snapshot's record; extract its shard again")

    def _where(self, shard: str) -> str:
        return f"{self._store.uri}/{shard}"


class StoredFiles:
    """Bytes of shards of a store with objects that are local files, which are read without a copy."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._local = LocalShards()

    def read_range(self, shard: str, offset: int, size_bytes: int) -> bytes:
        """Read bytes of a shard, as the protocol `ShardBytes` defines."""
        path = self._store.local(shard, Path())
        if path is None:
            raise _gone(f"{self._store.uri}/{shard}")
        return self._local.read_range(str(path), offset, size_bytes)


def shard_bytes(store: Store, size_bytes: Mapping[str, int], folder: Path, limit_bytes: int) -> ShardBytes:
    """Bytes of a store's shards: read directly if its objects are local files, else through a cache in `folder`."""
    if store.fetches_copies:
        return ShardCache(store, size_bytes, folder, limit_bytes)
    return StoredFiles(store)


def _gone(where: str) -> InvalidInput:
    return InvalidInput(
        f"{where}: missing, although the snapshot names it; remove its shard's record and extract again"
    )
