"""From evidence at the working size to soft masks at full size with the edges of the image.

The fast global smoother (Min et al., TIP 2014) makes a map flat inside the regions of an image. `level` and `calibrate`
then bring all frames to one scale, so that one threshold suits them all.
"""

import cv2
import numpy as np

from watchmove.pipeline.arrays import FloatArray, Image

SMOOTHING = 20_000.0
"""Weight of smoothness, lambda in the paper; chosen on the DAVIS-2016 training sequences.

The optimum is flat as long as COLOUR_SIGMA falls while it rises. With an early version of the chain, on 15 of the
DAVIS-2016 training sequences, lambda and sigma of (1000, 5), (4000, 5), (10000, 4) gave J of 0.686, 0.694, 0.695;
(4000, 8) and (1000, 3) gave 0.676 and 0.672.
"""

COLOUR_SIGMA = 3.5
"""Difference of neighbouring pixels' colours, of 255, at which their link falls to 1/e; chosen with SMOOTHING."""

SMOOTHING_PASSES = 3
"""Passes along rows and columns: OpenCV's default, the T of section III-C of the paper."""

SMOOTHING_ATTENUATION = 0.25
"""Factor on the smoothing after each pass: OpenCV's default, from section III-C of the paper."""

MIN_PEAK = 0.3
"""Lowest peak that is raised to one: below it a frame shows hardly any motion, so its mask stays weak. Set by hand."""

PEAK_BOX_FRACTION = 0.054
"""Side of the box over which the peak is averaged, relative to the height: 13 of 240 pixels. Set by hand."""

PEAK_POWER = 0.85
"""Part of the peak, as a power, that evidence is divided by: 0 divides by nothing, 1 raises the peak to one.

Chosen on the 30 DAVIS-2016 training sequences: J is 0.724 without levelling, 0.744 with it. The optimum is flat: with
an early version of the chain powers of 0.4, 0.7 and 1 gave 0.691, 0.693 and 0.694 on 15 of them.
"""

BOUNDARY_LEVEL = 0.56
"""Levelled evidence at the boundary of objects. Chosen on the 30 DAVIS-2016 training sequences."""

GAMMA = float(np.log(0.5) / np.log(BOUNDARY_LEVEL))
"""Power that maps BOUNDARY_LEVEL to one half."""


def align_to_edges(evidence: FloatArray, image: Image) -> FloatArray:
    """Enlarge evidence (h, w) to the size of `image` (H, W, 3) uint8 RGB and make it flat inside the image's regions.

    Colours are compared by their distance, so the order of the channels does not matter.
    """
    height, width = image.shape[:2]
    # enlarged before smoothing, so that outlines follow the edges of the full-size image
    enlarged = cv2.resize(evidence, (width, height), interpolation=cv2.INTER_LINEAR)
    smooth = cv2.ximgproc.fastGlobalSmootherFilter(
        image,
        enlarged,
        SMOOTHING,
        COLOUR_SIGMA,
        lambda_attenuation=SMOOTHING_ATTENUATION,
        num_iter=SMOOTHING_PASSES,
    )
    return np.asarray(smooth, np.float32)


def peak_box(height: int) -> int:
    """Side, in pixels, of the box over which the peak of a map of this height is averaged; at least three."""
    return max(3, round(PEAK_BOX_FRACTION * height))


def level(evidence: FloatArray) -> FloatArray:
    """Divide evidence (H, W) by most of its peak, so that frames with weak and with strong motion become comparable.

    levelled = evidence / max(MIN_PEAK, peak)^PEAK_POWER, where the peak is the greatest mean over a small box. Values
    may exceed one.
    """
    box = peak_box(evidence.shape[0])
    # averaged over a box, so that a single outlier does not set the scale of its frame
    peak = float(cv2.blur(evidence, (box, box)).max())
    return evidence / np.float32(max(MIN_PEAK, peak) ** PEAK_POWER)


def calibrate(evidence: FloatArray) -> FloatArray:
    """Turn evidence (H, W) into a soft mask (H, W) float32 in [0, 1] that is 0.5 at the boundary of objects.

    soft mask = clip(levelled, 0, 1)^GAMMA.
    """
    levelled = np.clip(level(evidence), 0, 1)
    soft_mask: FloatArray = np.power(levelled, np.float32(GAMMA))
    return soft_mask
