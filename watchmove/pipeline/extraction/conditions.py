"""Conditions of a shot's frames that would disturb segmentation: they are detected, named and, if possible, corrected.

borders       black bars at the sides of the frame are cut off, and the mask is empty there
overlay       text or a logo that stays in place while the scene moves is removed from the mask
flicker       brightness that jumps from frame to frame is equalized
duplicates    frames that repeat the frame before are removed, because they would halve the motion
fade          the frame is part of a fade or a dissolve, where change is not motion: it is rejected unless its
              mask is trusted (`video/fades.py`)
parallax      near objects pass in front of far ones, so that one model of camera motion does not fit (`shot.py`)
interlaced    the frame held two fields, of which the decoder has taken one (`video/fields.py`)
hdr           the frame had high dynamic range, which has been converted (`video/tone_mapping.py`)
damaged       the frame was decoded from damaged data: it is rejected (`video/damage.py`)

The thresholds here are set by hand and not tuned finely; what each was checked on is said where it was.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from watchmove.pipeline.arrays import FloatArray, Image
from watchmove.pipeline.video.repeats import block_means, is_same

CONDITIONS = ("borders", "overlay", "flicker", "duplicates", "fade", "parallax", "interlaced", "hdr", "damaged")

_BLACK_LEVEL = 20
"""Brightest level of a black bar, of 255: black is 16 in video of limited range, and compression adds noise."""

_BAR_PERCENTILE = 98
"""Percentile of a row or column that must be dark in a bar, so that a few bright pixels do not hide it."""

_LEAST_BAR_SHARE = 0.02
"""Least width of a bar, as a share of the frame's side; narrower bars are kept as part of the image."""

_LEAST_ACTIVE_SHARE = 0.4
"""Least share of the frame inside the bars; with less the frame is taken to be dark rather than letterboxed."""

_FLICKER_SHARE = 0.03
"""Median jump in brightness, relative to the frames before and after, from which a window flickers."""

_LEAST_FLICKER_FRAMES = 5
"""Fewest frames whose median jump is meaningful."""

_STILL_LEVELS = 4.0
"""Largest standard deviation over time of an overlay's edges, in levels of 255.

With 6.0, 2 of the 30 DAVIS-2016 training sequences, cut to 16 frames, seemed to have an overlay; with 4.0 almost none.
"""

_MOVING_LEVELS = 20.0
"""Least median standard deviation over time of all pixels, in levels of 255: below it the whole scene may be still."""

_EDGE_LEVELS = 60.0
"""Least Sobel gradient of the edges of text and logos, in levels of 255."""

_OVERLAY_FRAMES = 12
"""Frames, spread over the shot, on which bars and overlays are detected. A bound on time; half as many must exist."""

_LEAST_OVERLAY_SHARE = 0.0005
"""Least share of the frame in still edges; fewer are noise."""

_LARGEST_OVERLAY_SHARE = 0.2
"""Largest share of the frame in an overlay; more is taken for a part of the scene that is still."""

_LETTER_GAP = np.ones((7, 7), np.uint8)
"""Gaps up to this size, between the edges of letters, are filled."""

_OVERLAY_MARGIN = np.ones((5, 5), np.uint8)
"""An overlay is enlarged by this, because compression blurs its outline."""


@dataclass(frozen=True)
class PreparedWindow:
    """A window that is ready for segmentation.

    images: its frames, (H, W, 3) uint8 RGB, without borders, flicker and repeated frames; sources: for each frame of
    the original window, the index in `images` of the frame that represents it; conditions: names from CONDITIONS, in
    their order, that hold for the whole window.
    """

    images: tuple[Image, ...]
    sources: tuple[int, ...]
    conditions: tuple[str, ...]


@dataclass(frozen=True)
class PreparedShot:
    """The prepared windows of a shot.

    rows, columns: the part of the frame inside black borders; overlay: bool (H, W), pixels of the full frame that are
    covered by an overlay, None where there is none.
    """

    windows: tuple[PreparedWindow, ...]
    rows: slice
    columns: slice
    overlay: NDArray[np.bool_] | None

    def in_full_frame(self, soft_mask: FloatArray, height: int, width: int) -> FloatArray:
        """A soft mask (h, w) of the part inside the borders as one of the full frame, (height, width) float32.

        It is zero in borders and under an overlay.
        """
        full = np.zeros((height, width), np.float32)
        full[self.rows, self.columns] = soft_mask
        if self.overlay is not None:
            full[self.overlay] = 0
        return full


def prepare_shot(windows: Sequence[Sequence[Image]]) -> PreparedShot:
    """Detect and correct the conditions of a shot, given the frames of its windows: (H, W, 3) uint8 RGB of one size."""
    greys = [[np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8) for image in images] for images in windows]
    # bars and overlays are the same in all windows, and are detected on frames of all of them
    spread = _spread([grey for window in greys for grey in window])
    rows, columns = active_area(spread)
    overlay = static_overlay(spread)
    height, width = spread[0].shape
    shared = {
        "borders": rows != slice(0, height) or columns != slice(0, width),
        "overlay": overlay is not None,
    }
    prepared = []
    for images, window in zip(windows, greys, strict=True):
        inside = [image[rows, columns] for image in images]
        prepared.append(_prepare_window(inside, [block_means(grey[rows, columns]) for grey in window], shared))
    return PreparedShot(tuple(prepared), rows, columns, overlay)


def _spread(greys: Sequence[Image]) -> NDArray[np.uint8]:
    """At most `_OVERLAY_FRAMES` frames (N, H, W) that are spread evenly over a shot."""
    chosen = np.unique(np.linspace(0, len(greys) - 1, _OVERLAY_FRAMES).round().astype(int))
    return np.stack([greys[index] for index in chosen])


def _prepare_window(images: Sequence[Image], blocks: Sequence[FloatArray], shared: dict[str, bool]) -> PreparedWindow:
    """Prepare one window: `images` without borders, `blocks` (h, w) their block means in grey, `shared` what holds for
    all windows of the shot.
    """
    means = np.stack(blocks)
    gains = flicker_gains(means)
    distinct = [0, *(t for t in range(1, len(means)) if not is_same(means[t - 1], means[t]))]
    repeated = 1 < len(distinct) < len(images)  # a scene in which nothing changes is still, not repeated
    used = distinct if repeated else list(range(len(images)))
    found = shared | {"flicker": gains is not None, "duplicates": repeated}
    equalized = images if gains is None else [_scaled(image, gain) for image, gain in zip(images, gains, strict=True)]
    # a repeated frame is represented by the last used frame before it
    sources = np.searchsorted(used, range(len(images)), side="right") - 1
    names = tuple(name for name in CONDITIONS if found.get(name))
    return PreparedWindow(
        tuple(np.ascontiguousarray(equalized[t]) for t in used),
        tuple(int(source) for source in sources),
        names,
    )


def _scaled(image: Image, gain: float) -> Image:
    """An image times a factor, rounded and clipped to 0..255."""
    return np.asarray(cv2.convertScaleAbs(image, alpha=gain), np.uint8)


def active_area(greys: NDArray[np.uint8]) -> tuple[slice, slice]:
    """Rows and columns inside the bars that are black in all of the grey frames (N, H, W).

    The whole frame is returned where the bars would leave too little of it.
    """
    brightest = greys.max(axis=0)
    rows = _lit(np.percentile(brightest, _BAR_PERCENTILE, axis=1))
    columns = _lit(np.percentile(brightest, _BAR_PERCENTILE, axis=0))
    height, width = brightest.shape
    if (rows.stop - rows.start) * (columns.stop - columns.start) < _LEAST_ACTIVE_SHARE * height * width:
        return slice(0, height), slice(0, width)
    return rows, columns


def _lit(levels: NDArray[np.floating]) -> slice:
    """From the first to the last row (or column) that is not black, given their levels; narrow bars count as lit."""
    bright = np.flatnonzero(levels > _BLACK_LEVEL)
    # a frame that is dark everywhere has no bars
    if not len(bright):
        return slice(0, len(levels))
    least = _LEAST_BAR_SHARE * len(levels)
    start, stop = int(bright[0]), int(bright[-1]) + 1
    return slice(start if start >= least else 0, stop if len(levels) - stop >= least else len(levels))


def static_overlay(greys: NDArray[np.uint8]) -> NDArray[np.bool_] | None:
    """Pixels, bool (H, W), of text or a logo in grey frames (N, H, W) of a shot: sharp edges that never change.

    None where there is none, where there are too few frames, or where the scene itself is still, in which case an
    overlay cannot be distinguished from it.
    """
    if len(greys) < _OVERLAY_FRAMES // 2:
        return None
    deviation = greys.std(axis=0)
    mean = greys.mean(axis=0, dtype=np.float32)
    # edges of the mean over time: those of moving objects are blurred, those of an overlay stay sharp
    edges = np.hypot(cv2.Sobel(mean, cv2.CV_32F, 1, 0), cv2.Sobel(mean, cv2.CV_32F, 0, 1)) > _EDGE_LEVELS
    scene_moves = np.median(deviation) > _MOVING_LEVELS
    still = edges & (deviation < _STILL_LEVELS)
    if not scene_moves or still.sum() < _LEAST_OVERLAY_SHARE * still.size:
        return None
    joined = cv2.morphologyEx(still.astype(np.uint8), cv2.MORPH_CLOSE, _LETTER_GAP)
    overlay = cv2.dilate(joined, _OVERLAY_MARGIN) > 0
    return overlay if overlay.mean() < _LARGEST_OVERLAY_SHARE else None


def flicker_gains(means: FloatArray) -> NDArray[np.float32] | None:
    """Factors (T,) that equalize the brightness of frames with block means (T, h, w); None where it does not flicker.

    A window flickers where the median difference of a frame's brightness from the mean of its two neighbours is at
    least three percent. A steady change of light is not flicker.
    """
    if len(means) < _LEAST_FLICKER_FRAMES:
        return None
    brightness = np.maximum(means.mean(axis=(1, 2)), 1)  # at least one level, as black frames would divide by zero
    # where light changes linearly a frame equals the mean of its neighbours, so that only jumps remain
    around = np.convolve(brightness, np.array([0.5, 0, 0.5]), mode="valid")
    jumps = np.abs(brightness[1:-1] - around) / around
    if float(np.median(jumps)) < _FLICKER_SHARE:
        return None
    gains: NDArray[np.float32] = (np.median(brightness) / brightness).astype(np.float32)
    return gains
