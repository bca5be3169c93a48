"""The table of exit codes: each exception's exit code, the prefix of its message, and whether a retry can help."""

import errno
import os
from dataclasses import dataclass

from watchmove.pipeline.errors import InvalidInput, Stopped, Unavailable, UnreadableVideo


@dataclass(frozen=True)
class Ending:
    """One row of the table.

    `retried`: whether running the step again can help, so that a workflow engine retries it. `prefix`: the words that
    begin the message on standard error.
    """

    exit_code: int
    retried: bool
    prefix: str


# 65, 70, 75: EX_DATAERR, EX_SOFTWARE, EX_TEMPFAIL of sysexits.h. 143: how a shell reports SIGTERM (128 + 15).
DONE = Ending(0, retried=False, prefix="done")
INVALID_INPUT = Ending(65, retried=False, prefix="invalid input")
UNAVAILABLE = Ending(75, retried=True, prefix="unavailable, retry later")
STOPPED = Ending(143, retried=True, prefix="stopped")
BUG = Ending(70, retried=False, prefix="internal error")

ENDINGS: dict[type[BaseException], Ending] = {
    InvalidInput: INVALID_INPUT,
    UnreadableVideo: INVALID_INPUT,
    Unavailable: UNAVAILABLE,
    Stopped: STOPPED,
}

_DISK_FULL = {errno.ENOSPC, errno.EDQUOT}
_UNUSABLE_PATH = {errno.ENAMETOOLONG, errno.EACCES, errno.EPERM}

RETRIED_EXIT_CODES = tuple(
    sorted(ending.exit_code for ending in (DONE, INVALID_INPUT, UNAVAILABLE, STOPPED, BUG) if ending.retried)
)


def ending_of(error: BaseException) -> Ending:
    """Return the table's row for an exception: a full disk is UNAVAILABLE, any exception without a row is a BUG.

    A package that is not installed, as PyTorch in the slim image, is INVALID_INPUT, and so is a path that is too long
    or may not be read.
    """
    for kind, ending in ENDINGS.items():
        if isinstance(error, kind):
            return ending
    if isinstance(error, ModuleNotFoundError) and package_of(error) != "watchmove":
        return INVALID_INPUT
    if is_unusable_path(error):
        return INVALID_INPUT
    return UNAVAILABLE if isinstance(error, OSError) and is_disk_full(error) else BUG


def is_unusable_path(error: BaseException) -> bool:
    """Return whether a path is the cause that is too long, or that permissions forbid to look at."""
    return isinstance(error, OSError) and error.errno in _UNUSABLE_PATH and error.filename is not None


def is_disk_full(error: OSError) -> bool:
    """Return whether a disk is full; of that of temporary files, `tempfile` says that no directory is usable."""
    unusable = "No usable temporary directory" in str(error)
    return error.errno in _DISK_FULL or (unusable and os.access(os.environ.get("TMPDIR", "/tmp"), os.W_OK))  # noqa: S108


def package_of(error: ModuleNotFoundError) -> str:
    """The name of the package whose module was not found."""
    return str(error.name).partition(".")[0]
