"""Shots and their masks between processes, as bytes: a line of JSON, then arrays. Nothing is unpickled.

The sender is a process that reads untrusted videos, so sizes are checked before anything is made of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from watchmove.pipeline.arrays import Image
from watchmove.pipeline.masks.chain import SegmentedFrame

Masks = tuple[tuple[SegmentedFrame, ...], ...]

_MOST_HEADER_BYTES = 2**20
_MOST_BYTES = 2**31


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ShotHeader(_Message):
    """What pictures follow: windows of so many frames, (height, width) pixels of RGB; which positions are wanted."""

    height: int = Field(ge=1, le=2**15)
    width: int = Field(ge=1, le=2**15)
    lengths: tuple[int, ...] = Field(min_length=1)
    wanted: tuple[tuple[int, ...], ...]

    @model_validator(mode="after")
    def _is_possible(self) -> "ShotHeader":
        if min(self.lengths) < 2 or len(self.wanted) != len(self.lengths) or self.image_bytes > _MOST_BYTES:
            raise ValueError("windows have two frames at least, and no more than fits")
        for length, some in zip(self.lengths, self.wanted, strict=True):
            if any(not 0 <= position < length for position in some):
                raise ValueError("a position that is wanted lies outside of its window")
        return self

    @property
    def image_bytes(self) -> int:
        """Bytes of all pictures together."""
        return sum(self.lengths) * self.height * self.width * 3


class MasksHeader(_Message):
    """What masks follow: (height, width) pixels and, of own motion, (rows, columns); or what went wrong in their place.

    problem: empty, or what to tell the user; machine: whether the machine, not the shot, is at fault.
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
        wanted=tuple(tuple(some) for some in wanted),
    )
    connection.send_bytes(header.model_dump_json().encode())
    connection.send_bytes(np.stack([image for window in windows for image in window]).data.cast("B"))


def receive_shot(connection: Connection) -> Shot:
    """Wait for a shot. Raises ValueError where what came is none; EOFError or OSError where the other side has gone."""
    header = ShotHeader.model_validate_json(connection.recv_bytes(_MOST_HEADER_BYTES))
    pictures = np.frombuffer(connection.recv_bytes(header.image_bytes), np.uint8)
    pictures = pictures.reshape(-1, header.height, header.width, 3)
    ends = np.cumsum(header.lengths)
    windows = tuple(tuple(pictures[end - length : end]) for length, end in zip(header.lengths, ends, strict=True))
    if len(pictures) != ends[-1]:
        raise ValueError(f"{len(pictures)} pictures for {ends[-1]} frames")
    return Shot(windows, header.wanted)


def send_masks(connection: Connection, found: Masks) -> None:
    """Send what was found in the wanted frames of a shot, one at least."""
    frames = [frame for window in found for frame in window]
    (height, width), (rows, columns) = frames[0].soft_mask.shape, frames[0].independent_motion.shape
    consistency = tuple(frame.flow_consistency for frame in frames)
    header = MasksHeader(height=height, width=width, rows=rows, columns=columns, flow_trust=consistency)
    connection.send_bytes(header.model_dump_json().encode())
    connection.send_bytes(np.stack([frame.soft_mask for frame in frames]).data.cast("B"))
    connection.send_bytes(np.stack([frame.independent_motion for frame in frames]).data.cast("B"))


def send_problem(connection: Connection, problem: str, *, machine: bool) -> None:
    """Send what went wrong in place of masks."""
    connection.send_bytes(MasksHeader(problem=problem, machine=machine).model_dump_json().encode())


def receive_masks(connection: Connection, wanted: Sequence[Sequence[int]]) -> Masks | MasksHeader:
    """Wait for the masks of the wanted frames, or for the header that says why there are none.

    Raises EOFError or OSError where the other side has gone.
    """
    header = MasksHeader.model_validate_json(connection.recv_bytes(_MOST_HEADER_BYTES))
    if header.problem:
        return header
    masks = np.frombuffer(connection.recv_bytes(), np.float32).reshape(-1, header.height, header.width)
    motions = np.frombuffer(connection.recv_bytes(), np.float32).reshape(-1, header.rows, header.columns)
    frames = iter([SegmentedFrame(*one) for one in zip(masks, motions, header.flow_trust, strict=True)])
    return tuple(tuple(next(frames) for _ in some) for some in wanted)
