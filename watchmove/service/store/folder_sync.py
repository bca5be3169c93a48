"""A checkpoint folder that survives its machine: what changes goes to the store and comes back from there."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from watchmove.pipeline.errors import InvalidInput
from watchmove.service.store.store import Store


class FolderSync:
    """Mirrors a flat folder of checkpoints under a prefix of a store.

    Files are replaced whole, here and in the store, and their JSON last: where that is cut short, or the two are of two
    checkpoints, whoever loads them sees it by the sum that the JSON holds.
    """

    def __init__(self, store: Store, prefix: str, folder: Path) -> None:
        self.folder = folder
        self._store = store
        self._prefix = f"{prefix}/"
        self._stored: dict[str, int] = {}
        folder.mkdir(parents=True, exist_ok=True)

    def fetch(self) -> None:
        """Bring what the store has into the folder."""
        for item in self._store.list(self._prefix):
            name = item.key.removeprefix(self._prefix)
            target = self.folder / name
            if "/" in name:
                continue
            path = self._store.local(item.key, target)
            if path is not None and path != target:
                shutil.copyfile(path, target)
            self._stored[name] = target.stat().st_mtime_ns

    def store_new(self) -> None:
        """Store every file that has changed since it was stored."""
        for path in sorted(self.folder.glob("[!.]*"), key=lambda path: (path.suffix == ".json", path.name)):
            changed = path.stat().st_mtime_ns
            if self._stored.get(path.name) != changed:
                self._store.upload(self._prefix + path.name, path)
                self._stored[path.name] = changed

    @contextmanager
    def naming_the_store(self) -> Iterator[None]:
        """Where the block says that a file will not do, name it as it is stored: this folder goes with the step."""
        try:
            yield
        except InvalidInput as error:
            stored = f"{self._store.uri}/{self._prefix}"
            raise InvalidInput(str(error).replace(f"{self.folder}/", stored)) from error
