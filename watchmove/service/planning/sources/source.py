"""Opens the source that the settings name, and yields its listed videos whatever its format."""

from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from watchmove.pipeline.errors import InvalidInput
from watchmove.service.planning.sources import folder, video_list, yfcc100m, yfcc100m_sqlite
from watchmove.service.planning.sources.listed import ListedVideo, Tally
from watchmove.service.settings.settings import Settings
from watchmove.service.store.opening import access_to_videos, open_store, open_videos
from watchmove.service.store.store import Access, Store, StoredObject
from watchmove.service.store.text_stream import text_of

_FORMATS = {
    ".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".tsv": "yfcc100m",
    ".sql": "sqlite", ".sqlite": "sqlite", ".sqlite3": "sqlite", ".db": "sqlite",
}  # fmt: skip


class Source:
    """The videos that settings name, in the order of their list.

    `inputs` are the files of the list with their ETags, and `size_bytes` is the size of all of them; a folder has none.
    """

    def __init__(self, settings: Settings) -> None:
        self.videos = open_videos(settings)
        self._settings = settings.plan
        self._files: list[StoredObject] = []
        if settings.plan.manifest:
            self._store, self._files = _files(settings, self.videos)
        self.size_bytes = sum(item.size_bytes for item in self._files)
        self.inputs = {f"{self._store.uri}/{item.key}": item.etag for item in self._files}

    def rows(self, tally: Tally) -> Iterator[ListedVideo]:
        """Yield every video of the list; skipped rows and files are counted in `tally`.

        Raises:
            InvalidInput: the list is not in its format.
            Unavailable: a store cannot be reached.
        """
        if not self._settings.manifest:
            yield from folder.videos_in(self.videos, tally)
        for item in self._files:
            yield from self._rows_of(item, tally)

    def _rows_of(self, item: StoredObject, tally: Tally) -> Iterator[ListedVideo]:
        where = f"{self._store.uri}/{item.key}"
        asked = self._settings.manifest_format
        kind = _format_of(item.key, where) if asked == "auto" else asked
        if kind == "sqlite":
            return yfcc100m_sqlite.videos_in(_local_file(where), tally)
        pieces = text_of(self._store, item)
        if kind == "yfcc100m":
            return yfcc100m.videos_in(pieces, where, tally)
        read = video_list.csv_rows if kind == "csv" else video_list.json_rows
        return video_list.videos_in(read(pieces, where, tally), where, self.videos.uri, tally)


def _files(settings: Settings, videos: Store) -> tuple[Store, list[StoredObject]]:
    """The store and files of the manifest; if it is in the videos' bucket, it is read with the videos' credentials."""
    place, _, name = settings.plan.manifest.rpartition("/")
    place = "file:///" if place == "file://" else place  # a file in the root folder
    # the settings state how the videos' bucket is read; requests to any other bucket are signed as usual
    store = open_store(place, access_to_videos(settings) if _bucket(place) == _bucket(videos.uri) else Access())
    if "*" in name:
        files = [item for item in store.list(name.partition("*")[0]) if fnmatchcase(item.key, name)]
    else:
        files = [item for item in [store.head(name)] if item is not None]
    if not files:
        raise InvalidInput(f"manifest {settings.plan.manifest}: there is no such file; name the list of videos")
    return store, files


def _bucket(uri: str) -> str:
    return "/".join(uri.split("/")[:3])


def _format_of(key: str, where: str) -> str:
    name = PurePosixPath(key).name
    suffix = PurePosixPath(name.removesuffix(".bz2").removesuffix(".gz")).suffix.lower()
    if suffix in _FORMATS:
        return _FORMATS[suffix]
    # the published files (yfcc100m_dataset-0 and so on) have no suffix that names their format
    if name.startswith("yfcc100m_dataset"):
        return "yfcc100m"
    raise InvalidInput(f"{where}: its name does not say what it is; set plan.manifest_format")


def _local_file(where: str) -> Path:
    if not where.startswith("file://"):
        raise InvalidInput(f"{where}: SQLite is read from a local file only; copy it and name file://FOLDER/FILE")
    return Path(where.removeprefix("file://"))
