"""The table of a dataset's frames and where each is stored, as arrays that stay small for millions of frames."""

import hashlib
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from watchmove.pipeline.dataset.shard import index_shard
from watchmove.pipeline.errors import InvalidInput, Unavailable

_LONGEST_KEY_BYTES = 255
"""Longest key that an index may hold: the limit of a file's name on common file systems."""
_UNKNOWN = -1
"""Stands for the CRC-32 of a frame whose index does not have one."""


class Frame(NamedTuple):
    """One frame of a shard and where its files are stored."""

    key: str
    offset: int
    """First byte of its files in the shard, headers included."""
    size_bytes: int
    """Length of all its files in the shard, headers and padding included."""
    video: str
    """Identity of the video that it comes from."""
    crc32: int = _UNKNOWN
    """CRC-32 of these bytes; -1: not known."""


class ShardBytes(Protocol):
    """Source of shards' bytes, a folder or a store; several threads may read at the same time."""

    def read_range(self, shard: str, offset: int, size_bytes: int) -> bytes:
        """Return `size_bytes` bytes of a shard from byte `offset` on.

        Raises:
            InvalidInput: the shard is missing or too short; the message names it.
            Unavailable: it cannot be read now; the message names it.
        """


@dataclass(frozen=True)
class FrameTable:
    """The N frames of a dataset, ordered by shard and then by offset; all arrays are (N,).

    `shard` and `video` are int32 indices into `shards` and `videos`. `keys` are UTF-8 bytes. `offset`, `size_bytes` and
    `crc32` are int64, with the meaning that they have in `Frame`.
    """

    shards: tuple[str, ...]
    videos: tuple[str, ...]
    keys: NDArray[np.bytes_]
    shard: NDArray[np.int32]
    video: NDArray[np.int32]
    offset: NDArray[np.int64]
    size_bytes: NDArray[np.int64]
    crc32: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.keys)

    def digest(self) -> str:
        """Return 64 hexadecimal digits that identify the frames and their places in shards.

        The folder of the shards does not count, so that a copy of a dataset has the same digest.
        """
        names = "\n".join((*(PurePosixPath(shard).name for shard in self.shards), *self.videos))
        # the name of a local file may have bytes that are not UTF-8
        total = hashlib.sha256(names.encode("utf-8", "surrogateescape"))
        # without crc32, because tables of the same dataset may have it or lack it
        for array in (self.keys, self.shard, self.video, self.offset, self.size_bytes):
            total.update(np.ascontiguousarray(array).data)
        return total.hexdigest()

    def is_whole(self, row: int, content: bytes) -> bool:
        """Tell whether the bytes read for a row are those that were written; without a known CRC-32 they are accepted.

        Decoding does not replace this check, as many damaged JPEGs decode without an error.
        """
        return int(self.crc32[row]) in (_UNKNOWN, zlib.crc32(content))


class LocalShards:
    """Shards that are local files; a shard's name is its path."""

    def read_range(self, shard: str, offset: int, size_bytes: int) -> bytes:
        """Return `size_bytes` bytes of a file from byte `offset` on. Raises InvalidInput or Unavailable."""
        try:
            # opened for each read: threads that shared one open file would move its position for each other
            with Path(shard).open("rb") as file:
                file.seek(offset)
                content = file.read(size_bytes)
        except FileNotFoundError as error:
            raise InvalidInput(f"{shard}: is missing; extract and gather again") from error
        except OSError as error:
            raise Unavailable(f"{shard}: cannot be read ({error.strerror}); try again") from error
        if len(content) < size_bytes:
            raise InvalidInput(f"{shard}: ends before byte {offset + size_bytes}; extract its shard again")
        return content


def frame_table(shards: Iterable[tuple[str, Sequence[Frame]]]) -> FrameTable:
    """Build the table of the frames of shards, given as pairs of a shard's name and its frames in any order.

    Raises:
        InvalidInput: there is no frame, or a frame's offset, size or key cannot be that of a tar's files.
    """
    names: list[str] = []
    parts = []
    videos: dict[str, int] = {}
    for name, frames in shards:
        ordered = sorted(frames, key=lambda frame: frame.offset)
        _check(name, ordered)
        rows = [(len(names), videos.setdefault(f.video, len(videos)), f.offset, f.size_bytes, f.crc32) for f in ordered]
        keys = np.array([frame.key.encode() for frame in ordered], np.bytes_)
        parts.append((keys, np.array(rows, np.int64).reshape(-1, 5)))
        names.append(name)
    if not any(len(keys) for keys, _ in parts):
        raise InvalidInput(f"{len(names)} shards hold no frame; extract from videos in which objects move")
    columns = np.concatenate([rows for _, rows in parts])
    # An empty array of keys would have another item size than the others.
    keys = np.concatenate([keys for keys, _ in parts if len(keys)])
    shard, video = columns[:, 0].astype(np.int32), columns[:, 1].astype(np.int32)
    # copies: a view would keep all five columns in memory
    return FrameTable(tuple(names), tuple(videos), keys, shard, video, *(columns[:, n].copy() for n in (2, 3, 4)))


def frames_in(shards: Sequence[Path]) -> FrameTable:
    """Build the table of the frames of local shards, whose keys are VIDEO-FRAME.

    Raises:
        InvalidInput: a file is not a tar, has an incomplete frame, or holds no frame.
    """

    def frames_of(path: Path) -> list[Frame]:
        places = index_shard(path)
        return [Frame(place.key, *place.extent, place.key.rpartition("-")[0] or place.key) for place in places]

    found = [(str(path), frames_of(path)) for path in shards]
    empty = [name for name, frames in found if not frames]
    if 0 < len(empty) < len(found):  # as a tar of which the contents were lost
        raise InvalidInput(f"{empty[0]}: holds no frame, other shards do; extract its shard again, or leave it out")
    return frame_table(found)


def _check(shard: str, frames: Sequence[Frame]) -> None:
    """Raise InvalidInput if a frame's place or key is impossible: indexes come from a store and are not trusted."""
    for frame in frames:
        try:
            key_bytes = len(frame.key.encode())
        except UnicodeEncodeError as error:  # the name of a file in a tar has any bytes
            raise InvalidInput(f"{shard}: the key {frame.key[:99]!r} is not UTF-8; pack the shard again") from error
        if frame.offset < 0 or frame.size_bytes <= 0 or not 0 < key_bytes <= _LONGEST_KEY_BYTES:
            place = f"{frame.size_bytes} bytes from {frame.offset}"
            raise InvalidInput(f"{shard}: its index has frame {frame.key[:99]!r} at {place}; extract its shard again")
