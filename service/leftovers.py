"""Scratch folders of processes that were killed: found by a lock that the kernel drops with its holder."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_LOCK = "in-use.lock"


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Mark a scratch folder as in use for as long as the block, or the process, lives."""
    unlocked = folder / f"{_LOCK}.{os.urandom(4).hex()}"
    with unlocked.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        unlocked.replace(folder / _LOCK)  # locked before it has its name, so that nobody finds it free
        try:
            yield
        finally:
            (folder / _LOCK).unlink(missing_ok=True)


def remove_abandoned(parent: Path) -> int:
    """Remove the steps' folders in `parent` that were marked by a process that is gone; how many there were."""
    removed = 0
    for lock in parent.glob(f"watchmove-*/{_LOCK}"):
        with suppress(OSError), lock.open() as file:  # another process may be removing the same one
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(lock.parent, ignore_errors=True)
            removed += 1
    return removed
