"""Records read one after the other, several fetched at a time: what a store of many thousand of them is read by."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from pipeline.errors import InvalidInput
from service import layout
from service.outcomes import ShardRecord
from service.records import AnyRecord, find
from service.store import Store

READERS = 8
"""Requests under way at once: they wait for the network, and fit into the ten connections that a store keeps."""

OnDamage = Callable[[InvalidInput], None]


def read_ahead(
    store: Store, keys: Iterable[str], kind: type[AnyRecord], on_damage: OnDamage | None = None
) -> Iterator[tuple[str, AnyRecord]]:
    """The records at `keys`, in their order; a few are held at a time, so memory does not grow with their number.

    Raises:
        InvalidInput: a record is damaged and nobody takes that as `on_damage`.
        Unavailable: the store cannot be reached.
    """
    waiting: deque[tuple[str, Future[AnyRecord | None]]] = deque()
    with ThreadPoolExecutor(READERS) as readers:
        try:
            for key in keys:
                waiting.append((key, readers.submit(find, store, key, kind)))
                if len(waiting) > 2 * READERS:
                    yield from _next(waiting, on_damage)
            while waiting:
                yield from _next(waiting, on_damage)
        finally:
            readers.shutdown(wait=True, cancel_futures=True)


def shard_records(store: Store, recipe: str, on_damage: OnDamage | None = None) -> Iterator[tuple[str, ShardRecord]]:
    """Every committed part of a recipe's shards with its key, in the order of the keys. Raises as `read_ahead` does."""
    prefix = layout.shard_records(recipe)
    keys = (item.key for item in store.list(prefix) if item.key.endswith(".json"))
    return read_ahead(store, keys, ShardRecord, on_damage)


def _next(
    waiting: deque[tuple[str, Future[AnyRecord | None]]], on_damage: OnDamage | None
) -> Iterator[tuple[str, AnyRecord]]:
    key, future = waiting.popleft()
    try:
        record = future.result()
    except InvalidInput as error:
        if on_damage is None:
            raise
        on_damage(error)
        return
    if record is not None:
        yield key, record
