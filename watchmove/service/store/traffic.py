"""Counts of what this process has fetched from stores of S3, and of the requests that it has repeated."""

import threading
from collections import Counter
from enum import StrEnum


class RetryCause(StrEnum):
    """Why a request to a store is made again."""

    THROTTLED = "throttled"
    """The store asks for fewer requests."""
    SERVER_ERROR = "server-error"
    """Another answer after which the same request may succeed."""
    CONNECTION = "connection"
    """No answer, or one that breaks off or is damaged."""


class Traffic:
    """Counts that only grow; threads may share them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._fetched_bytes = 0
        self._retries: Counter[RetryCause] = Counter()

    def count_fetched(self, n_bytes: int) -> None:
        """Add bytes of objects that were fetched, also those of a body that then broke off."""
        with self._lock:
            self._fetched_bytes += n_bytes

    def count_retry(self, cause: RetryCause) -> None:
        """Add a request that is made again."""
        with self._lock:
            self._retries[cause] += 1

    @property
    def fetched_bytes(self) -> int:
        """Number of bytes of objects that were fetched."""
        return self._fetched_bytes

    def retries(self) -> dict[RetryCause, int]:
        """Number of requests that were made again, by each cause."""
        with self._lock:
            return {cause: self._retries[cause] for cause in RetryCause}


TRAFFIC = Traffic()
"""The counts of this process, of all its stores together."""
