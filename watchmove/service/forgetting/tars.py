"""Tars that hold frames of forgotten works, and the tars without them that replace them."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from watchmove.pipeline.dataset.shard import SamplePlace, index_shard, read_sample
from watchmove.pipeline.dataset.shortened_shard import copy_without
from watchmove.pipeline.files.digest import file_sha256
from watchmove.service.forgetting.target import Change, Target, edited, keys_of
from watchmove.service.forgetting.verdicts import shorten_verdicts
from watchmove.service.records import layout
from watchmove.service.records.datasets import DatasetRecord, GatherRecord
from watchmove.service.records.forgotten import Removal, place_of
from watchmove.service.records.frame_verdicts import VERDICTS
from watchmove.service.records.outcomes import STAGES_TAR, ShardRecord, Video
from watchmove.service.records.shard_index import index_bytes, index_key, read_index
from watchmove.service.records.stream import read_ahead
from watchmove.service.records.training import BackboneRecord
from watchmove.service.store.store import Store

_AUDIT = ".audit.tar"


@dataclass
class CleanTar:
    """What replaces a tar: its key, and of its data digest, size and number of frames by the id of their video."""

    key: str
    sha256: str
    size_bytes: int
    frames: Counter[str]


class Tainted(NamedTuple):
    """A record of a shard as it was found: the number of works in it, and its tars."""

    works: int
    data_key: str
    audit_key: str


@dataclass
class Tars:
    """The tars to be replaced or removed.

    tainted: by key, the number of frames to be forgotten by the id of their video; clean: by the key of the tainted
    tar, what replaces it, filled by the changes of `replacements`; records: by key, the records of shards that name a
    work; teachers: by recipe, the SHA-256s of the mask networks that took part in its masks, as they did before
    version 10 of extraction; taught_by: by recipe, the snapshots that its motion network has learnt from; verdicts: the
    keys of files of verdicts on frames of works, each with whether a record names it; nothing says whose frames the
    others are.
    """

    store: Store
    target: Target
    scratch: Path
    tainted: dict[str, Counter[str]] = field(default_factory=dict)
    clean: dict[str, CleanTar] = field(default_factory=dict)
    records: dict[str, Tainted] = field(default_factory=dict)
    teachers: dict[str, set[str]] = field(default_factory=dict)
    taught_by: dict[str, set[str]] = field(default_factory=dict)
    verdicts: dict[str, bool] = field(default_factory=dict)
    _kept_verdicts: set[str] = field(default_factory=set)
    _named: set[str] = field(default_factory=set)

    def find(self) -> None:
        """Fill the fields from the records of shards, and from the tars that these do not clear.

        A tar that a record without works names has none either. All others are looked into: those of records with
        works, those of controls and of backbones, and those that no record names, as killed processes leave them.

        Raises:
            InvalidInput: a record or a tar is damaged.
            Unavailable: the store cannot be reached.
        """
        listed = keys_of(self.store, layout.all_extractions())
        cleared: set[str] = set()
        keys = [key for key in listed if "/shards/" in key and key.endswith(".json")]
        for key, record in read_ahead(self.store, keys, ShardRecord):
            place = place_of(record.made_by.settings.get("videos", ""))
            works = [row for row in record.videos if self.target.has(place, row.video)]
            self._named |= {record.data_key, record.audit_key, record.verdicts_key}
            if works:
                self.records[key] = Tainted(len(works), record.data_key, record.audit_key)
            else:
                cleared |= {record.data_key, record.audit_key, record.stages.key if record.stages else ""}
            if not any(size_bytes for _, size_bytes in (row.verdicts for row in works)):
                cleared.add(record.verdicts_key)
            for name, by_recipe in (("teacher_sha256", self.teachers), ("motion_network_dataset", self.taught_by)):
                if source := record.made_by.inputs.get(name):
                    by_recipe.setdefault(key.split("/")[1], set()).add(source)
        of_verdicts = (key for key in listed if key.endswith(VERDICTS) and key not in cleared)
        self.verdicts = {key: key in self._named for key in of_verdicts}
        self._named |= set(_keys_in_snapshots(self.store))
        others = (*keys_of(self.store, layout.all_controls()), *keys_of(self.store, layout.all_backbones()))
        for key in (*listed, *others):
            if key.endswith(".tar") and key not in cleared and (frames := self._frames_to_forget(key)):
                self.tainted[key] = frames

    def replacements(self, without: set[str]) -> Iterator[Change]:
        """Yield the changes that write what replaces the tainted tars, except those at the keys `without`.

        Tars that no record names are not replaced. No record names the new ones yet.
        """
        for key in self.tainted:
            if key in self._named - without:
                yield Change(partial(self._replace, key))

    def record_changes(self) -> Iterator[Change]:
        """Yield the changes of records of shards; they name the new tars from then on."""
        for key, found in self.records.items():
            yield Change(partial(self._change_record, key), Removal(key=key, what="rewritten", entries=found.works))

    def removals(self) -> Iterator[Change]:
        """Yield the removal of verdicts and of the tainted tars and their indexes, which no record names any more."""
        for key, is_named in self.verdicts.items():
            yield Change(partial(self._remove_verdicts, key), Removal(key=key, what="removed") if is_named else None)
        for key, frames in self.tainted.items():
            yield Change(partial(self._remove, key), Removal(key=key, what="removed", frames=frames.total()))

    def _frames_to_forget(self, key: str) -> Counter[str]:
        in_record = key in self._named
        if in_record and _has_index(key) and self.store.head(index_key(key)) is not None:
            places = read_index(self.store, index_key(key))
            return Counter(place.video for place in places if place.video in self.target.videos)
        with self._local(key) as path:
            found = index_shard(path) if path is not None else []
            return Counter(_video_of(place) for place in found if self._is_gone(place, in_record=in_record))

    def _is_gone(self, place: SamplePlace, *, in_record: bool) -> bool:
        if _video_of(place) in self.target.videos:
            return True
        # Versions that no record has an id of are known by their name alone.
        return not in_record and self.target.has_anywhere(str(read_sample(place).metadata.get("video")))

    def _replace(self, key: str) -> None:
        clean = self.scratch / "clean.tar"
        with self._local(key) as path:
            if path is None:
                return
            gone = set(self.tainted[key])
            copy_without(path, clean, lambda place: _video_of(place) in gone)
        digest = file_sha256(clean)
        suffix = _AUDIT if key.endswith(_AUDIT) else ".tar"
        name = layout.with_digest(layout.without_digest(key, suffix), digest, suffix)
        frames = Counter(_video_of(place) for place in index_shard(clean))
        self.clean[key] = CleanTar(name, digest, clean.stat().st_size, frames)
        self.store.upload(name, clean)
        if _has_index(name):
            self.store.write(index_key(name), index_bytes(clean))
        clean.unlink()

    def _change_record(self, key: str) -> None:
        found = self.records[key]

        def edit(facts: dict[str, Any]) -> None:
            if (facts["data_key"], facts["audit_key"]) != (found.data_key, found.audit_key):
                return  # Another call has named other tars since, which are looked into while the record has the works.
            place = facts["made_by"]["settings"].get("videos", "")
            gone = [row["video"] for row in facts["videos"] if self._has(place, row["video"])]
            names = {f"{place}/{video['key']}" for video in gone}
            inputs = facts["made_by"]["inputs"]
            facts["made_by"]["inputs"] = {name: etag for name, etag in inputs.items() if name not in names}
            facts["videos"] = [row for row in facts["videos"] if row["video"] not in gone]
            self._kept_verdicts.add(shorten_verdicts(self.store, facts))
            if data := self.clean.get(facts["data_key"]):
                facts["data_key"], facts["index_key"] = data.key, index_key(data.key)
                facts["data_sha256"], facts["data_bytes"] = data.sha256, data.size_bytes
            if audit := self.clean.get(facts["audit_key"]):
                facts["audit_key"] = audit.key
            # Not replaced: it has no other frame.
            if facts.get("stages", {}).get("key") in self.tainted:
                del facts["stages"]

        edited(self.store, key, edit)

    def _remove_verdicts(self, key: str) -> None:
        # What a killed call has written, and no record named at first, is what records name since.
        if key not in self._kept_verdicts:
            self.store.remove(key)

    def _has(self, place: str, video: dict[str, Any]) -> bool:
        return self.target.has(place, Video.model_validate(video))

    def _remove(self, key: str) -> None:
        # The index first: without it the tar is read itself, so that it is found again after a kill.
        if _has_index(key):
            self.store.remove(index_key(key))
        self.store.remove(key)

    @contextmanager
    def _local(self, key: str) -> Iterator[Path | None]:
        """A local path of a tar, None where it is missing; a copy is removed afterwards."""
        copy = self.scratch / "tainted.tar"
        try:
            yield self.store.local(key, copy)
        finally:
            copy.unlink(missing_ok=True)  # a folder's store yields the object's own file instead


def _keys_in_snapshots(store: Store) -> Iterator[str]:
    """Yield the keys of the tars that snapshots and the records of runs and backbones name."""
    for _, dataset in read_ahead(store, keys_of(store, layout.all_datasets(), ".json"), DatasetRecord):
        yield from (shard.key for shard in dataset.shards)
    for _, gathered in read_ahead(store, keys_of(store, layout.all_runs(), "/gather.json"), GatherRecord):
        yield from gathered.audit_keys
    for _, backbone in read_ahead(store, keys_of(store, layout.all_backbones(), "/record.json"), BackboneRecord):
        yield backbone.predictions_key


def _has_index(key: str) -> bool:
    """Whether a tar has an index: one of kept frames, or of frames with other masks."""
    return not key.endswith((_AUDIT, STAGES_TAR)) and not key.startswith(layout.all_backbones())


def _video_of(place: SamplePlace) -> str:
    return place.key.rpartition("-")[0]
