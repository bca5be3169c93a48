"""From half-size evidence to soft masks at full size whose edges follow the picture's."""

import cv2
import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]

_SMOOTHING = 10_000.0
_COLOUR_SIGMA = 4.0
_LEAST_PEAK = 0.3
_PEAK_BOX_PIXELS = 13
_PEAK_POWER = 0.7
_HALF_LEVEL = 0.45


def align_to_edges(evidence: FloatArray, image: NDArray[np.uint8]) -> FloatArray:
    """Evidence (h, w) at the image's size (H, W), flat inside the image's regions.

    Fast global smoother (Min et al., TIP 2014) guided by the image (H, W, 3) uint8.
    """
    height, width = image.shape[:2]
    enlarged = cv2.resize(evidence, (width, height), interpolation=cv2.INTER_LINEAR)
    smoothed = cv2.ximgproc.fastGlobalSmootherFilter(image, enlarged, _SMOOTHING, _COLOUR_SIGMA)
    return np.asarray(smoothed, np.float32)


def calibrate(evidence: FloatArray) -> FloatArray:
    """Soft mask (H, W) float32 in [0, 1] from evidence (H, W): most of its peak raised to one, the boundary set at 0.5.

    The peak is that of a box mean, with a floor, so that a frame in which nothing stands out stays dark.
    """
    peak = float(cv2.blur(evidence, (_PEAK_BOX_PIXELS, _PEAK_BOX_PIXELS)).max())
    raised = np.clip(evidence / np.float32(max(_LEAST_PEAK, peak) ** _PEAK_POWER), 0, 1)
    soft_mask: FloatArray = np.power(raised, np.float32(np.log(0.5) / np.log(_HALF_LEVEL)))
    return soft_mask
