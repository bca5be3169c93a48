"""A folder of the file system as a store (`file://`)."""

import errno
import os
import secrets
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import structlog

from watchmove.pipeline.errors import InvalidInput, Unavailable
from watchmove.pipeline.files.atomic import make_folder, name_durably, name_when_written, synchronise_folder
from watchmove.service.store.store import ObjectChanged, ObjectRefused, StoredObject, check_path, write_at_once

_TRANSIENT = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EAGAIN, errno.EMFILE, errno.ENFILE),
    *(errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN, errno.EHOSTDOWN, errno.EHOSTUNREACH),
}
"""Errors of the file system that a retry can overcome: a full disk, too many open files, a network file system."""

_NO_HARD_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS}
"""What file systems without hard links answer, such as those of USB sticks (exFAT) and some of networks."""

_TEMPORARY = ".partial-"
"""Prefix of a file that is still being written; listings leave such files out."""

_PIECE_BYTES = 2**18
"""Bytes per piece of a stream: a bound on memory, not a tuned value."""


class FileStore:
    """A store of which every object is a file; the ETag is the file's size and modification time in nanoseconds."""

    fetches_copies = False

    def __init__(self, folder: Path) -> None:
        self.folder = folder.expanduser().absolute()
        self.uri = f"file://{self.folder}"

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Yield the objects with keys that start with `prefix`, in the order of their keys."""
        # a prefix need not end at a slash: its folder is walked, and the keys are compared with the rest of it below
        start = self.folder / prefix.rpartition("/")[0]
        with _translated(f"listing {self.uri}"):
            if not self.folder.is_dir():
                return
            files = (path for path in _paths(start) if not path.name.startswith(_TEMPORARY))
            paths = sorted(files, key=Path.as_posix)  # S3's order: Path's own order would put a/b before a-b
        for path in paths:
            key = path.relative_to(self.folder).as_posix()
            if key.startswith(prefix):
                # deleted since the folder was read
                with _translated(f"reading the size and time of {path}"), suppress(FileNotFoundError):
                    yield _described(key, path)

    def head(self, key: str) -> StoredObject | None:
        """Return the size and ETag of an object, or None if it is absent."""
        path = self._path(key)
        with _translated(f"reading the size and time of {path}"), suppress(FileNotFoundError):  # removed in between
            return _described(key, path) if _is_file(path) else None
        return None

    def read(self, key: str) -> bytes | None:
        """Return an object's bytes, or None if it is absent."""
        path = self._path(key)
        with _translated(f"reading {path}"), suppress(FileNotFoundError):  # removed in between
            return path.read_bytes() if path.is_file() else None
        return None

    def write(self, key: str, data: bytes) -> None:
        """Write an object and replace any object with the same key."""
        self._place(key, lambda file: file.write_bytes(data), os.replace)

    def write_all(self, objects: Iterable[tuple[str, bytes]]) -> None:
        """Write objects, several at a time; their names are put on disk together, once for each folder."""
        folders: set[Path] = set()

        def write(key: str, data: bytes) -> None:
            self._place(key, lambda file: file.write_bytes(data), os.replace, name_when_written)
            folders.add(self._path(key).parent)

        write_at_once(write, objects)
        for folder in folders:
            synchronise_folder(folder)

    def create(self, key: str, data: bytes) -> bool:
        """Write an object unless the key exists, and return whether it was written.

        The file is named by a hard link, because a rename would replace an object that another writer made meanwhile.
        """
        try:
            self._place(key, lambda file: file.write_bytes(data), _link)
        except _TakenError:
            return False
        return True

    def upload(self, key: str, path: Path) -> None:
        """Write an object from a file."""
        self._place(key, lambda file: shutil.copyfile(path, file), os.replace)

    def remove(self, key: str) -> None:
        """Remove an object; nothing happens if it is absent."""
        path = self._path(key)
        with _translated(f"removing {path}"):
            path.unlink(missing_ok=True)

    def local(self, key: str, target: Path) -> Path | None:  # noqa: ARG002 (the interface's)
        """Return the path of the object's own file without copying it, or None if it is absent."""
        path = self._path(key)
        with _translated(f"reading {path}"):
            return path if _is_file(path) else None

    def fetch(self, item: StoredObject, target: Path, stop: threading.Event) -> Path | None:  # noqa: ARG002
        """Return the path of the object's own file after checking that its size and ETag are those of `item`."""
        path = self._path(item.key)
        found = self.head(item.key)
        if found is None:
            return None
        if found != item:
            raise ObjectChanged(f"{path}: changed since it was listed")
        # an unreadable file must end as "refused", as in a bucket; ffmpeg would report it as a damaged video
        if not os.access(path, os.R_OK):
            raise ObjectRefused(f"{path}: may not be read; check its permissions")
        return path

    def read_range(self, item: StoredObject, offset: int, size_bytes: int) -> bytes:
        """Return `size_bytes` bytes from `offset` after checking that the file is the one that `item` describes."""
        path = self.fetch(item, Path(), threading.Event())
        if path is None:
            raise ObjectChanged(f"{self._path(item.key)}: deleted since it was listed")
        with _translated(f"reading {path}"), path.open("rb") as file:
            file.seek(offset)
            return file.read(size_bytes)

    def stream(self, item: StoredObject) -> Iterator[bytes]:
        """Yield the file's bytes in pieces after checking that the file is the one that `item` describes."""
        path = self.fetch(item, Path(), threading.Event())
        if path is None:
            raise ObjectChanged(f"{self._path(item.key)}: deleted since it was listed")
        with _translated(f"reading {path}"), path.open("rb") as file:
            while piece := file.read(_PIECE_BYTES):
                yield piece

    def make(self) -> None:
        """Make the folder unless it exists."""
        with _translated(f"making {self.folder}"):
            make_folder(self.folder)

    def reconnect(self) -> None:
        """Do nothing: a folder has no connections."""

    def _path(self, key: str) -> Path:
        return self.folder / self.check_key(key)

    def check_key(self, key: str) -> str:
        """Return the key unchanged. Raises InvalidInput if it is no relative path below the folder."""
        return check_path(key)

    def _place(
        self,
        key: str,
        fill: Callable[[Path], object],
        move: Callable[[Path, Path], None],
        name: Callable[[Path, Path, Callable[[Path, Path], None]], None] = name_durably,
    ) -> None:
        # A reader must never see a partial object: the file is filled under a temporary name in the same folder.
        target = self._path(key)
        with _translated(f"writing {target}"):
            make_folder(target.parent)
            # not by mkstemp, whose files only their owner can read: an object has the mode of any other new file
            temporary = target.parent / f"{_TEMPORARY}{secrets.token_hex()}"
            try:
                fill(temporary)
                name(temporary, target, move)
            finally:
                temporary.unlink(missing_ok=True)  # a hard link leaves the temporary name, a rename does not


class _TakenError(Exception):
    """Another writer has made the object first."""


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except FileExistsError as error:
        raise _TakenError from error
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        # as in buckets without conditional writes, two writers at the same moment can both pass
        if target.exists():
            raise _TakenError from error
        source.replace(target)


def _paths(start: Path) -> Iterator[Path]:
    """Yield the files in a folder and the folders in it, in any order.

    Left out with a warning are folders that may not be read, as `lost+found`, and links to folders or to nothing.
    Raises OSError if `start` itself may not be read.
    """
    log, links = structlog.get_logger(), list[Path]()

    def left_out(error: OSError) -> None:
        if isinstance(error, PermissionError) and Path(error.filename) != start:
            log.warning("a folder may not be read, and is left out", folder=error.filename)
        elif not isinstance(error, FileNotFoundError | NotADirectoryError):  # as a prefix without objects has none
            raise error

    for folder, folders, names in os.walk(start, onerror=left_out):
        for path in (Path(folder, name) for name in (*folders, *names)):
            if path.is_file():
                yield path
            elif path.is_symlink():
                links.append(path)
    if links:
        log.warning("links to folders or to nothing are left out", links=len(links), first=str(min(links)))


def _is_file(path: Path) -> bool:
    """Return whether `path` is a file; a name too long for the file system cannot be that of a file."""
    try:
        return path.is_file()
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return False
        raise


def _described(key: str, path: Path) -> StoredObject:
    facts = path.stat()
    # not a hash of the content: listing a folder must not read every video in it
    return StoredObject(key, facts.st_size, f"{facts.st_size:x}-{facts.st_mtime_ns:x}")


@contextmanager
def _translated(what: str) -> Iterator[None]:
    """Turn an OSError into Unavailable or InvalidInput, with a message that begins with `what` was being done."""
    try:
        yield
    except OSError as error:
        line = f"{what}: {error.strerror or error}"
        if error.errno in _TRANSIENT:
            raise Unavailable(f"{line}; free space or try again") from error
        kind = ObjectRefused if isinstance(error, PermissionError) else InvalidInput
        raise kind(f"{line}; check the path and its permissions") from error
