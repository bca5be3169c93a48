"""The exit-code table: what happened, which exception says so, and what a workflow engine does about it."""

import errno
from dataclasses import dataclass

from watchmove.pipeline.errors import InvalidInput, Stopped, Unavailable, UnreadableVideo


@dataclass(frozen=True)
class Ending:
    """One row of the table; `retried` says whether running the step again can help."""

    exit_code: int
    retried: bool
    meaning: str


DONE = Ending(0, retried=False, meaning="done")
INVALID_INPUT = Ending(65, retried=False, meaning="input or settings can never work")
UNAVAILABLE = Ending(75, retried=True, meaning="may work later")
STOPPED = Ending(143, retried=True, meaning="told to stop, after saving what it had")
BUG = Ending(70, retried=False, meaning="a bug")

ENDINGS: dict[type[BaseException], Ending] = {
    InvalidInput: INVALID_INPUT,
    UnreadableVideo: INVALID_INPUT,
    Unavailable: UNAVAILABLE,
    Stopped: STOPPED,
}

_FULL = {errno.ENOSPC, errno.EDQUOT}

RETRIED_EXIT_CODES = tuple(
    sorted(ending.exit_code for ending in (DONE, INVALID_INPUT, UNAVAILABLE, STOPPED, BUG) if ending.retried)
)


def ending_of(error: BaseException) -> Ending:
    """The table's row for an exception; a full disk may have room later, what the table does not name is a bug."""
    for kind, ending in ENDINGS.items():
        if isinstance(error, kind):
            return ending
    return UNAVAILABLE if isinstance(error, OSError) and error.errno in _FULL else BUG
