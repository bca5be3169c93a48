"""What the CPU chain and the device chain of motion segmentation share: constants, the working size, and the result."""

from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from watchmove.pipeline.arrays import FloatArray, Image

DISAGREEMENT_PENALTY = 0.3
"""Part of its motion evidence that a pixel loses where forward and backward flow disagree completely.

Smoke and spray have no motion that flow could follow. Chosen on the 30 DAVIS-2016 training sequences: J is 0.735
without the penalty, 0.744 with it, and 0.02 lower if all evidence is lost.
"""

CONSENSUS_ROUNDS = 3
"""How often appearance and the object's motion are fitted again to what both have found so far.

Chosen on the 30 DAVIS-2016 training sequences: J is 0.720 without any round, 0.736 after one, 0.744 after three.
"""

REFIT_FRAME_STEP = 2
"""In those rounds evidence is updated in every second frame only, which nearly halves their time.

On the first 24 frames of the 30 DAVIS-2016 training sequences J is 0.733 whether evidence is updated in every frame
or in every second one, with appearance fitted to every second frame in both cases.
"""

OUTLINE_SCALE = 2
"""For that fit evidence is aligned to the edges of the image at half its size, which takes a quarter of the time."""

WORKING_SCALE = 4
"""Pixels of the frame, along each axis, per pixel of the working size, at which motion and appearance are computed.

Chosen on the 30 DAVIS-2016 training sequences: half of the frame's size gives 0.001 more J in four times the time.
"""

PEAK_QUANTILE = 0.98
"""Quantile of the remaining motion that passes for its peak; the highest values are outliers of flow."""

_BAND_FRACTION = 0.10
"""Width of the band along the border, relative to the height: near ground is looked for in it, and its colours are
those of the border. A first guess, kept."""

Number = TypeVar("Number", np.uint8, np.float32)


@lru_cache(maxsize=4)
def border_band(height: int, width: int) -> NDArray[np.bool_]:
    """Which pixels (h, w) belong to the band along the border."""
    depth = max(2, round(_BAND_FRACTION * height))
    band = np.ones((height, width), bool)
    band[depth:-depth, depth:-depth] = False
    return band


def shrink(array: NDArray[Number], scale: int = WORKING_SCALE) -> NDArray[Number]:
    """Shrink (H, W) or (H, W, C), uint8 or float32, by area averaging to 1/`scale` of its size, rounded up."""
    height, width = array.shape[:2]
    # area averaging, because at this factor linear interpolation would skip pixels and alias
    smaller = cv2.resize(array, (-(-width // scale), -(-height // scale)), interpolation=cv2.INTER_AREA)
    return np.asarray(smaller, array.dtype)


def small_lab(image: Image) -> NDArray[np.uint8]:
    """A frame (H, W, 3) uint8 RGB at the working size, (h, w, 3), in OpenCV's 8-bit CIE L*a*b*."""
    # shrunk before the conversion, which then has a sixteenth of the pixels
    return np.asarray(cv2.cvtColor(shrink(image), cv2.COLOR_RGB2LAB), np.uint8)


@dataclass(frozen=True)
class StageMaps:
    """What the stages of the chain have found in one frame, at the working size, to be looked at.

    In half precision, because they are kept for many frames. flow: (h, w, 2), pixels per frame; motion: (h, w) in
    [0, 1], evidence of motion relative to the camera; appearance: (h, w) in [0, 1], similarity to what moves; votes:
    (h, w) in [0, 1], where motion, appearance and common fate agree; cues: (h, w, 4) in [0, 1], the maps of
    `motion_cues.CUES`, which are the same with and without a motion network.
    """

    flow: NDArray[np.float16]
    motion: NDArray[np.float16]
    appearance: NDArray[np.float16]
    votes: NDArray[np.float16]
    cues: NDArray[np.float16]


@dataclass(frozen=True)
class SegmentedFrame:
    """The result of segmentation for one frame.

    soft_mask: (H, W) float32 in [0, 1], 0.5 at the object's boundary.
    independent_motion: (h, w) float32 at the working size, the length of the motion relative to the camera, in
        full-size pixels per frame.
    flow_consistency: in [0, 1], the mean agreement of forward and backward flow.
    stages: what led to the mask.
    """

    soft_mask: FloatArray
    independent_motion: FloatArray
    flow_consistency: float
    stages: StageMaps | None = None
