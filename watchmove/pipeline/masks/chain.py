"""What the CPU chain and the device chain of motion segmentation share."""

from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from watchmove.pipeline.arrays import FloatArray

DISAGREEMENT_COSTS = 0.3
"""What evidence of motion loses where the flow there and back disagree: smoke and spray have no motion to follow."""

ROUNDS = 3
"""How often outlines teach looks, and looks say which motion is the object's."""

TAUGHT_STEP = 2
"""Every so many frames are outlined to teach looks."""


Number = TypeVar("Number", np.uint8, np.float32)

WORKING_SCALE = 4
"""Pixels of the frame, along each side, in one pixel of the working size."""


def shrink(array: NDArray[Number], scale: int = WORKING_SCALE) -> NDArray[Number]:
    """(H, W) or (H, W, C), uint8 or float32, by area averaging at 1/`scale` of its size, rounded up, same dtype."""
    height, width = array.shape[:2]
    smaller = cv2.resize(array, (-(-width // scale), -(-height // scale)), interpolation=cv2.INTER_AREA)
    return np.asarray(smaller, array.dtype)


@dataclass(frozen=True)
class MovingFrame:
    """One segmented frame.

    soft_mask: (H, W) in [0, 1]; own_motion: (h, w), a quarter of the size, in full-size pixels per frame, without the
    camera's part; flow_trust: in [0, 1], how well the flow there and back agreed.
    """

    soft_mask: FloatArray
    own_motion: FloatArray
    flow_trust: float
