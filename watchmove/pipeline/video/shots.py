"""Cut detection, and the choice of the windows of a shot that are segmented.

Both take one frame at a time and keep a bounded number of full frames, so that streams of any length fit in memory.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from watchmove.pipeline.arrays import Image
from watchmove.pipeline.video.fades import LONGEST_SPAN, fade_thumbnail, fading_frames
from watchmove.pipeline.video.repeats import RepeatFilter, StreamFrame

_THUMBNAIL_SIZE = (64, 48)
"""Width and height at which colours are compared. Set by hand, so small that noise and compression average out."""

_HUES = 180
"""Hues of OpenCV's 8-bit HSV, which are a circle: 179 and 0 are neighbours."""

_NEIGHBOURS = 2
"""Frames before and after a cut whose changes it must exceed; PySceneDetect's AdaptiveDetector has the same default."""

_JUMP_RATIO = 3.0
"""How many times the mean change of its neighbours a cut must exceed, so that fast motion is no cut. The default of
PySceneDetect's AdaptiveDetector, not tuned here."""

_LEAST_SHOT_FRAMES = 6
"""Frames after a cut in which no other is found, since a flash changes two frames. Of 1, 6 and 15 frames, 6 has nearly
the precision of 15 on joined test clips (`tests/bench/cuts.py`) and keeps shots of a quarter of a second."""


class FrameMark(NamedTuple):
    """The verdict on one frame of a stream.

    begins_shot: whether the frame is the first of a new shot; thumbnail: the frame reduced to (48, 64, 3) uint8 RGB,
    black for a frame that cannot be read.
    """

    begins_shot: bool
    thumbnail: Image


@dataclass(frozen=True)
class _Change:
    """A frame, and the change from the readable frame before it; None for the first, and for an unreadable frame."""

    thumbnail: Image
    levels: float | None = None
    resized: bool = False
    readable: bool = True


class CutDetector:
    """Finds cuts in a stream of frames: places where colours change much more than in the frames before and after.

    This is the rule of PySceneDetect's AdaptiveDetector, on thumbnails: the mean change of hue, saturation and value
    must be large, and large compared with the changes of the neighbouring frames. A verdict therefore comes two frames
    late. `detect_cuts` applies the detector to a whole stream.
    """

    def __init__(self, cut_difference: float) -> None:
        self._cut_difference = cut_difference
        self._pending: deque[_Change] = deque()
        self._before: deque[float] = deque(maxlen=_NEIGHBOURS)
        # as if the last cut were long ago, so that the first shot may be of any length
        self._since_cut = _LEAST_SHOT_FRAMES
        self._colours: NDArray[np.int16] | None = None
        self._shape: tuple[int, ...] = ()

    def add(self, image: Image | None) -> list[FrameMark]:
        """Take the next frame, uint8 RGB (H, W, 3), None if it cannot be read; returns the verdicts it completes."""
        self._pending.append(self._change_to(image))
        marks = []
        # verdicts keep the order of frames: an unreadable one needs no neighbours, but waits for those before it
        while self._pending and (not self._pending[0].readable or self._readable_pending() > _NEIGHBOURS):
            marks.append(self._judge())
        return marks

    def finish(self) -> list[FrameMark]:
        """The verdicts on the last frames of the stream, which have fewer neighbours."""
        return [self._judge() for _ in range(len(self._pending))]

    def _readable_pending(self) -> int:
        return sum(change.readable for change in self._pending)

    def _change_to(self, image: Image | None) -> _Change:
        """Reduce a frame and compare it with the readable frame before it."""
        if image is None:
            return _Change(np.zeros((*_THUMBNAIL_SIZE[::-1], 3), np.uint8), readable=False)
        thumbnail = shot_thumbnail(image)
        # int16, because differences of uint8 would wrap around
        previous, self._colours = self._colours, np.asarray(cv2.cvtColor(thumbnail, cv2.COLOR_RGB2HSV), np.int16)
        resized, self._shape = image.shape != self._shape, image.shape
        if previous is None:
            return _Change(thumbnail)
        return _Change(thumbnail, colour_change(previous, self._colours), resized)

    def _judge(self) -> FrameMark:
        """The verdict on the first pending frame, which then counts as a neighbour of the next."""
        change = self._pending.popleft()
        if change.levels is None:
            return FrameMark(begins_shot=False, thumbnail=change.thumbnail)
        after = [later.levels for later in self._pending if later.levels is not None][:_NEIGHBOURS]
        neighbours = [*self._before, *after]
        usual = sum(neighbours) / len(neighbours) if neighbours else 0.0
        jumps = change.levels >= self._cut_difference and change.levels >= _JUMP_RATIO * usual
        # a change of size is a cut whatever the colours are, because the frames of a window have one size
        cut = change.resized or (jumps and self._since_cut >= _LEAST_SHOT_FRAMES)
        self._since_cut = 1 if cut else self._since_cut + 1
        self._before.append(change.levels)
        return FrameMark(cut, change.thumbnail)


def shot_thumbnail(image: Image) -> Image:
    """The thumbnail, (48, 64, 3) uint8 RGB, by which frames (H, W, 3) uint8 RGB are compared."""
    return np.asarray(cv2.resize(image, _THUMBNAIL_SIZE, interpolation=cv2.INTER_AREA), np.uint8)


def colour_change(first: NDArray[np.int16], second: NDArray[np.int16]) -> float:
    """Mean absolute difference, in levels, of two images (H, W, 3) int16 in OpenCV's HSV; hues differ by 90 at most."""
    difference = np.abs(second - first)
    difference[..., 0] = np.minimum(difference[..., 0], _HUES - difference[..., 0])
    return float(difference.mean())


def detect_cuts(images: Iterable[Image | None], cut_difference: float) -> Iterator[FrameMark]:
    """One verdict for each frame of a stream, in order.

    Images are uint8 RGB (H, W, 3), None for a frame that cannot be read. `cut_difference` is the least mean change, in
    levels from 0 to 255, that makes a cut. A change of size always makes one; the first frame of a stream never does.
    The stream is read two readable frames ahead.
    """
    detector = CutDetector(cut_difference)
    for image in images:
        yield from detector.add(image)
    yield from detector.finish()


@dataclass(frozen=True)
class Window:
    """Frames of one shot that follow each other, without repeats.

    shot: number of the shot, from 0; place: how many frames of the shot, repeats not counted, come before the window;
    frames: the frames, of one size; fading: for each of them, whether it is part of a fade or a dissolve.
    """

    shot: int
    place: int
    frames: tuple[StreamFrame, ...]
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
    _open_window: list[StreamFrame] = field(default_factory=list)
    _window_number: int = 0
    _stride: int = 1
    _kept: list[Window] = field(default_factory=list)
    _thumbnails: list[Image] = field(default_factory=list)
    _repeats: RepeatFilter = field(default_factory=RepeatFilter)

    @property
    def frames(self) -> int:
        """Number of frames of the current shot so far, repeats not counted."""
        return len(self._thumbnails)

    def add(self, frame: StreamFrame) -> None:
        """Take the next frame of the shot."""
        for kept in self._repeats.add(frame):
            self._open_window.append(kept)
            # kept for every frame, because a long fade is visible only with the frames between windows
            self._thumbnails.append(fade_thumbnail(kept.thumbnail))
            if len(self._open_window) == self.window_frames:
                self._close_window()

    def finish(self, shot: int) -> tuple[Window, ...]:
        """End the shot and return its windows; the next frame begins the shot with the number `shot`."""
        rest = len(self._open_window)
        if rest and (not self._kept or rest >= max(self.least_frames, self.window_frames // 2)):
            self._close_window()
        windows = tuple(replace(window, fading=self._fading(window)) for window in self._kept[: self.most])
        self.shot = shot
        self._open_window, self._window_number, self._stride = [], 0, 1
        self._kept, self._thumbnails, self._repeats = [], [], RepeatFilter()
        return windows

    def _fading(self, window: Window) -> tuple[bool, ...]:
        """Which frames of a window are part of a fade, judged with the frames of the shot before and after it."""
        before, stop = max(0, window.place - LONGEST_SPAN), window.place + len(window.frames)
        fading = fading_frames(self._thumbnails[before : stop + LONGEST_SPAN])
        return tuple(fading[window.place - before : stop - before].tolist())

    def _close_window(self) -> None:
        """Keep the open window if its turn has come, and begin the next."""
        if self._window_number % self._stride == 0:
            place = self._window_number * self.window_frames
            self._kept.append(Window(self.shot, place, tuple(self._open_window)))
            if len(self._kept) > self.most:
                # these are the multiples of the doubled stride: the same windows as if it had been used from the start
                self._kept = self._kept[::2]
                self._stride *= 2
        self._open_window = []
        self._window_number += 1
