"""The true masks of videos in a folder of any store."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from watchmove.pipeline.dataset.shard import Sample
from watchmove.pipeline.dataset.true_masks import VideoTruth, read_truth
from watchmove.pipeline.errors import InvalidInput
from watchmove.service.settings.settings import settings_hash
from watchmove.service.store.opening import open_store


class TruthFolder:
    """The true masks of videos in a folder of `.npz` files; those of the last video are kept in memory."""

    def __init__(self, uri: str, scratch: Path) -> None:
        self._store = open_store(uri)
        self._scratch = scratch
        self._keys = {item.key: item.etag for item in self._store.list() if item.key.endswith(".npz")}
        self.identity = settings_hash(self._keys)
        self._last: tuple[str, Mapping[str, VideoTruth]] = ("", {})

    def of(self, sample: Sample) -> Mapping[str, VideoTruth]:
        """The truth of a sample's video by its name; empty if it is not known."""
        video = str(sample.metadata.get("video"))
        if video != self._last[0]:
            self._last = (video, self._read(video))
        return self._last[1]

    def _read(self, video: str) -> Mapping[str, VideoTruth]:
        key = f"{video.rpartition('.')[0]}.npz"
        if key not in self._keys:
            return {}
        self._scratch.mkdir(parents=True, exist_ok=True)
        target = self._scratch / "truth.npz"
        path = self._store.local(key, target)
        if path is None:
            raise InvalidInput(f"{self._store.uri}/{key}: deleted since the step began; restore it and run again")
        try:
            return {video: read_truth(path)}
        finally:
            if path == target:
                with suppress(FileNotFoundError):
                    target.unlink()
