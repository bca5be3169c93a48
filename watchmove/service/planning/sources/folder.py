"""Source of the videos in a folder or below a prefix of a bucket, recognised by their suffixes."""

from collections.abc import Iterator
from pathlib import PurePosixPath

from watchmove.service.planning.sources.listed import ListedVideo, Tally
from watchmove.service.store.store import Store

VIDEO_SUFFIXES = frozenset(
    {".3gp", ".asf", ".avi", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4"}
    | {".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".vob", ".webm", ".wmv"}
)


def videos_in(store: Store, tally: Tally) -> Iterator[ListedVideo]:
    """Yield the videos of a store in the order of their keys; other files are counted in `tally`."""
    for item in store.list():
        if PurePosixPath(item.key).suffix.lower() in VIDEO_SUFFIXES:
            yield ListedVideo(item.key, item.size_bytes, item.etag)
        else:
            tally.files_ignored += 1
