"""The videos and true masks of the real world: a folder of videos, and annotated frames in the layout of DAVIS."""

import shutil
from pathlib import Path, PurePosixPath

import numpy as np

from watchmove.pipeline.dataset.true_masks import DAVIS_RESOLUTION, read_annotation
from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.files.natural_order import natural_order
from watchmove.service.records import layout
from watchmove.service.records.record import Record, commit, find, origin
from watchmove.service.runner.runner import StepContext
from watchmove.service.settings.settings import settings_hash
from watchmove.service.store.opening import open_store, open_videos
from watchmove.service.store.store import Store, StoredObject

_SUFFIXES = {"JPEGImages": ".jpg", "Annotations": ".png"}
"""Suffix of the files in each of DAVIS's folders."""

ANNOTATED = "annotated"
"""Folder of the annotated sequences among the videos, and of their true masks."""


class RealWorldRecord(Record):
    """A real world that has been put together, and the numbers of its videos."""

    videos: int
    annotated: int


def put_together(context: StepContext, source: str, frames: str) -> RealWorldRecord:
    """Copy the videos of the store `source` and the annotated sequences to where the settings expect them, once.

    The store `frames` contains JPEGImages/SEQUENCE/*.jpg and Annotations/SEQUENCE/*.png, or DAVIS's folders `480p` with
    the sequences in both. A sequence becomes a video of
    its own JPEG files one after another, so that no frame is compressed twice.

    Raises:
        InvalidInput: a store has no videos, or a sequence's frames and annotations differ in number or names.
        Unavailable: a store cannot be reached, or the disk is full.
    """
    settings = context.settings
    given = open_videos(settings.model_copy(update={"videos": source}))
    listed = list(given.list())
    annotated = open_store(frames)
    sequences = _sequences(annotated)
    if not listed or not sequences:
        what = f"{source}: has no videos" if not listed else f"{frames}: has no JPEGImages/SEQUENCE/"
        raise InvalidInput(f"{what}; name a folder of videos, and one of annotated frames in the layout of DAVIS")
    files = [item for parts in sequences.values() for items in parts.values() for item in items]
    states = [[[item.key, item.etag] for item in items] for items in (listed, files)]
    key = layout.world(settings_hash(source, frames, settings.videos, settings.truth, states))
    known = find(context.store, key, RealWorldRecord)
    if known is not None:
        return known
    videos, truth = open_store(settings.videos), open_store(settings.truth)
    for store in (context.store, videos, truth):
        store.make()
    folder = context.scratch / "real-world"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        for number, item in enumerate(listed):
            context.check_stop()
            context.progress.update("videos", number, len(listed), item.key)
            path = given.local(item.key, folder / "video")
            if path is not None:
                videos.upload(f"given/{item.key}", path)
        for number, name in enumerate(sequences):
            context.check_stop()
            context.progress.update("annotated", number, len(sequences), name)
            _write_sequence(annotated, name, sequences[name], folder)
            videos.upload(f"{ANNOTATED}/{name}.mjpeg", folder / "sequence.mjpeg")
            truth.upload(f"{ANNOTATED}/{name}.npz", folder / "truth.npz")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    record = RealWorldRecord(made_by=origin(settings, {}), videos=len(listed), annotated=len(sequences))
    commit(context.store, key, record)
    return record


def _sequences(annotated: Store) -> dict[str, dict[str, list[StoredObject]]]:
    """The files of each sequence by its name: its images under JPEGImages, its masks under Annotations."""
    found: dict[str, dict[str, list[StoredObject]]] = {}
    for part, suffix in _SUFFIXES.items():
        for item in annotated.list(f"{part}/"):
            _, *inner, file = item.key.replace(f"{part}/{DAVIS_RESOLUTION}/", f"{part}/", 1).split("/")
            if len(inner) == 1 and file.endswith(suffix) and not file.startswith("."):
                found.setdefault(inner[0], {name: [] for name in _SUFFIXES})[part].append(item)
    for parts in found.values():
        for items in parts.values():
            items.sort(key=lambda item: natural_order(PurePosixPath(item.key)))
    return dict(sorted(found.items()))


def _write_sequence(annotated: Store, name: str, parts: dict[str, list[StoredObject]], folder: Path) -> None:
    """Write a sequence's JPEG files as one Motion JPEG video, and its annotations as true masks."""
    names = [[PurePosixPath(item.key).stem for item in items] for items in parts.values()]
    near: dict[str, list[Path]] = {}
    for part, items in parts.items():
        paths = [annotated.local(item.key, folder / item.key) for item in items]
        near[part] = [path for path in paths if path is not None]
    images, masks = near["JPEGImages"], [read_annotation(path) for path in near["Annotations"]]
    if not images or names[0] != names[1] or len({mask.shape for mask in masks}) > 1:
        raise InvalidInput(
            f"{annotated.uri}: {name} has {len(images)} JPEG files and {len(masks)} annotations; give one of each for "
            "each frame, of one name and all of one size"
        )
    with (folder / "sequence.mjpeg").open("wb") as video:
        for path in images:
            video.write(path.read_bytes())
    np.savez_compressed(folder / "truth.npz", masks=np.stack(masks))
