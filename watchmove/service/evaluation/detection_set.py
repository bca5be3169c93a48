"""A detection set in the folder layout of PASCAL VOC, in any store."""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import structlog

from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.voc.annotations import VocImage
from watchmove.service.settings.settings import Settings, settings_hash
from watchmove.service.store.opening import open_store
from watchmove.service.store.store import Store, StoredObject

_PARTS = ("Annotations/", "JPEGImages/", "ImageSets/Main/")


@dataclass(frozen=True)
class DetectionSet:
    """The files of a detection set; `identity` changes when any of them does."""

    store: Store
    files: Sequence[StoredObject]
    identity: str

    @classmethod
    def at(cls, settings: Settings) -> "DetectionSet":
        """The set that the setting `voc` names.

        Raises:
            InvalidInput: there is no detection set.
        """
        store = open_store(settings.voc)
        # VOC's archives also hold segmentations, which are neither fetched nor part of the identity.
        files = [item for item in store.list() if item.key.startswith(_PARTS)]
        if not files:
            parts = ", ".join(_PARTS)
            raise InvalidInput(f"voc {settings.voc}: no detection set there; name the folder that holds {parts}")
        return cls(store, files, settings_hash(settings.voc, [[item.key, item.etag] for item in files]))

    def fetch(self, folder: Path, threads: int) -> Path:
        """The set as a local folder: the original if the store is local, else a copy in `folder`."""
        # Downloads mostly wait for the network, so at least four run at once, also on a single core.
        with ThreadPoolExecutor(max(4, threads)) as pool:
            near = list(pool.map(lambda item: self.store.local(item.key, folder / item.key), self.files))
        first = near[0]
        if first is None or first.is_relative_to(folder):
            return folder
        # The original of a local store: its root is as many folders up as the key has slashes.
        return first.parents[self.files[0].key.count("/")]


def warn_of_learnt_images(train: Sequence[VocImage], test: Sequence[VocImage]) -> None:
    """Say in a warning how many test images are training images too, of which a detector's figures are too high."""
    learnt = {image.image_id for image in train} & {image.image_id for image in test}
    if learnt:
        structlog.get_logger().warning(
            "test images are also trained on", images=len(learnt), of=len(test), first=min(learnt)
        )


def first_by_hash(images: Sequence[VocImage], count: int) -> tuple[VocImage, ...]:
    """The `count` images with the lowest SHA-256 (hexadecimal) of their ids, in that order; all images if `count` is 0.

    The selection can be reproduced from the ids of the split alone, and a smaller one is the start of a larger one.
    """
    if count == 0:
        return tuple(images)
    return tuple(sorted(images, key=lambda image: hashlib.sha256(image.image_id.encode()).hexdigest())[:count])
