"""Reads many records in order, with several requests at a time."""

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
"""Requests at a time: they wait for the network, and fit into the ten connections of an S3 store. Not tuned."""

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
            # a consumer that stops early must not wait for requests that have not begun
            readers.shutdown(wait=True, cancel_futures=True)


def read_ahead(
    store: Store, keys: Iterable[str], kind: type[AnyRecord], on_damage: OnDamage | None = None
) -> Iterator[tuple[str, AnyRecord]]:
    """Yield the keys and records at `keys` in their order, without absent ones; only a few are in memory at a time.

    Raises:
        InvalidInput: a record is damaged and `on_damage`, which would be called with the error, is None.
        Unavailable: the store cannot be reached.
    """

    def read(key: str) -> tuple[str, AnyRecord | InvalidInput | None]:
        try:
            return key, find(store, key, kind)
        except InvalidInput as error:
            return key, error  # not raised, so that the consumer decides, in the order of the keys, whether to continue

    for key, result in in_order(read, keys):
        if isinstance(result, InvalidInput):
            if on_damage is None:
                raise result
            on_damage(result)
        elif result is not None:
            yield key, result


def shard_records(store: Store, recipe: str, on_damage: OnDamage | None = None) -> Iterator[tuple[str, ShardRecord]]:
    """Yield the key and record of every committed part of a recipe's shards, in the order of the keys.

    Raises:
        InvalidInput: a record is damaged and `on_damage` is None.
        Unavailable: the store cannot be reached.
    """
    prefix = layout.shard_records(recipe)
    keys = (item.key for item in store.list(prefix) if layout.is_record(item.key))
    return read_ahead(store, keys, ShardRecord, on_damage)
