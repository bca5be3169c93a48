"""Takes frames out of dataset snapshots and credits, and marks snapshots and backbones that have learnt from them."""

import gzip
import hashlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from watchmove.pipeline.errors import InvalidInput
from watchmove.service.forgetting.target import Change, edited, keys_of
from watchmove.service.forgetting.tars import Tars
from watchmove.service.records import layout
from watchmove.service.records.attribution import COLUMNS, attribution_lines, counts_by_licence
from watchmove.service.records.datasets import DatasetRecord, DatasetShard, GatherRecord
from watchmove.service.records.forgotten import LearntRecord, Removal
from watchmove.service.records.record import find, need, origin
from watchmove.service.records.run_settings import settings_of_run
from watchmove.service.records.shard_index import index_key
from watchmove.service.records.stream import read_ahead
from watchmove.service.records.training import BackboneRecord, backbone_id_of
from watchmove.service.settings.settings import Settings
from watchmove.service.store.store import Store

_VIDEO = COLUMNS.index("video_id")


@dataclass
class Snapshots:
    """The snapshots of a store, and which of them and of the backbones have learnt from the works."""

    tars: Tars
    datasets: dict[str, DatasetRecord] = field(default_factory=dict)
    backbones: dict[str, BackboneRecord] = field(default_factory=dict)
    gathered: dict[str, GatherRecord] = field(default_factory=dict)
    learnt_datasets: set[str] = field(default_factory=set)
    learnt_backbones: set[str] = field(default_factory=set)
    unknown_checkpoints: set[str] = field(default_factory=set)
    _checkpoints: set[str] = field(default_factory=set)

    def find(self) -> None:
        """Fill the fields from the records of snapshots, backbones and runs.

        Raises:
            InvalidInput: a record is damaged.
            Unavailable: the store cannot be reached.
        """
        store = self.tars.store
        datasets = read_ahead(store, keys_of(store, layout.all_datasets(), ".json"), DatasetRecord)
        self.datasets = {record.dataset: record for _, record in datasets}
        # Checkpoints have JSON files too, so the complete name is required.
        backbones = read_ahead(store, keys_of(store, layout.all_backbones(), "/record.json"), BackboneRecord)
        self.backbones = {record.backbone: record for _, record in backbones}
        self.gathered = dict(read_ahead(store, keys_of(store, layout.all_runs(), "/gather.json"), GatherRecord))
        self.learnt_datasets = {name for name, record in self.datasets.items() if self._videos_in(record)}
        self._follow_networks()
        self._find_checkpoints()

    def marks(self, settings: Settings, receipt: str) -> Iterator[Change]:
        """Yield the changes that mark what has learnt from the works, and remove checkpoints of trainings.

        They come before all changes of snapshots, whose frames show what is to be marked.
        """
        keys = [layout.learnt_dataset(name) for name in sorted(self.learnt_datasets)]
        keys += [layout.learnt_backbone(name) for name in sorted(self.learnt_backbones)]
        for key in keys:
            yield Change(partial(_mark, self.tars.store, key, settings, receipt))
        for key in sorted(self._checkpoints):
            yield Change(partial(self.tars.store.remove, key), Removal(key=key, what="removed"))

    def changes(self) -> Iterator[Change]:
        """Yield the changes of the records of runs and backbones, of credits, and of snapshots."""
        store, tainted = self.tars.store, self.tars.tainted
        for key, gathered in self.gathered.items():
            failed = {place.video for places in gathered.failed.values() for place in places}
            if tainted.keys() & {*gathered.audit_keys, *gathered.stages_keys} or failed & self.tars.target.videos:
                yield Change(partial(edited, store, key, self._edit_gathered), Removal(key=key, what="rewritten"))
        for name, backbone in self.backbones.items():
            if backbone.predictions_key in tainted:
                key = layout.backbone(name, "record.json")
                yield Change(partial(edited, store, key, self._edit_backbone), Removal(key=key, what="rewritten"))
        digests: dict[str, str] = {}
        for record in self.datasets.values():
            digest, credits_change = self._credits(record.attribution_key)
            if credits_change is not None and record.attribution_key not in digests:
                yield credits_change
            digests[record.attribution_key] = digest or record.attribution_sha256
        for name, record in self.datasets.items():
            shards = [shard for shard in record.shards if shard.key in tainted]
            if shards or digests[record.attribution_key] != record.attribution_sha256:
                if shards and record.masks_from == "shuffled-masks":
                    yield from self._removals_of_the_rest(record)
                frames = sum(self._frames_in(shard) for shard in shards)
                removal = Removal(key=layout.dataset(name), what="rewritten", frames=frames)
                yield Change(partial(self._change_dataset, name), removal)

    def _videos_in(self, record: DatasetRecord) -> set[str]:
        """The forgotten videos that have frames in a snapshot."""
        return {
            video
            for shard in record.shards
            for video in self.tars.tainted.get(shard.key, ())
            if video not in shard.left_out
        }

    def _frames_in(self, shard: DatasetShard) -> int:
        tainted = self.tars.tainted[shard.key]
        return sum(frames for video, frames in tainted.items() if video not in shard.left_out)

    def _follow_networks(self) -> None:
        """Add what has learnt from a learnt snapshot, also by a network that took part in an extraction."""
        before = -1
        while before < len(self.learnt_datasets):
            before = len(self.learnt_datasets)
            of_learnt = {name: one for name, one in self.backbones.items() if one.dataset in self.learnt_datasets}
            self.learnt_backbones |= of_learnt.keys()
            networks = {one.mask_network_sha256 for one in of_learnt.values()}
            recipes = {recipe for recipe, teachers in self.tars.teachers.items() if teachers & networks}
            recipes |= {recipe for recipe, names in self.tars.taught_by.items() if names & self.learnt_datasets}
            self.learnt_datasets |= {name for name, one in self.datasets.items() if one.recipe in recipes}

    def _find_checkpoints(self) -> None:
        """Find the checkpoints that are left: those of a learnt snapshot, and those of an unknown one.

        A finished training has some only where it could not remove them.
        """
        store = self.tars.store
        snapshots = {name: record.dataset for name, record in self.backbones.items()}
        for key, gathered in self.gathered.items():
            # Records of other versions may have settings that are not valid in this one.
            with suppress(InvalidInput):
                settings = settings_of_run(store, key.split("/")[1])
                for seed in settings.pretrain.all_seeds():
                    snapshots[backbone_id_of(settings, gathered.dataset, seed)] = gathered.dataset
        for key in keys_of(store, layout.all_backbones()):
            _, backbone, *rest = key.split("/")
            if rest[0] == "checkpoints":
                if backbone not in snapshots:
                    self.unknown_checkpoints.add(key)
                elif snapshots[backbone] in self.learnt_datasets:
                    self._checkpoints.add(key)

    def _edit_gathered(self, facts: dict[str, Any]) -> None:
        clean, tainted = self.tars.clean, self.tars.tainted
        facts["audit_keys"] = [clean[key].key if key in clean else key for key in facts["audit_keys"]]
        facts["failed"] = {
            name: [place for place in places if place.get("video") not in self.tars.target.videos]
            for name, places in facts.get("failed", {}).items()
        }
        if "stages_keys" in facts:
            facts["stages_keys"] = [key for key in facts["stages_keys"] if key not in tainted]

    def _edit_backbone(self, facts: dict[str, Any]) -> None:
        if data := self.tars.clean.get(facts["predictions_key"]):
            facts["predictions_key"] = data.key

    def _credits(self, key: str) -> tuple[str, Change | None]:
        """The digest of a file of credits without the works, and its change; "" and None if there is none."""
        data = self.tars.store.read(key) if key else None
        if data is None:
            return "", None
        kept, gone = _without(attribution_lines(data, f"{self.tars.store.uri}/{key}"), self.tars.target.videos)
        if not gone:
            return hashlib.sha256(data).hexdigest(), None
        removal = Removal(key=key, what="rewritten", entries=gone)
        return hashlib.sha256(kept).hexdigest(), Change(partial(self.tars.store.write, key, kept), removal)

    def _removals_of_the_rest(self, record: DatasetRecord) -> Iterator[Change]:
        """The removal of the other tars of a control with shuffled masks: nothing says which have a mask of the works.

        They come before the change of the record, because only the record names them.
        """
        for shard in record.shards:
            if shard.key not in self.tars.tainted:
                for key in (shard.index_key, shard.key):
                    yield Change(partial(self.tars.store.remove, key), Removal(key=key, what="removed"))

    def without_replacement(self) -> set[str]:
        """The keys of tars that are removed and not replaced: those of controls with shuffled masks."""
        shuffled = (record for record in self.datasets.values() if record.masks_from == "shuffled-masks")
        return {shard.key for record in shuffled for shard in record.shards}

    def _change_dataset(self, name: str) -> None:
        key = layout.dataset(name)
        # As it is now, as another call may have named other tars since.
        record = need(self.tars.store, key, DatasetRecord, "gather")
        shards = list(self._new_shards(record))
        data = self.tars.store.read(record.attribution_key) if record.attribution_key else None
        gone = len(self._videos_in(record))

        def edit(facts: dict[str, Any]) -> None:
            facts["shards"] = [shard.model_dump(mode="json") for shard in shards]
            facts["kept_frames"] = sum(shard.frames for shard in shards)
            facts["kept_videos"] = record.kept_videos - gone if shards else 0
            if data is not None:
                counts = counts_by_licence(_rows(attribution_lines(data, record.attribution_key)))
                facts["licences"] = {name: count.model_dump() for name, count in counts.items()}
                facts["attribution_sha256"] = hashlib.sha256(data).hexdigest()

        edited(self.tars.store, key, edit)

    def _new_shards(self, record: DatasetRecord) -> Iterator[DatasetShard]:
        tainted = self.tars.tainted.keys() & {shard.key for shard in record.shards}
        if tainted and record.masks_from == "shuffled-masks":
            return
        for shard in record.shards:
            clean = self.tars.clean.get(shard.key)
            if clean is None:
                yield shard
                continue
            left_out = tuple(video for video in shard.left_out if video not in self.tars.tainted[shard.key])
            frames = sum(count for video, count in clean.frames.items() if video not in left_out)
            # As gather leaves out a tar without frames of the snapshot.
            if frames:
                yield DatasetShard(
                    key=clean.key,
                    sha256=clean.sha256,
                    size_bytes=clean.size_bytes,
                    index_key=index_key(clean.key),
                    frames=frames,
                    left_out=left_out,
                )


def _without(lines: list[bytes], videos: frozenset[str]) -> tuple[bytes, int]:
    """A file of credits without the rows of videos, and the number of those."""
    kept = [line for line in lines if not (columns := _columns(line)) or columns[_VIDEO] not in videos]
    return gzip.compress(b"".join(kept), mtime=0), len(lines) - len(kept)


def _columns(line: bytes) -> list[str]:
    """The columns of a row of credits; none of a comment or the heading."""
    columns = line.decode().rstrip("\n").split("\t")
    return columns if len(columns) == len(COLUMNS) and columns != list(COLUMNS) else []


def _rows(lines: list[bytes]) -> Iterator[list[str]]:
    return filter(None, map(_columns, lines))


def _mark(store: Store, key: str, settings: Settings, receipt: str) -> None:
    """Write a mark, or add the receipt to the one that is there."""
    known = find(store, key, LearntRecord)
    receipts = {receipt, *(known.receipts if known else ())}
    if known is None or receipts != set(known.receipts):
        mark = LearntRecord(made_by=origin(settings, {}), receipts=tuple(sorted(receipts)))
        store.write(key, mark.model_dump_json(indent=1).encode())
