"""Cut detection, and the choice of the windows of a shot that are segmented.

Both take one frame at a time and keep a bounded number of full frames, so that streams of any length fit in memory.
"""

from collections import deque
from dataclasses import dataclass, field, replace
from statistics import median

import cv2
import numpy as np
from numpy.typing import NDArray

from watchmove.pipeline.arrays import Image
from watchmove.pipeline.video.fades import LONGEST_SPAN, fade_thumbnail, fading_frames

_THUMBNAIL_SIZE = (64, 48)
"""Width and height at which colours are counted. Set by hand, so small that noise and compression average out."""

_BINS = (6, 6, 6)
"""Histogram bins for L, a and b. Set by hand; not tuned."""

_CHROMA_RANGE = (78, 178)
"""Values of a and b that the bins cover (128 is grey), as most videos use few others. Set by hand; not tuned."""

_RECENT_FRAMES = 12
"""Frame distances, about half a second, whose median is the usual change of a shot. Set by hand; not tuned."""

_JUMP_RATIO = 3.0
"""How many times the usual change a cut must exceed, so that a fast camera is not cut. Set by hand; not tuned."""


def colour_distance(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Distance in [0, 1] of two histograms that each sum to 1: 1 minus their intersection (Swain and Ballard, 1991)."""
    return 1.0 - float(np.minimum(first, second).sum())


def _histogram(thumbnail: Image) -> NDArray[np.float32]:
    """Shares (6, 6, 6) of the colours of an RGB thumbnail in Lab, summing to one."""
    lab = cv2.cvtColor(thumbnail, cv2.COLOR_RGB2LAB)
    low, high = _CHROMA_RANGE
    lab[..., 1:] = np.clip(lab[..., 1:], low, high - 1)
    counts = np.asarray(cv2.calcHist([lab], [0, 1, 2], None, list(_BINS), [0, 256, low, high, low, high]), np.float32)
    # soft bin edges: otherwise a small change of light would move all pixels of a region to the next bin at once
    for axis in range(3):
        counts = _smoothed(counts, axis)
    shares: NDArray[np.float32] = counts / counts.sum()
    return shares


def _smoothed(counts: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """Convolve counts with (1, 2, 1) along one axis; the first and last bin are repeated at the ends."""
    padded = np.pad(counts, [(1, 1) if a == axis else (0, 0) for a in range(counts.ndim)], mode="edge")
    length = counts.shape[axis]
    before, here, after = (padded.take(range(k, k + length), axis=axis) for k in range(3))
    return before + 2 * here + after


class CutDetector:
    """Finds cuts in a stream of frames: places where the colours change much more than in the frames just before.

    thumbnail: (48, 64, 3) uint8 RGB, the last frame reduced.
    """

    def __init__(self, cut_distance: float) -> None:
        self._cut_distance = cut_distance
        self._recent: deque[float] = deque(maxlen=_RECENT_FRAMES)
        self._shape: tuple[int, ...] = ()
        self.thumbnail: Image = np.zeros((*_THUMBNAIL_SIZE[::-1], 3), np.uint8)
        self._histogram: NDArray[np.float32] | None = None

    def is_cut(self, image: Image) -> bool:
        """Take the next frame, uint8 RGB (H, W, 3); returns whether it begins a new shot.

        A change of size always begins one. The first frame of the stream does not.
        """
        self.thumbnail = np.asarray(cv2.resize(image, _THUMBNAIL_SIZE, interpolation=cv2.INTER_AREA), np.uint8)
        previous, self._histogram = self._histogram, _histogram(self.thumbnail)
        resized, self._shape = image.shape != self._shape, image.shape
        if previous is None:
            return False
        distance = colour_distance(previous, self._histogram)
        usual = median(self._recent) if self._recent else 0.0
        cut = resized or (distance > self._cut_distance and distance > _JUMP_RATIO * usual)
        if cut:
            self._recent.clear()  # what was usual in the last shot says nothing about this one
        else:
            self._recent.append(distance)
        return cut


@dataclass(frozen=True)
class Window:
    """Consecutive frames of one shot.

    shot: number of the shot, from 0; start: number of the first frame in the video; images: (H, W, 3) uint8 RGB;
    fading: for each image, whether it is part of a fade or a dissolve.
    """

    shot: int
    start: int
    images: tuple[Image, ...]
    fading: tuple[bool, ...] = ()


@dataclass
class WindowSampler:
    """Chooses windows that are spread evenly over a shot whose length is not known in advance.

    The shot is divided into consecutive windows, and every `stride`-th is kept. When more than `most` are kept, every
    second one is discarded and the stride doubles. At most `most` + 1 windows are in memory at a time, and a thumbnail
    of 324 bytes for every frame of the shot.

    window_frames: frames of a window; least_frames: fewest frames of the last window of a shot, unless it is the only
    one; most: windows of one shot; shot: number of the current shot.
    """

    window_frames: int
    least_frames: int
    most: int
    shot: int = 0
    _start: int = 0
    _open_window: list[Image] = field(default_factory=list)
    _window_number: int = 0
    _stride: int = 1
    _kept: list[Window] = field(default_factory=list)
    _thumbnails: list[Image] = field(default_factory=list)

    def add(self, image: Image, thumbnail: Image) -> None:
        """Take the next frame of the shot, (H, W, 3) uint8 RGB, and its thumbnail (see `CutDetector.thumbnail`)."""
        self._open_window.append(image)
        self._thumbnails.append(fade_thumbnail(thumbnail))
        if len(self._open_window) == self.window_frames:
            self._close_window()

    def finish(self, shot: int, start: int) -> tuple[Window, ...]:
        """End the shot and return its windows; the next frame is number `start` in the video and begins shot `shot`."""
        rest = len(self._open_window)
        if rest and (not self._kept or rest >= max(self.least_frames, self.window_frames // 2)):
            self._close_window()
        windows = tuple(replace(window, fading=self._fading(window)) for window in self._kept[: self.most])
        self.shot, self._start = shot, start
        self._open_window, self._window_number, self._stride = [], 0, 1
        self._kept, self._thumbnails = [], []
        return windows

    def _fading(self, window: Window) -> tuple[bool, ...]:
        """Which frames of a window are part of a fade, judged with the frames of the shot before and after it."""
        start = window.start - self._start
        before, stop = max(0, start - LONGEST_SPAN), start + len(window.images)
        fading = fading_frames(self._thumbnails[before : stop + LONGEST_SPAN])
        return tuple(fading[start - before : stop - before].tolist())

    def _close_window(self) -> None:
        """Keep the open window if its turn has come, and begin the next."""
        if self._window_number % self._stride == 0:
            first = self._start + self._window_number * self.window_frames
            self._kept.append(Window(self.shot, first, tuple(self._open_window)))
            if len(self._kept) > self.most:
                self._kept = self._kept[::2]
                self._stride *= 2
        self._open_window = []
        self._window_number += 1
