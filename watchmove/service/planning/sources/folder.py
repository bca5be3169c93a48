"""Source of the videos in a folder or below a prefix of a bucket, recognised by their suffixes."""

from collections.abc import Iterator
from pathlib import PurePosixPath

from watchmove.service.planning.sources.listed import ListedVideo, Tally
from watchmove.service.store.store import Store

VIDEO_SUFFIXES = frozenset(
    {".264", ".265", ".h264", ".h265", ".hevc", ".insv", ".lrv", ".mp4v"}
    | {".3g2", ".3gp", ".3gpp", ".amv", ".apng", ".asf", ".avi", ".divx", ".dv", ".f4v", ".flv", ".gif", ".ivf", ".m1v"}
    | {".m2p", ".m2t", ".m2ts", ".m2v", ".m4v", ".mjpeg", ".mjpg", ".mkv", ".mod", ".mov", ".mp4", ".mpe", ".mpeg"}
    | {".mpg", ".mpv", ".mts", ".mxf", ".nut", ".ogg", ".ogm", ".ogv", ".ogx", ".qt", ".rm", ".rmvb", ".tod", ".ts"}
    | {".vob", ".vro", ".webm", ".wmv", ".xvid", ".y4m"}
)
"""Suffixes of the containers that the decoder opens (`CONTAINERS`), as cameras, phones and sites write them."""

_OF_DESKTOPS = frozenset(
    {"__macosx", "@eadir", "@recycle", "@recently-snapshot", "#recycle", "#snapshot", "$recycle.bin", "recycler"}
    | {"recycled", "system volume information", "lost+found", "found.000"}
)
"""Folders that operating systems and network storage add, with thumbnails, remains, copies, or what was deleted; in
lower case."""

HIDDEN = "hidden-file"
"""Why a file with the suffix of a video is passed over by its name."""


def videos_in(store: Store, tally: Tally) -> Iterator[ListedVideo]:
    """Yield the videos of a store in the order of their keys; other files are counted in `tally`.

    Hidden files are passed over and counted: macOS writes a file `._NAME` next to each file that it copies to another
    disk, and the name of that file ends as the video's does.
    """
    for item in store.list():
        path = PurePosixPath(item.key)
        if path.suffix.lower() not in VIDEO_SUFFIXES:
            tally.files_ignored += 1
        elif is_hidden(item.key):
            tally.filtered[HIDDEN] += 1
        elif not _is_utf8(item.key):
            name = item.key.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
            tally.pass_over(name, "its name is not UTF-8; rename the file", "")
        else:
            yield ListedVideo(item.key, item.size_bytes, item.etag)


def is_hidden(key: str) -> bool:
    """Whether a file is hidden, or in a hidden folder or one that operating systems and network storage add."""
    return any(part.startswith(".") or part.lower() in _OF_DESKTOPS for part in PurePosixPath(key).parts)


def _is_utf8(key: str) -> bool:
    """Whether a name can be written as UTF-8: Python marks the bytes of a file name that are not."""
    try:
        key.encode()
    except UnicodeEncodeError:
        return False
    return True
