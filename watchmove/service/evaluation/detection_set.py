"""A detection set in VOC's layout, wherever it lies."""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.voc.annotations import VocImage
from watchmove.service.settings.settings import Settings, settings_hash
from watchmove.service.store.opening import open_store
from watchmove.service.store.store import Store, StoredObject

_PARTS = ("Annotations/", "JPEGImages/", "ImageSets/Main/")


@dataclass(frozen=True)
class DetectionSet:
    """The files of a detection set; `identity` changes when one of them does."""

    store: Store
    files: Sequence[StoredObject]
    identity: str

    @classmethod
    def at(cls, settings: Settings) -> "DetectionSet":
        """The set at the settings' `voc`.

        Raises:
            InvalidInput: there is no such set.
        """
        store = open_store(settings.voc)
        files = [item for item in store.list() if item.key.startswith(_PARTS)]
        if not files:
            parts = ", ".join(_PARTS)
            raise InvalidInput(f"voc {settings.voc}: no detection set there; name the folder that holds {parts}")
        return cls(store, files, settings_hash(settings.voc, [[item.key, item.etag] for item in files]))

    def fetch(self, folder: Path, threads: int) -> Path:
        """The set as a local folder: itself where it is one, else a copy in `folder`."""
        with ThreadPoolExecutor(max(4, threads)) as pool:
            near = list(pool.map(lambda item: self.store.local(item.key, folder / item.key), self.files))
        first = near[0]
        if first is None or first.is_relative_to(folder):
            return folder
        return first.parents[self.files[0].key.count("/")]


def first_by_hash(images: Sequence[VocImage], count: int) -> tuple[VocImage, ...]:
    """The `count` images whose id's SHA-256, in hex, is lowest, in that order; all of them, as given, where it is 0.

    Anyone can make the list again from the split's ids alone; a shorter list is the beginning of a longer one.
    """
    if count == 0:
        return tuple(images)
    return tuple(sorted(images, key=lambda one: hashlib.sha256(one.image_id.encode()).hexdigest())[:count])
