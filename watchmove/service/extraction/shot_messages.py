"""Messages that carry shots and their masks between processes: a JSON header, then arrays as bytes.

The sender reads untrusted videos, so nothing is unpickled and sizes are checked before memory is allocated.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from watchmove.pipeline.arrays import Image
from watchmove.pipeline.masks.chain import SegmentedFrame, StageMaps

Masks = tuple[tuple[SegmentedFrame, ...], ...]

_MAX_HEADER_BYTES = 2**20
"""A bound on memory, not a tuned value."""
_MAX_IMAGE_BYTES = 2**31
"""A bound on the memory that one shot may take in the device process, not a tuned value."""


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ShotHeader(_Message):
    """Header of a shot: the frames of each window, their size in pixels, and the wanted positions in each window."""

    height: int = Field(ge=1, le=2**15)
    width: int = Field(ge=1, le=2**15)
    lengths: tuple[int, ...] = Field(min_length=1)
    wanted: tuple[tuple[int, ...], ...]

    @model_validator(mode="after")
    def _is_possible(self) -> "ShotHeader":
        # flow needs a second frame
        if min(self.lengths) < 2 or len(self.wanted) != len(self.lengths) or self.image_bytes > _MAX_IMAGE_BYTES:
            raise ValueError(
                "shot: a window has fewer than 2 frames, wanted positions do not match, or it is too large"
            )
        for length, positions in zip(self.lengths, self.wanted, strict=True):
            if any(not 0 <= position < length for position in positions):
                raise ValueError("shot: a wanted position is outside its window")
        return self

    @property
    def image_bytes(self) -> int:
        """Total size of all frames in bytes, 3 for each pixel."""
        return sum(self.lengths) * self.height * self.width * 3


class MasksHeader(_Message):
    """Header of masks: their (height, width) and the (rows, columns) of independent motion; or a problem and no masks.

    problem: empty, or the message for the user; machine: whether the cause is the machine and not the shot.
    """

    height: int = 0
    width: int = 0
    rows: int = 0
    columns: int = 0
    flow_trust: tuple[float, ...] = ()
    problem: str = ""
    machine: bool = False


@dataclass(frozen=True)
class Shot:
    """Windows of (H, W, 3) uint8 RGB images of one size, and the positions that are wanted in each."""

    windows: tuple[tuple[Image, ...], ...]
    wanted: tuple[tuple[int, ...], ...]


def send_shot(connection: Connection, windows: Sequence[Sequence[Image]], wanted: Sequence[Sequence[int]]) -> None:
    """Send one shot: windows of (H, W, 3) uint8 images of one size, and the positions wanted in each."""
    height, width = windows[0][0].shape[:2]
    header = ShotHeader(
        height=height,
        width=width,
        lengths=tuple(len(window) for window in windows),
        wanted=tuple(tuple(positions) for positions in wanted),
    )
    connection.send_bytes(header.model_dump_json().encode())
    # a view of the array's bytes: `tobytes` would copy the shot once more
    connection.send_bytes(np.stack([image for window in windows for image in window]).data.cast("B"))


def receive_shot(connection: Connection) -> Shot:
    """Wait for a shot.

    Raises:
        ValueError: the message is not a valid shot.
        EOFError, OSError: the sender has closed the connection.
    """
    header = ShotHeader.model_validate_json(connection.recv_bytes(_MAX_HEADER_BYTES))
    # a longer message than the header announces raises OSError before it is read
    frames = np.frombuffer(connection.recv_bytes(header.image_bytes), np.uint8)
    frames = frames.reshape(-1, header.height, header.width, 3)
    ends = np.cumsum(header.lengths)
    windows = tuple(tuple(frames[end - length : end]) for length, end in zip(header.lengths, ends, strict=True))
    if len(frames) != ends[-1]:
        raise ValueError(f"shot: {len(frames)} frames received, {ends[-1]} announced")
    return Shot(windows, header.wanted)


def send_masks(connection: Connection, found: Masks) -> None:
    """Send the masks of the wanted frames of a shot; there must be at least one."""
    frames = [frame for window in found for frame in window]
    (height, width), (rows, columns) = frames[0].soft_mask.shape, frames[0].independent_motion.shape
    consistency = tuple(frame.flow_consistency for frame in frames)
    header = MasksHeader(height=height, width=width, rows=rows, columns=columns, flow_trust=consistency)
    connection.send_bytes(header.model_dump_json().encode())
    connection.send_bytes(np.stack([frame.soft_mask for frame in frames]).data.cast("B"))
    connection.send_bytes(np.stack([frame.independent_motion for frame in frames]).data.cast("B"))
    stages = [frame.stages for frame in frames if frame.stages is not None]
    # axes: (frames, rows, columns, maps), flow being two of them, cues the last four; of no frame unless of all
    maps = [np.dstack([one.flow, one.motion, one.appearance, one.votes, one.cues]) for one in stages]
    connection.send_bytes(np.stack(maps).tobytes() if len(maps) == len(frames) else b"")


def send_problem(connection: Connection, problem: str, *, machine: bool) -> None:
    """Send the reason why there are no masks."""
    connection.send_bytes(MasksHeader(problem=problem, machine=machine).model_dump_json().encode())


def receive_masks(connection: Connection, wanted: Sequence[Sequence[int]]) -> Masks | MasksHeader:
    """Wait for the masks of the wanted frames, or for the header that says why there are none.

    Raises:
        EOFError, OSError: the sender has closed the connection.
    """
    header = MasksHeader.model_validate_json(connection.recv_bytes(_MAX_HEADER_BYTES))
    if header.problem:
        return header
    # no limit here: the sender is the device process, which is trusted and decodes no video
    masks = np.frombuffer(connection.recv_bytes(), np.float32).reshape(-1, header.height, header.width)
    motions = np.frombuffer(connection.recv_bytes(), np.float32).reshape(-1, header.rows, header.columns)
    stages = _stages_in(connection.recv_bytes(), len(masks), header)
    frames = iter([SegmentedFrame(*fields) for fields in zip(masks, motions, header.flow_trust, stages, strict=True)])
    return tuple(tuple(next(frames) for _ in positions) for positions in wanted)


def _stages_in(content: bytes, count: int, header: MasksHeader) -> list[StageMaps | None]:
    """The maps of the stages of each of `count` frames; None where the message has none."""
    if not content:
        return [None] * count
    maps = np.frombuffer(content, np.float16).reshape(count, header.rows, header.columns, -1)
    return [StageMaps(one[..., :2], one[..., 2], one[..., 3], one[..., 4], one[..., 5:]) for one in maps]
