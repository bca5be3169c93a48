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


def trimap(soft_mask: NDArray[np.float32], foreground: float, background: float) -> NDArray[np.uint8]:
    """Return what training makes of a soft mask (H, W) in [0, 1], as uint8 (H, W).

    Pixels of the object are FOREGROUND_LEVEL, those that training ignores IGNORED_LEVEL, and the background is 0.
    """
    # not at the top: it loads torch, which the command's help and its errors need not wait for
    from watchmove.pipeline.pretraining.examples import FOREGROUND, IGNORED, trimap_of

    values = trimap_of(soft_mask, foreground, background)
    levels = np.zeros(soft_mask.shape, np.uint8)
    levels[values == FOREGROUND] = FOREGROUND_LEVEL
    levels[values == IGNORED] = IGNORED_LEVEL
    return levels
