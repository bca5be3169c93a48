"""What a store holds, byte by byte, as a reader of names and pictures would search it."""

import gzip
import json
from pathlib import Path

from watchmove.pipeline.dataset.shard import Sample, read_shard
from watchmove.service.records.frame_verdicts import read_verdicts
from watchmove.service.records.outcomes import ShardRecord
from watchmove.service.records.record import json_lines, need
from watchmove.service.runner.runner import StepContext
from watchmove.service.store.store import Store

_TIMES = ("finished_at_unix_seconds",)


def content(store: Store) -> dict[str, bytes]:
    """Every object of a store by its key; those that are compressed are unpacked."""
    found = {item.key: store.read(item.key) or b"" for item in store.list()}
    return {key: gzip.decompress(data) if key.endswith(".gz") else data for key, data in found.items()}


def mentions(store: Store, *words: bytes) -> list[tuple[str, bytes]]:
    """The keys of objects that contain one of the words, each with the word."""
    return [(key, word) for key, data in content(store).items() for word in words if word in data]


def timeless(store: Store) -> dict[str, object]:
    """Every object of a store, without the times and places of the records below `forgotten/`."""
    return {key: _timeless(key, data) for key, data in content(store).items()}


def frames(context: StepContext, prefix: str = "") -> dict[tuple[str, str], list[Sample]]:
    """The frames of all tars below a prefix, by the name of their video and their key, as often as they are there."""
    found: dict[tuple[str, str], list[Sample]] = {}
    for item in context.store.list(prefix):
        path = context.store.local(item.key, context.scratch / "read.tar") if item.key.endswith(".tar") else None
        for sample in read_shard(path) if path is not None else ():
            found.setdefault((str(sample.metadata["video"]), sample.key), []).append(sample)
    return found


def records_of_shards(store: Store) -> list[ShardRecord]:
    """The records of all shards."""
    keys = [item.key for item in store.list("extractions/") if "/shards/" in item.key and item.key.endswith(".json")]
    return [need(store, key, ShardRecord, "extract") for key in keys]


def verdicts(store: Store) -> dict[str, list[bytes]]:
    """The lines of verdicts on the frames of each video, by the video's key."""
    found = {
        row.video.key: read_verdicts(store, record, row) for record in records_of_shards(store) for row in record.videos
    }
    return {key: json_lines(rows).splitlines() for key, rows in found.items()}


def copied(folder: Path, to: Path) -> Path:
    """A copy of a folder, file by file, as another folder."""
    for path in folder.rglob("*"):
        if path.is_file():
            target = to / path.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    return to


def _timeless(key: str, data: bytes) -> object:
    if not key.startswith("forgotten/"):
        return data
    record = json.loads(data)
    made_by = {name: record["made_by"][name] for name in ("version", "image", "inputs")}
    return {name: value for name, value in (record | {"made_by": made_by}).items() if name not in _TIMES}
