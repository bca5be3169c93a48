"""Scratch folders that outlive no process for long: what a killed one leaves, the next one removes.

A folder's lock file lies beside it, is there before the folder and goes after it, and is locked for as long as the
process lives, because the kernel drops the lock with its holder. So whenever a process is lost, whatever it leaves is
found by a lock file that nobody holds, and nothing else in the parent is ever touched.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from watchmove.pipeline.errors import InvalidInput

_PREFIX, _LOCK = "watchmove-", ".lock"


@contextmanager
def scratch_folder(parent: str) -> Iterator[Path]:
    """A new empty folder in `parent` ("": the system's own), removed at the end of the block.

    Folders in the same place that killed processes left are removed first.

    Raises:
        InvalidInput: the parent cannot be written to.
    """
    try:
        _remove_abandoned(Path(parent or tempfile.gettempdir()))
        lock, descriptor = _new_lock(parent or None)
    except OSError as error:
        raise InvalidInput(f"work.scratch {parent}: {error.strerror}; name a folder that can be written") from error
    folder = lock.with_suffix("")
    try:
        folder.mkdir(mode=0o700)
        yield folder
    finally:
        _remove(folder, lock)
        os.close(descriptor)


def _new_lock(parent: str | None) -> tuple[Path, int]:
    """A new lock file and the descriptor that holds its lock."""
    while True:
        descriptor, name = tempfile.mkstemp(prefix=_PREFIX, suffix=_LOCK, dir=parent)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if Path(name).exists():
            return Path(name), descriptor
        os.close(descriptor)  # another process took it for an abandoned one before it was locked


def _remove_abandoned(parent: Path) -> None:
    for lock in parent.glob(f"{_PREFIX}*{_LOCK}"):
        with suppress(OSError), lock.open("r+b") as file:  # in use, another user's, or removed by another process
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove(lock.with_suffix(""), lock)


def _remove(folder: Path, lock: Path) -> None:
    """Remove a folder and then its lock file; while something still writes there, both stay for the next process."""
    shutil.rmtree(folder, ignore_errors=True)
    if not folder.exists():
        lock.unlink(missing_ok=True)
