"""World: draw the generated default input and store it where the settings expect videos and the detection set."""

from pathlib import Path

from watchmove.pipeline.world.drawing import draw_world
from watchmove.service.records import layout
from watchmove.service.records.record import Record, commit, find, origin
from watchmove.service.runner.runner import StepContext
from watchmove.service.settings.settings import settings_hash, worker_count
from watchmove.service.store.opening import open_store
from watchmove.service.store.store import Store


class WorldRecord(Record):
    """A world that has been drawn, and the number of its files."""

    files: int


def world(context: StepContext, *, videos: bool = True, detection_set: bool = True, truth: bool = False) -> None:
    """Draw the world's videos, its detection set and true masks, as asked for, once for each settings and stores.

    Raises:
        InvalidInput: a store's folder cannot be made.
        Unavailable: a store cannot be reached or the disk is full.
    """
    settings = context.settings
    names = [name for name, wanted in (("videos", videos), ("voc", detection_set), ("truth", truth)) if wanted]
    places = {name: open_store(getattr(settings, name)) for name in names}
    key = layout.world(settings_hash(settings.world, {name: store.uri for name, store in places.items()}))
    context.store.make()
    if find(context.store, key, WorldRecord) is not None:
        return
    # before the drawing, so that a folder that cannot be made is said at once
    for store in places.values():
        store.make()
    context.progress.update("world", 0, 1, "drawing")
    draw_world(context.scratch / "world", settings.world, workers=worker_count(settings))
    files = sum(_copy(context.scratch / "world" / name, store) for name, store in places.items())
    commit(context.store, key, WorldRecord(made_by=origin(settings, {}), files=files))
    context.progress.update("world", 1, 1, f"{files} files")


def _copy(folder: Path, store: Store) -> int:
    """Upload the files that the store lacks, and return the number of all files in the folder.

    A stored file is not replaced: records of later steps may refer to it by its ETag.
    """
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    stored = {item.key for item in store.list()}
    for path in paths:
        key = path.relative_to(folder).as_posix()
        if key not in stored:
            store.upload(key, path)
    return len(paths)
