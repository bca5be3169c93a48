"""What is known of a frame's motion before appearance is fitted: four maps, and the PNG that keeps them in a shard."""

import cv2
import numpy as np
from numpy.typing import NDArray

from watchmove.pipeline.arrays import FloatArray

CUES = ("above-noise", "saliency", "agreement", "smoothed")
"""The maps, each in [0, 1]: how far the motion relative to the camera exceeds its noise; the mean of that and of its
strength relative to the frame's peak; agreement of forward and backward flow; saliency smoothed along the flow."""

_LEVELS = 15
"""Steps between 0 and 1 that the PNG keeps. With 255 it is twice as large, and training adds noise of half a step."""


def cues_png(cues: FloatArray, size: tuple[int, int], rows: slice, columns: slice) -> bytes:
    """The maps of a frame as a grey PNG of one map below the other, each (h, w) with steps of 1/15.

    cues: (h', w', 4) in [0, 1], maps of the part of the frame in these rows and columns; size: the (h, w) of a map of
    the whole frame. Outside of the part the maps are 0.
    """
    whole = np.zeros((*size, len(CUES)), np.float32)
    inside = whole[rows, columns]
    if inside.size:
        # with the size unchanged, this copies
        inside[:] = cv2.resize(np.asarray(cues, np.float32), inside.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    levels = np.rint(np.clip(whole, 0, 1) * _LEVELS).astype(np.uint8) * np.uint8(255 // _LEVELS)
    # axes: (row, column, map) -> (map, row, column)
    _, png = cv2.imencode(".png", np.vstack(list(levels.transpose(2, 0, 1))))
    return png.tobytes()


def cues_in(png: bytes) -> NDArray[np.uint8] | None:
    """The maps (4, h, w) of a PNG of `cues_png`, 255 for 1; None where it is no such PNG."""
    try:
        image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_GRAYSCALE)
    except cv2.error:  # no bytes, or more pixels than OpenCV allows
        return None
    if image is None or len(image) % len(CUES):
        return None
    return np.asarray(image, np.uint8).reshape(len(CUES), -1, image.shape[1])
