"""A folder as a store."""

import errno
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from watchmove.pipeline.errors import InvalidInput, Unavailable
from watchmove.service.store.store import ObjectChanged, ObjectRefused, StoredObject, check_key

_PASSING = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ESTALE}
_TEMPORARY = ".partial-"
_PIECE_BYTES = 2**18


class FileStore:
    """Objects are files; an object's ETag is its size and its time of change."""

    fetches_copies = False

    def __init__(self, folder: Path) -> None:
        self.folder = folder.expanduser().absolute()
        self.uri = f"file://{self.folder}"

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Objects whose key starts with `prefix`, in the order of their keys."""
        if not self.folder.is_dir():
            return
        start = self.folder / prefix.rpartition("/")[0]
        with _translated(f"listing {self.uri}"):
            found = (path for path in start.rglob("*") if path.is_file() and _TEMPORARY not in path.name)
            paths = sorted(found, key=Path.as_posix)  # as S3 sorts: paths themselves would put a/b before a-b
        for path in paths:
            key = path.relative_to(self.folder).as_posix()
            if key.startswith(prefix):
                yield _described(key, path)

    def head(self, key: str) -> StoredObject | None:
        """What is known of one object, or None where it is absent."""
        path = self._path(key)
        return _described(key, path) if _is_file(path) else None

    def read(self, key: str) -> bytes | None:
        """An object's bytes, or None where it is absent."""
        path = self._path(key)
        with _translated(f"reading {path}"):
            return path.read_bytes() if path.is_file() else None

    def write(self, key: str, data: bytes) -> None:
        """Write an object, replacing what was there."""
        self._place(key, lambda file: file.write_bytes(data), os.replace)

    def create(self, key: str, data: bytes) -> bool:
        """Write an object unless there is one. A hard link is the one step that refuses to replace."""
        try:
            self._place(key, lambda file: file.write_bytes(data), _link)
        except _TakenError:
            return False
        return True

    def upload(self, key: str, path: Path) -> None:
        """Write an object from a file."""
        self._place(key, lambda file: shutil.copyfile(path, file), os.replace)

    def local(self, key: str, target: Path) -> Path | None:  # noqa: ARG002 (the interface's)
        """The object's own file: nothing is copied."""
        path = self._path(key)
        return path if path.is_file() else None

    def fetch(self, item: StoredObject, target: Path, stop: threading.Event) -> Path | None:  # noqa: ARG002
        """The object's own file, if it is as `item` says."""
        path = self._path(item.key)
        with _translated(f"looking at {path}"):
            if not _is_file(path):
                return None
            if _described(item.key, path) != item:
                raise ObjectChanged(f"{path}: changed since it was listed")
        if not os.access(path, os.R_OK):
            raise ObjectRefused(f"{path}: may not be read; check its permissions")
        return path

    def read_range(self, item: StoredObject, offset: int, size_bytes: int) -> bytes:
        """A part of the object's own file, if it is as `item` says."""
        path = self.fetch(item, Path(), threading.Event())
        if path is None:
            raise ObjectChanged(f"{self._path(item.key)}: gone since it was listed")
        with _translated(f"reading {path}"), path.open("rb") as file:
            file.seek(offset)
            return file.read(size_bytes)

    def stream(self, item: StoredObject) -> Iterator[bytes]:
        """The bytes of the object's own file, if it is as `item` says."""
        path = self.fetch(item, Path(), threading.Event())
        if path is None:
            raise ObjectChanged(f"{self._path(item.key)}: gone since it was listed")
        with _translated(f"reading {path}"), path.open("rb") as file:
            while piece := file.read(_PIECE_BYTES):
                yield piece

    def make(self) -> None:
        """Make the folder where it is absent."""
        with _translated(f"making {self.folder}"):
            self.folder.mkdir(parents=True, exist_ok=True)

    def _path(self, key: str) -> Path:
        return self.folder / check_key(key)

    def _place(self, key: str, fill: Callable[[Path], object], move: Callable[[str, Path], None]) -> None:
        target = self._path(key)
        with _translated(f"writing {target}"):
            target.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(prefix=_TEMPORARY, dir=target.parent)
            os.close(handle)
            try:
                fill(Path(temporary))
                _synchronise(temporary)
                move(temporary, target)
            finally:
                Path(temporary).unlink(missing_ok=True)


class _TakenError(Exception):
    """Somebody else has made the object first."""


def _link(source: str, target: Path) -> None:
    try:
        os.link(source, target)
    except FileExistsError as error:
        raise _TakenError from error


def _synchronise(path: str) -> None:
    """Force a file to disk before it is named, so that a power cut leaves no empty object under a good name."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _is_file(path: Path) -> bool:
    """Whether a file lies there; under a name that is too long for the file system none does."""
    try:
        return path.is_file()
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return False
        raise


def _described(key: str, path: Path) -> StoredObject:
    facts = path.stat()
    return StoredObject(key, facts.st_size, f"{facts.st_size:x}-{facts.st_mtime_ns:x}")


@contextmanager
def _translated(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        line = f"{what}: {error.strerror or error}"
        if error.errno in _PASSING:
            raise Unavailable(f"{line}; free space or try again") from error
        raise InvalidInput(f"{line}; check the path and its permissions") from error
