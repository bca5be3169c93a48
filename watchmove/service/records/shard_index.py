"""Where each frame of a committed shard lies, in a small object beside the data: JSON lines, compressed.

A snapshot names frames by these lines without reading the data, and a frame's bytes come with one ranged request:
`size_bytes` from `offset` on are its three members, headers and padding included, and by themselves a readable tar.
"""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from watchmove.pipeline.dataset.shard import index_shard
from watchmove.pipeline.errors import InvalidInput
from watchmove.service.records.record import from_json_lines, json_lines
from watchmove.service.store.store import Store


class FramePlace(BaseModel):
    """One frame in its shard: key, its first header's first byte, bytes of all its members, its video's id.

    `crc32` is of those bytes; -1 in an index that was written before there were such sums.
    """

    model_config = ConfigDict(frozen=True)

    key: str
    offset: int
    size_bytes: int
    video: str
    crc32: int = -1


def index_key(data_key: str) -> str:
    """Key of the index of a data tar."""
    return data_key.removesuffix(".tar") + ".index.json.gz"


def frame_key(video_id: str, frame: int) -> str:
    """A frame's key in its shard; keys sort by video, then by number."""
    return f"{video_id}-{frame:06d}"


def frame_places(path: Path) -> Iterator[FramePlace]:
    """Where the frames of a local data tar lie, in its order. Raises InvalidInput where the file is no tar."""
    places = index_shard(path)
    with path.open("rb") as file:
        for place in places:
            begin, size_bytes = place.extent
            file.seek(begin)
            total, video = zlib.crc32(file.read(size_bytes)), place.key.rpartition("-")[0]
            yield FramePlace(key=place.key, offset=begin, size_bytes=size_bytes, video=video, crc32=total)


def index_bytes(path: Path) -> bytes:
    """The index of a local data tar as it is stored; same tar, same bytes."""
    return gzip.compress(json_lines(list(frame_places(path))), mtime=0)


def read_index(store: Store, index_key: str) -> tuple[FramePlace, ...]:
    """The frames of a committed shard, in the order of its data.

    Raises:
        InvalidInput: the index is gone or damaged.
    """
    where = f"{store.uri}/{index_key}"
    packed = store.read(index_key)
    if packed is None:
        raise InvalidInput(f"{where}: not there; remove the shard's record to extract it again")
    try:
        lines = gzip.decompress(packed)
    except (OSError, EOFError) as error:
        raise InvalidInput(f"{where}: damaged ({error}); remove the shard's record to extract it again") from error
    return tuple(from_json_lines(lines, FramePlace, where))
