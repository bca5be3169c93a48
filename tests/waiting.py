"""The one way in which tests wait for something that another process or thread does: look again until a time limit."""

import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")


def poll(look: Callable[[], Found | None], timeout_seconds: float, every_seconds: float = 0.05) -> Found | None:
    """The first truthy thing that `look` returns; None where it returns none in time.

    For what sends no event to the test: a file that a child process writes, a port that it opens, a process's end. A
    test that can hand the code under test a `threading.Event` waits for that instead.
    """
    end = time.monotonic() + timeout_seconds
    while time.monotonic() < end:
        if found := look():
            return found
        time.sleep(every_seconds)  # the pause between two looks; no test depends on how long it is
    return None
