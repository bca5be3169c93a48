"""Scratch folders; a process removes its own at its end, and those that killed processes left at its start.

Each folder has a lock file next to it, made before the folder and removed after it. The process holds the lock while it
lives, and the kernel releases the lock when the process ends. A lock file that nobody holds therefore shows an
abandoned folder, and nothing else in the parent folder is ever removed.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from watchmove.pipeline.errors import InvalidInput
from watchmove.service.runner.exit_codes import is_disk_full

_PREFIX, _LOCK = "watchmove-", ".lock"


@contextmanager
def scratch_folder(parent: str) -> Iterator[Path]:
    """Provide a new empty folder in `parent` ("": the system's temporary folder), removed at the end of the block.

    Folders in the same place that killed processes left are removed first.

    Raises:
        InvalidInput: the parent cannot be written to.
        OSError: its disk is full.
    """
    try:
        _remove_abandoned(Path(parent or tempfile.gettempdir()))
        lock, descriptor = _new_lock(parent or None)
    except OSError as error:
        if is_disk_full(error):
            raise
        raise InvalidInput(f"work.scratch {parent}: {error.strerror}; name a folder that can be written to") from error
    folder = lock.with_suffix("")
    try:
        folder.mkdir(mode=0o700)
        yield folder
    finally:
        _remove(folder, lock)
        os.close(descriptor)  # last, because it releases the lock


def _new_lock(parent: str | None) -> tuple[Path, int]:
    """Return a new lock file and the descriptor that holds its lock."""
    while True:
        descriptor, name = tempfile.mkstemp(prefix=_PREFIX, suffix=_LOCK, dir=parent)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if Path(name).exists():
            return Path(name), descriptor
        os.close(descriptor)  # another process removed it as abandoned before it was locked


def _remove_abandoned(parent: Path) -> None:
    for lock in parent.glob(f"{_PREFIX}*{_LOCK}"):
        with suppress(OSError), lock.open("r+b") as file:  # in use, another user's, or removed by another process
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove(lock.with_suffix(""), lock)


def _remove(folder: Path, lock: Path) -> None:
    """Remove a folder, then its lock file; if the folder cannot be removed yet, both stay for the next process."""
    shutil.rmtree(folder, ignore_errors=True)
    if not folder.exists():
        lock.unlink(missing_ok=True)
