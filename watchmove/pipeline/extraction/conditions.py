"""What is wrong with the frames of a shot before anything moves in them, found, named and where possible put right.

borders       black bars at the picture's sides are cut off, and the mask is empty there
overlay       text or a logo that stays put while all else moves is left out of the mask
flicker       brightness that jumps from frame to frame is evened out
duplicates    frames that repeat the one before are left out, so that they do not halve the motion
fade          the frame is part of a fade or a dissolve, where change is not motion: it is dropped (see fades.py)
parallax      near things pass before far ones, so that one model of the camera's motion does not fit
interlaced    the decoder put two fields into one frame; it has been told to separate them (see video.py)
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from watchmove.pipeline.arrays import FloatArray, Image
from watchmove.pipeline.masks.chain import shrink

CONDITIONS = ("borders", "overlay", "flicker", "duplicates", "fade", "parallax", "interlaced")

_BLOCK = 8
_BLACK_LEVEL = 20
_LEAST_BAR_SHARE = 0.02
_LEAST_PICTURE_SHARE = 0.4
_SAME_LEVELS = 1.0
_FLICKER_SHARE = 0.03
_STILL_LEVELS = 4.0
_MOVING_LEVELS = 20.0
_EDGE_LEVELS = 60.0
_OVERLAY_FRAMES = 12
_LARGEST_OVERLAY_SHARE = 0.2


@dataclass(frozen=True)
class PreparedWindow:
    """A window as the chain may see it.

    images: what is left of it, cropped and evened out; sources: of each frame of the window, the position in `images`
    that stands for it; conditions: names from CONDITIONS, in their order, that hold for all of it.
    """

    images: tuple[Image, ...]
    sources: tuple[int, ...]
    conditions: tuple[str, ...]


@dataclass(frozen=True)
class PreparedShot:
    """A shot's windows, the place (rows, columns) of the picture inside the frame, and pixels (H, W) that carry an
    overlay, None where there is none.
    """

    windows: tuple[PreparedWindow, ...]
    rows: slice
    columns: slice
    overlay: NDArray[np.bool_] | None

    def in_full_frame(self, soft_mask: FloatArray, height: int, width: int) -> FloatArray:
        """A soft mask of the picture as one of the whole frame (H, W): nothing in bars, nothing under an overlay."""
        full = np.zeros((height, width), np.float32)
        full[self.rows, self.columns] = soft_mask
        if self.overlay is not None:
            full[self.overlay] = 0
        return full


def prepare_shot(windows: Sequence[Sequence[Image]]) -> PreparedShot:
    """Find and put right what is wrong with the windows of a shot: (H, W, 3) uint8 RGB images of one size."""
    greys = [[np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8) for image in images] for images in windows]
    spread = _spread([grey for window in greys for grey in window])
    rows, columns = picture_place(spread)
    overlay = static_overlay(spread)
    height, width = spread[0].shape
    shared = {
        "borders": rows != slice(0, height) or columns != slice(0, width),
        "overlay": overlay is not None,
    }
    prepared = []
    for images, window in zip(windows, greys, strict=True):
        inside = [image[rows, columns] for image in images]
        prepared.append(_prepare_window(inside, [shrink(grey[rows, columns], _BLOCK) for grey in window], shared))
    return PreparedShot(tuple(prepared), rows, columns, overlay)


def _spread(greys: Sequence[Image]) -> NDArray[np.uint8]:
    """Some frames (N, H, W) from all over a shot."""
    chosen = np.unique(np.linspace(0, len(greys) - 1, _OVERLAY_FRAMES).round().astype(int))
    return np.stack([greys[index] for index in chosen])


def _prepare_window(images: Sequence[Image], blocks: Sequence[Image], shared: dict[str, bool]) -> PreparedWindow:
    """`blocks` (h, w) are the frames' grey means over small blocks."""
    means = np.stack(blocks).astype(np.float32)
    gains = flicker_gains(means)
    fresh = [0, *(t for t in range(1, len(means)) if not is_same(means[t - 1], means[t]))]
    repeated = 1 < len(fresh) < len(images)  # a scene in which nothing at all changes is still, not repeated
    used = fresh if repeated else list(range(len(images)))
    found = shared | {"flicker": gains is not None, "duplicates": repeated}
    even = images if gains is None else [_scaled(image, gain) for image, gain in zip(images, gains, strict=True)]
    sources = np.searchsorted(used, range(len(images)), side="right") - 1
    names = tuple(name for name in CONDITIONS if found.get(name))
    return PreparedWindow(
        tuple(np.ascontiguousarray(even[t]) for t in used),
        tuple(int(source) for source in sources),
        names,
    )


def _scaled(image: Image, gain: float) -> Image:
    return np.asarray(cv2.convertScaleAbs(image, alpha=gain), np.uint8)


def picture_place(greys: NDArray[np.uint8]) -> tuple[slice, slice]:
    """Rows and columns of the picture inside frames (N, H, W) whose sides may be black in all of them.

    Bars narrower than a fiftieth of the side are taken for picture; so is everything where little else is left.
    """
    brightest = greys.max(axis=0)
    rows = _lit(np.percentile(brightest, 98, axis=1))
    columns = _lit(np.percentile(brightest, 98, axis=0))
    height, width = brightest.shape
    if (rows.stop - rows.start) * (columns.stop - columns.start) < _LEAST_PICTURE_SHARE * height * width:
        return slice(0, height), slice(0, width)
    return rows, columns


def _lit(levels: NDArray[np.floating]) -> slice:
    bright = np.flatnonzero(levels > _BLACK_LEVEL)
    if not len(bright):
        return slice(0, len(levels))
    least = _LEAST_BAR_SHARE * len(levels)
    start, stop = int(bright[0]), int(bright[-1]) + 1
    return slice(start if start >= least else 0, stop if len(levels) - stop >= least else len(levels))


def static_overlay(greys: NDArray[np.uint8]) -> NDArray[np.bool_] | None:
    """Pixels (H, W) of text or a logo in frames (N, H, W) of a shot: sharp edges that stay put while others move.

    None where there is none, or where the picture as a whole stays put, so that nothing can be told.
    """
    if len(greys) < _OVERLAY_FRAMES // 2:
        return None
    spread = greys.std(axis=0)
    mean = greys.mean(axis=0, dtype=np.float32)
    edges = np.hypot(cv2.Sobel(mean, cv2.CV_32F, 1, 0), cv2.Sobel(mean, cv2.CV_32F, 0, 1)) > _EDGE_LEVELS
    kept_moving = np.median(spread) > _MOVING_LEVELS
    still = edges & (spread < _STILL_LEVELS)
    if not kept_moving or still.sum() < 0.0005 * still.size:
        return None
    joined = cv2.morphologyEx(still.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((7, 7), np.uint8))
    overlay = cv2.dilate(joined, np.ones((5, 5), np.uint8)) > 0
    return overlay if overlay.mean() < _LARGEST_OVERLAY_SHARE else None


def is_same(first: FloatArray, second: FloatArray) -> bool:
    """Whether block means (h, w) of two frames differ nowhere by more than coding noise."""
    return float(np.abs(first - second).max()) <= _SAME_LEVELS


def flicker_gains(means: FloatArray) -> NDArray[np.float32] | None:
    """Factors (T,) that even out the brightness of frames with block means (T, h, w); None where it does not flicker.

    Flicker is brightness that jumps up and down by three percent or more, as a median over the window.
    """
    if len(means) < 5:
        return None
    brightness = np.maximum(means.mean(axis=(1, 2)), 1)
    around = np.convolve(brightness, np.array([0.5, 0, 0.5]), mode="valid")
    jumps = np.abs(brightness[1:-1] - around) / around
    if float(np.median(jumps)) < _FLICKER_SHARE:
        return None
    gains: NDArray[np.float32] = (np.median(brightness) / brightness).astype(np.float32)
    return gains
