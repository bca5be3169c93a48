"""The index of a committed shard: the position of each frame in the data tar, as compressed JSON lines.

A snapshot is made from the index without reading the data, and one ranged request reads a frame: the `size_bytes` bytes
from `offset` are its members with their headers and padding, which are a readable tar without the rest.
"""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, Field

from watchmove.pipeline.dataset.shard import index_shard
from watchmove.pipeline.errors import InvalidInput
from watchmove.service.records.record import FINITE, Count, from_json_lines, json_lines
from watchmove.service.store.store import Store


class FramePlace(BaseModel):
    """The position of one frame in its shard.

    `offset` is the first byte of its first header, `size_bytes` the length of all its members, `video` the id of its
    video, and `crc32` the checksum of those bytes, or -1 in an index that was written before there were checksums.
    """

    model_config = FINITE

    key: str
    offset: Count
    size_bytes: Count
    video: str
    crc32: int = Field(-1, ge=-1, lt=2**32)


def index_key(data_key: str) -> str:
    """Return the key of the index of a data tar."""
    return data_key.removesuffix(".tar") + ".index.json.gz"


def frame_key(video_id: str, frame: int) -> str:
    """Return a frame's key in its shard; keys sort by video, then by frame number."""
    return f"{video_id}-{frame:06d}"


def frame_places(path: Path) -> Iterator[FramePlace]:
    """Yield the positions of the frames of a local data tar in its order.

    Raises:
        InvalidInput: the file is not a tar.
    """
    places = index_shard(path)
    with path.open("rb") as file:
        for place in places:
            begin, size_bytes = place.extent
            file.seek(begin)
            # a checksum, because a JPEG with damaged bytes often decodes without an error
            total, video = zlib.crc32(file.read(size_bytes)), place.key.rpartition("-")[0]
            yield FramePlace(key=place.key, offset=begin, size_bytes=size_bytes, video=video, crc32=total)


def index_bytes(path: Path) -> bytes:
    """Return the index of a local data tar as it is stored; the same tar gives the same bytes."""
    return gzip.compress(json_lines(list(frame_places(path))), mtime=0)


def read_index(store: Store, index_key: str) -> tuple[FramePlace, ...]:
    """Return the positions of the frames of a committed shard, in the order of its data.

    Raises:
        InvalidInput: the index is absent or damaged.
    """
    where = f"{store.uri}/{index_key}"
    packed = store.read(index_key)
    if not packed:  # gzip reads nothing from no bytes without an error, and the shard would have no frame
        raise InvalidInput(f"{where}: not there or empty; remove the shard's record to extract it again")
    try:
        lines = gzip.decompress(packed)
    except (OSError, EOFError, zlib.error) as error:
        raise InvalidInput(f"{where}: damaged ({error}); remove the shard's record to extract it again") from error
    return tuple(from_json_lines(lines, FramePlace, where))
