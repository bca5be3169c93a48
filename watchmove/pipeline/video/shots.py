"""Where one shot ends and the next begins, and which windows of a shot are looked at; one frame at a time.

Both work on a stream of any length in memory that does not grow with it.
"""

from collections import deque
from dataclasses import dataclass, field, replace
from statistics import median

import cv2
import numpy as np
from numpy.typing import NDArray

from watchmove.pipeline.arrays import Image
from watchmove.pipeline.video.fades import LONGEST_SPAN, fading_frames, small_picture

_THUMBNAIL = (64, 48)
_BINS = (6, 6, 6)
_HISTORY = 12
_JUMP = 3.0


def colour_distance(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Share of colours that two histograms, each summing to one, do not have in common, in [0, 1]."""
    return 1.0 - float(np.minimum(first, second).sum())


def _histogram(thumbnail: Image) -> NDArray[np.float32]:
    lab = cv2.cvtColor(thumbnail, cv2.COLOR_RGB2LAB)
    # a and b rarely leave the middle of their range
    ranges = [0, 256, 78, 178, 78, 178]
    lab[..., 1:] = np.clip(lab[..., 1:], 78, 177)
    counts = np.asarray(cv2.calcHist([lab], [0, 1, 2], None, list(_BINS), ranges), np.float32)
    # a soft edge between bins, so that a small change of light does not move a whole region at once
    for axis in range(3):
        counts = _smoothed(counts, axis)
    shares: NDArray[np.float32] = counts / counts.sum()
    return shares


def _smoothed(counts: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """Counts smoothed by (1, 2, 1) along one axis."""
    padded = np.pad(counts, [(1, 1) if a == axis else (0, 0) for a in range(counts.ndim)], mode="edge")
    length = counts.shape[axis]
    before, here, after = (padded.take(range(k, k + length), axis=axis) for k in range(3))
    return before + 2 * here + after


class CutDetector:
    """Tells cuts in a stream of frames: colours that change at once, far more than they did just before.

    thumbnail: (48, 64, 3) uint8 of the frame that was looked at last.
    """

    def __init__(self, cut_distance: float) -> None:
        self._cut_distance = cut_distance
        self._recent: deque[float] = deque(maxlen=_HISTORY)
        self._shape: tuple[int, ...] = ()
        self.thumbnail: Image = np.zeros((*_THUMBNAIL[::-1], 3), np.uint8)
        self._histogram: NDArray[np.float32] | None = None

    def is_cut(self, image: Image) -> bool:
        """Whether `image` (H, W, 3) begins a new shot; a change of size always does, the very first frame does not."""
        self.thumbnail = np.asarray(cv2.resize(image, _THUMBNAIL, interpolation=cv2.INTER_AREA), np.uint8)
        previous, self._histogram = self._histogram, _histogram(self.thumbnail)
        resized, self._shape = image.shape != self._shape, image.shape
        if previous is None:
            return False
        distance = colour_distance(previous, self._histogram)
        usual = median(self._recent) if self._recent else 0.0
        cut = resized or (distance > self._cut_distance and distance > _JUMP * usual)
        if cut:
            self._recent.clear()
        else:
            self._recent.append(distance)
        return cut


@dataclass(frozen=True)
class Window:
    """Consecutive frames of one shot; `start` is the number of the first in the video; `fading`: which of them are part
    of a fade or a dissolve.
    """

    shot: int
    start: int
    images: tuple[Image, ...]
    fading: tuple[bool, ...] = ()


@dataclass
class WindowSampler:
    """Takes windows spread evenly over a shot whose length is not known beforehand.

    The shot is tiled with windows. Of the tiles every `stride`-th is held; when more than `most` are, every second one
    is let go and the stride doubles. At most `most` + 1 windows are ever in memory, and 324 bytes of every frame.
    """

    window_frames: int
    least_frames: int
    most: int
    shot: int = 0
    _start: int = 0
    _tile: list[Image] = field(default_factory=list)
    _tile_index: int = 0
    _stride: int = 1
    _held: list[Window] = field(default_factory=list)
    _small: list[Image] = field(default_factory=list)

    def add(self, image: Image, thumbnail: Image) -> None:
        """Take the next frame of the shot."""
        self._tile.append(image)
        self._small.append(small_picture(thumbnail))
        if len(self._tile) == self.window_frames:
            self._close_tile()

    def finish(self, shot: int, start: int) -> tuple[Window, ...]:
        """The windows of the shot that has ended; the next frame is number `start`, the first of shot number `shot`."""
        if self._tile and (not self._held or len(self._tile) >= max(self.least_frames, self.window_frames // 2)):
            self._close_tile()
        windows = tuple(replace(window, fading=self._fading(window)) for window in self._held[: self.most])
        self.shot, self._start, self._tile, self._tile_index, self._stride, self._held = shot, start, [], 0, 1, []
        self._small = []
        return windows

    def _fading(self, window: Window) -> tuple[bool, ...]:
        """Which frames of a window are part of a fade, by all frames of the shot around them."""
        start = window.start - self._start
        before, stop = max(0, start - LONGEST_SPAN), start + len(window.images)
        fading = fading_frames(self._small[before : stop + LONGEST_SPAN])
        return tuple(fading[start - before : stop - before].tolist())

    def _close_tile(self) -> None:
        if self._tile_index % self._stride == 0:
            first = self._start + self._tile_index * self.window_frames
            self._held.append(Window(self.shot, first, tuple(self._tile)))
            if len(self._held) > self.most:
                self._held = self._held[::2]
                self._stride *= 2
        self._tile = []
        self._tile_index += 1
