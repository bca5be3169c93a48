"""The copy of a checkpoint folder in the store, so that training resumes on another machine."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from watchmove.pipeline.errors import InvalidInput, Unavailable
from watchmove.service.store.store import Store


class FolderSync:
    """Mirrors a flat folder of checkpoints under a prefix of a store.

    Each file is replaced atomically, here and in the store, and a checkpoint's JSON file is stored last. If storing is
    interrupted, the JSON and the other files may belong to two checkpoints; the checksum in the JSON shows this when
    the checkpoint is loaded.
    """

    def __init__(self, store: Store, prefix: str, folder: Path) -> None:
        self.folder = folder
        self._store = store
        self._prefix = f"{prefix}/"
        self._stored: dict[str, int] = {}
        folder.mkdir(parents=True, exist_ok=True)

    def fetch(self) -> None:
        """Copy every file that the store has under the prefix into the folder."""
        for item in self._store.list(self._prefix):
            name = item.key.removeprefix(self._prefix)
            target = self.folder / name
            # the folder is flat, and a name from the store must not become a path elsewhere
            if "/" in name:
                continue
            path = self._store.local(item.key, target)
            if path is None:  # another process has finished the same training since, and removed its checkpoints
                continue
            # a folder store returns its own file, which training must not change; a bucket has filled the target
            if path != target:
                shutil.copyfile(path, target)
            self._stored[name] = target.stat().st_mtime_ns

    def store_new(self) -> None:
        """Store every file with a modification time that differs from when it was last stored or fetched."""
        # False sorts before True: JSON files come last.
        for path in sorted(self.folder.glob("[!.]*"), key=lambda path: (path.suffix == ".json", path.name)):
            changed = path.stat().st_mtime_ns
            if self._stored.get(path.name) != changed:
                self._store.upload(self._prefix + path.name, path)
                self._stored[path.name] = changed

    @contextmanager
    def naming_the_store(self) -> Iterator[None]:
        """Name files by their URI in the store in the block's errors: the local folder is removed with the step."""
        try:
            yield
        except InvalidInput as error:
            stored = f"{self._store.uri}/{self._prefix}"
            # of the same class, because a loss that is not finite differs from other invalid input
            raise type(error)(str(error).replace(f"{self.folder}/", stored)) from error


def remove_checkpoints(store: Store, prefix: str) -> None:
    """Remove the checkpoints of a training whose record is written: nothing reads them any more.

    Without the permission to delete, or if the store cannot be reached, they stay.
    """
    with suppress(InvalidInput, Unavailable):
        for item in list(store.list(f"{prefix}/")):
            store.remove(item.key)
