"""Removal of repeated frames, which a file of a higher frame rate than its camera's contains.

A file of 60 frames per second can hold 10 different frames per second. Repeats show no motion, and few different frames
would be left in a window of consecutive frames.
"""

from typing import NamedTuple

import cv2
import numpy as np

from watchmove.pipeline.arrays import FloatArray, Image

_BLOCK_PIXELS = 8
"""Side of the blocks over which grey levels are averaged, which removes coding noise before frames are compared."""

_LARGEST_NOISE_LEVELS = 1.0
"""Largest difference of the block means of two frames, in levels of 255, that is taken for coding noise."""

MOST_REPEATS = 11
"""Longest run of repeats that is removed: 5 frames per second in a file of 60. A longer run is a scene that stands
still, which has to be seen as one. Set by hand; not tuned."""


class StreamFrame(NamedTuple):
    """One frame of a stream.

    number: its place in the stream; image: (H, W, 3) uint8 RGB; thumbnail: see `FrameMark`; seconds: when it is shown,
    from the start of the video; conditions: how it was converted when it was decoded; follows_repeats: whether repeats
    of the frame before it were removed.
    """

    number: int
    image: Image
    thumbnail: Image
    seconds: float = 0.0
    conditions: tuple[str, ...] = ()
    follows_repeats: bool = False


def block_means(grey: Image) -> FloatArray:
    """Mean levels of blocks of 8x8 pixels of a grey image (H, W) uint8: (H/8, W/8) float32, sizes rounded up."""
    height, width = grey.shape
    size = (-(-width // _BLOCK_PIXELS), -(-height // _BLOCK_PIXELS))
    return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), np.float32)


def is_same(first: FloatArray, second: FloatArray) -> bool:
    """Whether two frames, given as block means (h, w), are the same up to coding noise."""
    return first.shape == second.shape and float(np.abs(first - second).max()) <= _LARGEST_NOISE_LEVELS


class RepeatFilter:
    """Removes the frames of a shot that repeat the frame before; a run of more than 11 repeats is kept.

    At most 11 frames are held back at a time.
    """

    def __init__(self) -> None:
        self._distinct: FloatArray | None = None
        self._repeats: list[StreamFrame] = []
        self._stands_still = False

    def add(self, frame: StreamFrame) -> list[StreamFrame]:
        """Take the next frame; returns the frames, it or earlier ones, that are no repeats."""
        means = block_means(np.asarray(cv2.cvtColor(frame.image, cv2.COLOR_RGB2GRAY), np.uint8))
        if self._distinct is None or not is_same(self._distinct, means):
            follows_repeats = bool(self._repeats)
            self._distinct, self._repeats, self._stands_still = means, [], False
            return [frame._replace(follows_repeats=follows_repeats)]
        if self._stands_still:
            return [frame]
        self._repeats.append(frame)
        if len(self._repeats) <= MOST_REPEATS:
            return []
        still, self._repeats, self._stands_still = self._repeats, [], True
        return still
