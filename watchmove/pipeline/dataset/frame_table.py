"""Where the frames of a dataset lie: arrays of places in shards, small enough for millions of frames."""

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
_UNKNOWN = -1


class Frame(NamedTuple):
    """One frame of a shard: its key, the bytes of all its files from `offset` on, its video, and their CRC-32.

    A sum of -1 is not known.
    """

    key: str
    offset: int
    size_bytes: int
    video: str
    crc32: int = _UNKNOWN


class ShardBytes(Protocol):
    """Shards by name, in a folder or anywhere else; many threads read at the same time."""

    def read_range(self, shard: str, offset: int, size_bytes: int) -> bytes:
        """`size_bytes` bytes of a shard from `offset` on.

        Raises:
            InvalidInput: the shard is gone or ends before. Unavailable: it cannot be read now. Both name the shard.
        """


@dataclass(frozen=True)
class FrameTable:
    """Frames, shard by shard in the order of their bytes; all arrays are (N,).

    `shard` and `video` (int32) count in `shards` and `videos`; the rest is int64, as `Frame` says; `keys` are bytes.
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
        """Hex digits that change with the frames or with where in their shards they lie, not with the folder."""
        names = "\n".join((*(PurePosixPath(shard).name for shard in self.shards), *self.videos))
        total = hashlib.sha256(names.encode())
        for array in (self.keys, self.shard, self.video, self.offset, self.size_bytes):
            total.update(np.ascontiguousarray(array).data)
        return total.hexdigest()

    def is_whole(self, row: int, content: bytes) -> bool:
        """Whether the bytes read for a row are those that were written: damaged JPEGs decode without a word."""
        return int(self.crc32[row]) in (_UNKNOWN, zlib.crc32(content))


class LocalShards:
    """Shards that are files; their names are their paths."""

    def read_range(self, shard: str, offset: int, size_bytes: int) -> bytes:
        """As `ShardBytes` says."""
        try:
            with Path(shard).open("rb") as file:
                file.seek(offset)
                content = file.read(size_bytes)
        except FileNotFoundError as error:
            raise InvalidInput(f"{shard}: gone; extract and gather again") from error
        except OSError as error:
            raise Unavailable(f"{shard}: cannot be read ({error.strerror}); try again") from error
        if len(content) < size_bytes:
            raise InvalidInput(f"{shard}: ends before byte {offset + size_bytes}; extract its shard again")
        return content


def frame_table(shards: Iterable[tuple[str, Sequence[Frame]]]) -> FrameTable:
    """A table of the frames of some shards, each with its name.

    Raises:
        InvalidInput: there is no frame, or a place that no tar has.
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
        raise InvalidInput(f"{len(names)} shards hold no frame; extract from videos in which things move")
    columns = np.concatenate([rows for _, rows in parts])
    keys = np.concatenate([keys for keys, _ in parts if len(keys)])
    shard, video = columns[:, 0].astype(np.int32), columns[:, 1].astype(np.int32)
    return FrameTable(tuple(names), tuple(videos), keys, shard, video, *(columns[:, n].copy() for n in (2, 3, 4)))


def frames_in(shards: Sequence[Path]) -> FrameTable:
    """The frames of local shards; keys are VIDEO-FRAME.

    Raises:
        InvalidInput: a file is no tar, or they hold no frame.
    """

    def frames_of(path: Path) -> list[Frame]:
        places = index_shard(path)
        return [Frame(place.key, *place.extent, place.key.rpartition("-")[0] or place.key) for place in places]

    return frame_table((str(path), frames_of(path)) for path in shards)


def _check(shard: str, frames: Sequence[Frame]) -> None:
    """Raise where an index says what cannot be: it was read from a store."""
    for frame in frames:
        if frame.offset < 0 or frame.size_bytes <= 0 or not 0 < len(frame.key.encode()) <= _LONGEST_KEY_BYTES:
            place = f"{frame.size_bytes} bytes from {frame.offset}"
            raise InvalidInput(f"{shard}: its index has frame {frame.key[:99]!r} at {place}; extract its shard again")
