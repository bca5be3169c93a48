"""Drawing of masks on frames, so that they are seen on objects of any colour."""

import cv2
import numpy as np

from watchmove.pipeline.arrays import FloatArray, Image

_BLACK, _YELLOW = (0, 0, 0), (255, 255, 0)


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
