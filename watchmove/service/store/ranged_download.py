"""Downloads one object by ranged requests, several at a time into a local file or one after another as a stream.

The module does not know S3: the caller passes a function that opens a range. A range is one request without retries of
its own, so that only this module decides how long to wait. A broken range is requested again from the first missing
byte, after the delay that the store asked for or a random part of a doubling delay, until
`_TRIES_WITHOUT_A_BYTE` requests in a row have brought no byte.
"""

import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from watchmove.pipeline.errors import Stopped, Unavailable
from watchmove.service.store.traffic import TRAFFIC, RetryCause

RANGE_BYTES = 8 * 2**20
"""Bytes of one ranged request. Set by hand; not tuned."""

CONNECTIONS = 4
"""Ranges of one object that are downloaded at the same time. Set by hand; not tuned."""

_TRIES_WITHOUT_A_BYTE = 8
"""Requests in a row that may bring no byte before the download fails. Set by hand; not tuned."""

_FIRST_DELAY_SECONDS = 0.1
"""The bound on the random delay is this times two to the number of tries. Set by hand; not tuned."""

_LONGEST_DELAY_SECONDS = 20.0
"""Upper bound on the random delay. Set by hand; not tuned."""


OpenRange = Callable[[int, int], Iterator[bytes]]
"""Yields chunks of the bytes from the first number to the second, both inclusive; RangeBroken is a transient error."""


class RangeBroken(Exception):
    """A range ended early or did not begin; the rest can be requested after `retry_after_seconds`."""

    def __init__(self, why: str, retry_after_seconds: float = 0.0, cause: RetryCause = RetryCause.CONNECTION) -> None:
        super().__init__(why)
        self.cause = cause
        self.retry_after_seconds = retry_after_seconds


def download(open_range: OpenRange, size_bytes: int, target: Path, stop: threading.Event) -> None:
    """Write the object's `size_bytes` bytes to `target`, which is complete or absent.

    Raises:
        Unavailable: a range failed in every try.
        Stopped: `stop` was set during the download.
        OSError: the file cannot be written.

    Any other exception of `open_range` is passed on once every other range has ended.
    """
    partial = target.with_name(target.name + ".partial")
    target.parent.mkdir(parents=True, exist_ok=True)
    ranges = [(first, min(first + RANGE_BYTES, size_bytes) - 1) for first in range(0, size_bytes, RANGE_BYTES)]
    # `stop` is the caller's and ends all of its downloads; `aborted` ends the ranges of this one
    aborted = threading.Event()
    try:
        # the pool is entered last, so that its threads have ended when the descriptor that they write to is closed
        with partial.open("wb") as file, ThreadPoolExecutor(CONNECTIONS) as pool:
            gets = [_Range(open_range, file.fileno(), place, (stop, aborted)) for place in ranges]
            futures = [pool.submit(get.fetch) for get in gets]
            try:
                errors = [error for future in as_completed(futures) if (error := future.exception()) is not None]
            except BaseException:  # Ctrl-C, after which the pool would first download all ranges
                aborted.set()
                raise
        for error in sorted(errors, key=lambda error: isinstance(error, Stopped)):
            raise error  # a failed range stops the others: its error, sorted first, is the cause
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def in_order(open_range: OpenRange, size_bytes: int) -> Iterator[bytes]:
    """Yield the object's `size_bytes` bytes from first to last, without keeping them.

    Raises:
        Unavailable: no byte came in several tries in a row. Any other exception of `open_range` is passed on.
    """
    at, tries = 0, 0
    while at < size_bytes:
        before = at
        try:
            for chunk in open_range(at, size_bytes - 1):
                yield chunk[: size_bytes - at]  # a server may send more than it was asked for
                at += len(chunk)
            broken = RangeBroken(f"the body ended at byte {at} of {size_bytes}")
        except RangeBroken as error:
            broken = error
        if at < size_bytes:
            # any byte resets the count: only a store that sends nothing is unavailable
            tries = 1 if at > before else tries + 1
            time.sleep(_delay_seconds(broken, tries))


class _Range:
    """The download of one range into its place in the file."""

    def __init__(
        self, open_range: OpenRange, descriptor: int, place: tuple[int, int], ends: tuple[threading.Event, ...]
    ) -> None:
        self._open_range = open_range
        self._descriptor = descriptor
        self._at, self._last = place
        self._stop, self._aborted = ends

    def fetch(self) -> None:
        """Download the complete range; if that fails, abort the other ranges of the file."""
        try:
            self._fetch()
        # of any kind: the other ranges would otherwise download the rest of a file that is discarded
        except BaseException:
            self._aborted.set()
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
            wanted = chunk[: self._last + 1 - self._at]  # bytes beyond the range are another range's to write
            # all ranges share one descriptor: pwrite has its own position, which no other thread can move
            written = os.pwrite(self._descriptor, wanted, self._at)
            self._at += written
            if written < len(wanted):
                # the rest is requested again; if the disk is full, that write raises OSError
                raise RangeBroken("the disk wrote only a part of a chunk")

    def _check_stop(self) -> None:
        if self._stop.is_set() or self._aborted.is_set():
            raise Stopped("received a signal while fetching")

    def _pause(self, broken: RangeBroken, tries: int) -> None:
        if self._stop.wait(_delay_seconds(broken, tries)) or self._aborted.is_set():
            raise Stopped("received a signal while fetching")


def _delay_seconds(broken: RangeBroken, tries: int) -> float:
    """Return how long to wait before the next request, which is counted; Unavailable after too many without a byte."""
    if tries >= _TRIES_WITHOUT_A_BYTE:
        raise Unavailable(f"{broken}, {tries} times in a row; run again later")
    TRAFFIC.count_retry(broken.cause)
    # A random part of the bound keeps the workers of a cluster from repeating their requests at the same moment.
    delay = random.uniform(0, min(_LONGEST_DELAY_SECONDS, _FIRST_DELAY_SECONDS * 2**tries))
    return max(broken.retry_after_seconds, delay)
