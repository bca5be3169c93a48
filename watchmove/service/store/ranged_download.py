"""One object by ranged requests: to a local file several at a time, or in order; resumed from where they broke.

Knows nothing of S3: whoever calls says how a range is opened. So that one layer alone decides about waiting, a range is
one request without retries of its own; here it is asked for again, after as long as the store asked for or a random
part of a doubling delay, until several tries in a row have brought no byte.
"""

import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from watchmove.pipeline.errors import Stopped, Unavailable

RANGE_BYTES = 8 * 2**20
CONNECTIONS = 4
_TRIES_WITHOUT_A_BYTE = 8
_FIRST_DELAY_SECONDS = 0.1
_LONGEST_DELAY_SECONDS = 20.0

OpenRange = Callable[[int, int], Iterator[bytes]]
"""Chunks of the bytes from the first number to the second, both included. Raises RangeBroken for what may pass."""


class RangeBroken(Exception):
    """A range ended too early or did not begin; the rest may be had `retry_after_seconds` later."""

    def __init__(self, why: str, retry_after_seconds: float = 0.0) -> None:
        super().__init__(why)
        self.retry_after_seconds = retry_after_seconds


def download(open_range: OpenRange, size_bytes: int, target: Path, stop: threading.Event) -> None:
    """Write the object's `size_bytes` bytes to `target`, which is there whole or not at all.

    Raises:
        Unavailable: a range could not be had, however often it was asked for.
        Stopped: `stop` was set meanwhile.
        OSError: the disk refuses. What else `open_range` raises is passed on, once no range is under way.
    """
    partial = target.with_name(target.name + ".partial")
    target.parent.mkdir(parents=True, exist_ok=True)
    ranges = [(first, min(first + RANGE_BYTES, size_bytes) - 1) for first in range(0, size_bytes, RANGE_BYTES)]
    given_up = threading.Event()
    try:
        with partial.open("wb") as file, ThreadPoolExecutor(CONNECTIONS) as pool:
            gets = [_Range(open_range, file.fileno(), place, (stop, given_up)) for place in ranges]
            futures = [pool.submit(get.fetch) for get in gets]
            errors = [error for future in as_completed(futures) if (error := future.exception()) is not None]
        for error in sorted(errors, key=lambda error: isinstance(error, Stopped)):
            raise error  # where one range failed the others were stopped, which is not what happened
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def in_order(open_range: OpenRange, size_bytes: int) -> Iterator[bytes]:
    """The object's `size_bytes` bytes from first to last, for who reads them once and keeps none.

    Raises:
        Unavailable: as in `download`. What else `open_range` raises is passed on.
    """
    at, tries = 0, 0
    while at < size_bytes:
        before = at
        try:
            for chunk in open_range(at, size_bytes - 1):
                yield chunk[: size_bytes - at]
                at += len(chunk)
            broken = RangeBroken(f"the body ended at byte {at} of {size_bytes}")
        except RangeBroken as error:
            broken = error
        if at < size_bytes:
            tries = 1 if at > before else tries + 1
            time.sleep(_delay_seconds(broken, tries))


class _Range:
    """One range of one file."""

    def __init__(
        self, open_range: OpenRange, descriptor: int, place: tuple[int, int], ends: tuple[threading.Event, ...]
    ) -> None:
        self._open_range = open_range
        self._descriptor = descriptor
        self._at, self._last = place
        self._stop, self._given_up = ends

    def fetch(self) -> None:
        """Bring all of it; where that fails, the file's other ranges end too."""
        try:
            self._fetch()
        except BaseException:
            self._given_up.set()
            raise

    def _fetch(self) -> None:
        tries = 0
        while self._at <= self._last:
            before = self._at
            self._check_stop()
            try:
                self._read_on()
                broken = RangeBroken(f"the body ended at byte {self._at} of {self._last + 1}")
            except RangeBroken as error:
                broken = error
            if self._at <= self._last:
                tries = 1 if self._at > before else tries + 1
                self._pause(broken, tries)

    def _read_on(self) -> None:
        for chunk in self._open_range(self._at, self._last):
            self._check_stop()
            wanted = chunk[: self._last + 1 - self._at]
            written = os.pwrite(self._descriptor, wanted, self._at)
            self._at += written
            if written < len(wanted):
                raise RangeBroken("the disk took a part of a chunk")

    def _check_stop(self) -> None:
        if self._stop.is_set() or self._given_up.is_set():
            raise Stopped("received a signal while fetching")

    def _pause(self, broken: RangeBroken, tries: int) -> None:
        if self._stop.wait(_delay_seconds(broken, tries)) or self._given_up.is_set():
            raise Stopped("received a signal while fetching")


def _delay_seconds(broken: RangeBroken, tries: int) -> float:
    if tries >= _TRIES_WITHOUT_A_BYTE:
        raise Unavailable(f"{broken}, {tries} times in a row")
    delay = random.uniform(0, min(_LONGEST_DELAY_SECONDS, _FIRST_DELAY_SECONDS * 2**tries))
    return max(broken.retry_after_seconds, delay)
