"""Reading ahead: threads read the next items, in order, while the caller computes on the current one."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from typing import TypeVar

_POLL_SECONDS = 0.25
"""Interval at which a late item is waited for and `should_stop` is called. Set by hand."""
_SPARE_ITEMS = 2
"""Items read in advance in addition to one for each thread, so that no thread waits for the caller. Set by hand."""

Item = TypeVar("Item")


def read_ahead(
    read: Callable[[int], Item], first: int, last: int, readers: int, should_stop: Callable[[], bool]
) -> Iterator[Item | None]:
    """Yield `read(first)` to `read(last - 1)`, read in advance by `readers` threads; an error of `read` is raised.

    If `should_stop` returns true while an item is late, None is yielded in its place, so that the caller can save a
    checkpoint without waiting for a slow store.
    """
    pool = ThreadPoolExecutor(readers)
    ahead: deque[Future[Item]] = deque()
    coming = iter(range(first, last))
    try:
        for _ in range(first, last):
            while len(ahead) < readers + _SPARE_ITEMS and (following := next(coming, None)) is not None:
                ahead.append(pool.submit(read, following))
            if not _is_done(ahead[0], should_stop):
                # a caller that continues nevertheless gets the item next
                yield None
            yield ahead.popleft().result()
    finally:
        # Reads that have begun cannot be cancelled; their threads end on their own, and nothing waits for them.
        pool.shutdown(wait=False, cancel_futures=True)


def _is_done(future: Future[Item], should_stop: Callable[[], bool]) -> bool:
    while not future.done():
        if should_stop():
            return False
        try:
            # waits like result(), but leaves raising the read's own error to the loop above
            future.exception(_POLL_SECONDS)
        except NotYet:
            continue
    return True
