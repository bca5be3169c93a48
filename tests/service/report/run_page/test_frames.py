"""The frames of a report are read by byte ranges of tars that can change meanwhile."""

import gzip
from pathlib import Path
from types import SimpleNamespace
from typing import cast

from watchmove.service.records.datasets import DatasetRecord, DatasetShard
from watchmove.service.records.shard_index import FramePlace
from watchmove.service.report.run_page.frames import kept_frames
from watchmove.service.store.folder import FileStore
from watchmove.service.store.store import StoredObject

TAR, INDEX = "shards/a.tar", "shards/a.index.jsonl"


class ReplacedMeanwhile(FileStore):
    """A store whose objects are replaced once they have been described."""

    def head(self, key: str) -> StoredObject | None:
        """As of a folder."""
        found = super().head(key)
        self.write(key, b"another object")
        return found


def test_a_tar_that_is_replaced_meanwhile_gives_no_frames(tmp_path: Path) -> None:
    """The page goes without the frames of a tar that `forget` rewrites while the report is made."""
    store = ReplacedMeanwhile(tmp_path)
    store.write(TAR, bytes(2048))
    place = FramePlace(key="v-000001", video="v", offset=0, size_bytes=1024)
    store.write(INDEX, gzip.compress(f"{place.model_dump_json()}\n".encode()))
    shard = DatasetShard(key=TAR, sha256="0" * 64, size_bytes=2048, index_key=INDEX, frames=1)
    dataset = cast("DatasetRecord", SimpleNamespace(shards=(shard,)))

    assert kept_frames(store, dataset) == []
