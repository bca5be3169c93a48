"""Items read ahead by threads, in order, while whoever takes them computes."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from typing import TypeVar

_ASK_EVERY_SECONDS = 0.25

Item = TypeVar("Item")


def read_ahead(
    read: Callable[[int], Item], first: int, last: int, readers: int, should_stop: Callable[[], bool]
) -> Iterator[Item | None]:
    """`read(first)` to `read(last - 1)`, with `readers` threads at work on those to come; what they raise is raised.

    Where one is late and `should_stop` says so, None comes in its place: a slow store holds up no checkpoint.
    """
    pool = ThreadPoolExecutor(readers)
    ahead: deque[Future[Item]] = deque()
    coming = iter(range(first, last))
    try:
        for _ in range(first, last):
            while len(ahead) < readers + 2 and (following := next(coming, None)) is not None:
                ahead.append(pool.submit(read, following))
            if not _is_done(ahead[0], should_stop):
                yield None
            yield ahead.popleft().result()
    finally:
        # What is under way in a thread ends by itself; nobody waits for it.
        pool.shutdown(wait=False, cancel_futures=True)


def _is_done(future: Future[Item], should_stop: Callable[[], bool]) -> bool:
    while not future.done():
        if should_stop():
            return False
        try:
            future.exception(_ASK_EVERY_SECONDS)
        except NotYet:
            continue
    return True
