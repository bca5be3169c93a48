"""Measures which part of a training's time passes while it waits for its data."""

import time
from collections.abc import Iterator
from typing import TypeVar

Item = TypeVar("Item")


class DataWait:
    """The seconds since it was made, and those of them in which the items of `timed` were waited for."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._waited_seconds = 0.0

    def timed(self, items: Iterator[Item]) -> Iterator[Item]:
        """Yield the items, and count the time until each is there."""
        while True:
            asked = time.monotonic()
            try:
                item = next(items)
            except StopIteration:
                return
            finally:
                self._waited_seconds += time.monotonic() - asked
            yield item

    @property
    def elapsed_seconds(self) -> float:
        """Seconds since it was made, more than 0."""
        return max(time.monotonic() - self._began, 1e-9)

    @property
    def fraction(self) -> float:
        """The share of the elapsed seconds that was waiting, in [0, 1]."""
        return min(self._waited_seconds / self.elapsed_seconds, 1.0)
