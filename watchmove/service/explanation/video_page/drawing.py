"""Drawing of masks on frames, so that they are seen on objects of any colour."""

import cv2
import numpy as np
from numpy.typing import NDArray

from watchmove.pipeline.arrays import FloatArray, Image

_BLACK, _YELLOW = (0, 0, 0), (255, 255, 0)

FOREGROUND_LEVEL, IGNORED_LEVEL = 255, 128
"""Levels of a trimap: pixels of the object, and those that training ignores; the background is 0."""


def outlined(image: Image, soft_mask: FloatArray, threshold: float, line_pixels: int = 1) -> Image:
    """Return `image` (H, W, 3) uint8 RGB with the outline of `soft_mask` (H, W) in [0, 1] at a threshold.

    A yellow line has black ones at its sides, so that it is seen on bright and on dark objects.
    """
    certain = (soft_mask >= threshold).astype(np.uint8)
    # holes have an outline too
    outlines, _ = cv2.findContours(certain, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    drawn = np.ascontiguousarray(image).copy()
    cv2.drawContours(drawn, outlines, -1, _BLACK, 3 * line_pixels)
    cv2.drawContours(drawn, outlines, -1, _YELLOW, line_pixels)
    return drawn


def trimap(soft_mask: FloatArray, foreground: float, background: float) -> NDArray[np.uint8]:
    """Return what training makes of a soft mask (H, W) in [0, 1], as uint8 (H, W).

    From `foreground` on a pixel is of the object (FOREGROUND_LEVEL), up to `background` it is not (0), and between
    these it is ignored (IGNORED_LEVEL).
    """
    levels = np.full(soft_mask.shape, IGNORED_LEVEL, np.uint8)
    levels[soft_mask <= background] = 0
    levels[soft_mask >= foreground] = FOREGROUND_LEVEL
    return levels
