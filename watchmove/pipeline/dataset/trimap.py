"""Trimaps: what training makes of a soft mask. The module loads neither torch nor OpenCV, so that pages can use it."""

import numpy as np
from numpy.typing import NDArray

FOREGROUND, BACKGROUND, IGNORED = 1, 0, -1
"""Values of a trimap. Targets of every objective mark with IGNORED what does not count in the loss."""
FOREGROUND_LEVEL, BACKGROUND_LEVEL, IGNORED_LEVEL = 255, 0, 128
"""Levels of grey by which a picture shows these values."""


def trimap_of(soft_mask: NDArray[np.float32], foreground: float, background: float) -> NDArray[np.int8]:
    """Convert `soft_mask` (H, W) in [0, 1]: 1 at or above `foreground`, 0 at or below `background`, else -1."""
    trimap = np.full(soft_mask.shape, IGNORED, np.int8)
    trimap[soft_mask >= foreground] = FOREGROUND
    trimap[soft_mask <= background] = BACKGROUND
    return trimap


def trimap_levels(trimap: NDArray[np.int8]) -> NDArray[np.uint8]:
    """The picture of a trimap (H, W): uint8, white for the object, black for the background, grey where ignored."""
    levels = np.full(trimap.shape, BACKGROUND_LEVEL, np.uint8)
    levels[trimap == FOREGROUND] = FOREGROUND_LEVEL
    levels[trimap == IGNORED] = IGNORED_LEVEL
    return levels
