"""Records read one after the other, several fetched at a time: what a store of many thousand of them is read by."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from watchmove.pipeline.errors import InvalidInput
from watchmove.service.records import layout
from watchmove.service.records.outcomes import ShardRecord
from watchmove.service.records.record import AnyRecord, find
from watchmove.service.store.store import Store

READERS = 8
"""Requests under way at once: they wait for the network, and fit into the ten connections that a store keeps."""

OnDamage = Callable[[InvalidInput], None]
Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(read: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Yield `read(item)` for each item, in order; at most two results per reader are in progress or held at a time."""
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(READERS) as readers:
        try:
            for item in items:
                waiting.append(readers.submit(read, item))
                if len(waiting) > 2 * READERS:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            readers.shutdown(wait=True, cancel_futures=True)


def read_ahead(
    store: Store, keys: Iterable[str], kind: type[AnyRecord], on_damage: OnDamage | None = None
) -> Iterator[tuple[str, AnyRecord]]:
    """The records at `keys`, in their order; a few are held at a time.

    Raises:
        InvalidInput: a record is damaged and nobody takes that as `on_damage`.
        Unavailable: the store cannot be reached.
    """

    def read(key: str) -> tuple[str, AnyRecord | InvalidInput | None]:
        try:
            return key, find(store, key, kind)
        except InvalidInput as error:
            return key, error

    for key, found in in_order(read, keys):
        if isinstance(found, InvalidInput):
            if on_damage is None:
                raise found
            on_damage(found)
        elif found is not None:
            yield key, found


def shard_records(store: Store, recipe: str, on_damage: OnDamage | None = None) -> Iterator[tuple[str, ShardRecord]]:
    """Every committed part of a recipe's shards with its key, in the order of the keys. Raises as `read_ahead` does."""
    prefix = layout.shard_records(recipe)
    keys = (item.key for item in store.list(prefix) if item.key.endswith(".json"))
    return read_ahead(store, keys, ShardRecord, on_damage)
