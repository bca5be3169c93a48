"""From evidence at the working size to soft masks at full size whose edges follow the picture's.

The fast global smoother (Min et al., TIP 2014) makes a map flat inside the picture's regions.
"""

import cv2
import numpy as np

from watchmove.pipeline.arrays import FloatArray, Image

SMOOTHING = 20_000.0
COLOUR_SIGMA = 3.5
LEAST_PEAK = 0.3
PEAK_BOX_SHARE = 0.054
PEAK_POWER = 0.85
HALF_LEVEL = 0.56
GAMMA = float(np.log(0.5) / np.log(HALF_LEVEL))
"""What raises the level of the boundary to one half."""


def align_to_edges(evidence: FloatArray, image: Image) -> FloatArray:
    """Evidence (h, w) at the size of `image` (H, W, 3) uint8, flat inside the image's regions."""
    height, width = image.shape[:2]
    enlarged = cv2.resize(evidence, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(cv2.ximgproc.fastGlobalSmootherFilter(image, enlarged, SMOOTHING, COLOUR_SIGMA), np.float32)


def peak_box(height: int) -> int:
    """Side, in pixels, of the box whose mean is a map's peak."""
    return max(3, round(PEAK_BOX_SHARE * height))


def level(evidence: FloatArray) -> FloatArray:
    """Evidence (H, W) with most of its peak raised to one.

    The peak is that of a box mean, a twentieth of the height wide, with a floor, so that a frame in which nothing
    stands out stays dark.
    """
    box = peak_box(evidence.shape[0])
    peak = float(cv2.blur(evidence, (box, box)).max())
    return evidence / np.float32(max(LEAST_PEAK, peak) ** PEAK_POWER)


def calibrate(evidence: FloatArray) -> FloatArray:
    """Soft mask (H, W) float32 in [0, 1] from evidence (H, W): levelled, and the boundary set at 0.5."""
    raised = np.clip(level(evidence), 0, 1)
    soft_mask: FloatArray = np.power(raised, np.float32(GAMMA))
    return soft_mask
