"""Atomic, durable writing: a file is complete or absent, even after a killed process or a power cut."""

import errno
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from watchmove.pipeline.errors import InvalidInput, Unavailable

_PERMANENT = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG}
"""Errors that a retry cannot resolve: the path or its permissions must change."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`, and rename it to `path` if the block ends without error.

    The temporary path has the same suffix; a missing folder is created.

    Raises:
        InvalidInput: `path` cannot be written, as its folder is not one or permissions forbid it.
        Unavailable: writing failed for another reason, such as a full disk.
    """
    # In the same folder, so that the rename stays within one file system, where it is atomic. The name is another one
    # for each writer, and short, as the file's own may be as long as the file system permits.
    temporary = path.with_name(f".{secrets.token_hex(8)}.partial{path.suffix}")
    try:
        make_folder(path.parent)
        yield temporary
        name_durably(temporary, path, os.replace)
    except OSError as error:
        raise unwritten(path, error) from error
    finally:
        with suppress(OSError):  # must not replace the error raised above
            temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yield a new folder beside `path`, and rename it to `path` if the block ends without error.

    A folder at `path` is removed with all that is in it, once the other has its name; missing parents are created. If
    the block ends with an error, the folder at `path` stays as it was.

    Raises:
        InvalidInput, Unavailable: as `replacing` does.
    """
    temporary, before = (path.with_name(f".{path.name}.{os.getpid()}.{state}") for state in ("partial", "before"))
    # A killed process of the same number, as the first one of a container always has, may have left both.
    for left in (temporary, before):
        shutil.rmtree(left, ignore_errors=True)
    try:
        make_folder(temporary)
        yield temporary
        for written in (*temporary.rglob("*"), temporary):
            _synchronise(written)
        # a folder that has files in it cannot be replaced by a rename
        if path.exists():
            path.rename(before)
        temporary.rename(path)
        synchronise_folder(path.parent)
    except BaseException as error:
        if before.exists() and not path.exists():
            before.rename(path)
        if isinstance(error, OSError):
            raise unwritten(path, error) from error
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    shutil.rmtree(before, ignore_errors=True)


def unwritten(path: Path, error: OSError) -> InvalidInput | Unavailable:
    """The error to raise where `path` could not be written: InvalidInput where another folder is needed."""
    line = f"{path}: could not be written ({error.strerror})"
    return (
        InvalidInput(f"{line}; name another folder")
        if error.errno in _PERMANENT
        else Unavailable(f"{line}; check the folder and the disk")
    )


def name_durably(temporary: Path, path: Path, name: Callable[[Path, Path], object]) -> None:
    """Name a finished file `path` by `name(temporary, path)`, in an order that a power cut cannot change.

    The file's bytes are on disk before it has its name, so that no name belongs to an empty file, and the name is on
    disk before this returns, so that what is written later, such as a record that commits the file, never outlives it.
    """
    name_when_written(temporary, path, name)
    synchronise_folder(path.parent)


def name_when_written(temporary: Path, path: Path, name: Callable[[Path, Path], object]) -> None:
    """Name a finished file `path` by `name(temporary, path)` once its bytes are on disk.

    The name itself is on disk after `synchronise_folder(path.parent)`, which one call does for many files.
    """
    _synchronise(temporary)
    name(temporary, path)


def make_folder(path: Path) -> None:
    """Make a folder and its missing parents; the names of all of them are on disk before this returns.

    Raises:
        OSError: a folder cannot be made, or `path` or a parent is no folder.
    """
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in missing:
        synchronise_folder(folder.parent)


def make_writable_folder(path: Path) -> None:
    """Make a folder unless it exists, so that one that cannot be used is refused before any work.

    Raises:
        InvalidInput: it cannot be made, or nothing can be written to it.
        Unavailable: it cannot be made now, as on a full disk.
    """
    try:
        make_folder(path)
    except OSError as error:
        raise unwritten(path, error) from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise InvalidInput(f"{path}: may not be written to; name another folder")


def synchronise_folder(path: Path) -> None:
    """Put the names in a folder on disk."""
    with suppress(OSError):  # some network file systems cannot synchronise a folder
        _synchronise(path)


def _synchronise(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a complete file atomically. Raises InvalidInput and Unavailable as `replacing` does."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)
