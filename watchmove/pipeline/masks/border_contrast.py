"""Contrast to the border: which colours of a shot are found inside its frames, and seldom along their border.

The filmed object seldom reaches the border, and most of the background does (Wei et al., "Geodesic Saliency Using
Background Priors", ECCV 2012). So colours that a shot has only inside its frames are evidence of an object, also where
its motion cannot be told from that of water or of near ground. They are also those of still things, so masks that were
found with this evidence are used only if they are more confident than those without it, and more moves inside of them
than outside.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from watchmove.pipeline.arrays import FloatArray
from watchmove.pipeline.masks.chain import PEAK_QUANTILE, border_band

CONTRAST_SHARE = np.float32(0.4)
"""Weight of the contrast in the evidence, motion having the rest. Chosen on the 30 DAVIS-2016 training sequences."""

_LEVELS = (16, 8, 8)
"""Levels of the 8-bit L*, a* and b* that share a bin: 16 bins of lightness, 32 of each of the others. Set by hand."""

_SMOOTHING_BINS = 1.0
"""Standard deviation of the smoothing of the histograms. Set by hand."""

_BLUR_PIXELS = 1.0
"""Standard deviation of the smoothing of the maps, at the working size, against noise of single pixels. Set by hand."""

_LEAST_PEAK = 0.25
"""Least peak of the motion evidence of a shot: with less, nothing moves, and contrast would find what stands still.

Set by hand: still scenes have up to 0.1, the 30 DAVIS-2016 training sequences at least 0.48.
"""

_LEAST_SUPPORT = 1.5
"""Least ratio of the mean motion evidence inside of masks to that outside.

Set by hand: of masks that are right the ratio is 2.1 or more, of a still red chair beside two moving arms 1.2.
"""


def shows_motion(motion_evidence: Sequence[FloatArray]) -> bool:
    """Whether the motion evidence (h, w) in [0, 1] of any frame of a shot is strong enough that something moves."""
    return any(float(np.quantile(evidence, PEAK_QUANTILE)) >= _LEAST_PEAK for evidence in motion_evidence)


def is_supported(soft_masks: Sequence[FloatArray], motion_evidence: Sequence[FloatArray]) -> bool:
    """Whether masks (H, W) in [0, 1] are where something moves, given the motion evidence (h, w) of the same frames.

    That is so if the mean evidence inside of the masks is 1.5 times that outside, over all frames.
    """
    inside, outside = [], []
    for soft_mask, evidence in zip(soft_masks, motion_evidence, strict=True):
        mask = cv2.resize(soft_mask, evidence.shape[::-1], interpolation=cv2.INTER_AREA) >= 0.5
        inside.append(evidence[mask])
        outside.append(evidence[~mask])
    pixels, others = np.concatenate(inside), np.concatenate(outside)
    return bool(len(pixels) and len(others) and pixels.mean() > _LEAST_SUPPORT * others.mean())


def with_contrast(motion_evidence: Sequence[FloatArray], labs: Sequence[NDArray[np.uint8]]) -> list[FloatArray]:
    """The weighted mean of the motion evidence (h, w) in [0, 1] of the frames of a shot and of their contrast.

    labs: (h, w, 3), the frames in OpenCV's 8-bit CIE L*a*b*.
    """
    return [
        (1 - CONTRAST_SHARE) * evidence + CONTRAST_SHARE * contrast
        for evidence, contrast in zip(motion_evidence, border_contrast(labs), strict=True)
    ]


def border_contrast(labs: Sequence[NDArray[np.uint8]]) -> list[FloatArray]:
    """Of each frame (h, w, 3) of a shot, in OpenCV's 8-bit CIE L*a*b*, the contrast to the border, (h, w) in [0, 1].

    With p the share of a pixel's colour in what is inside of all frames, and q that in all their borders, it is
    2 p / (p + q) - 1, or 0 if that is negative: 1 for colours that are never at the border, 0 for those that are as
    frequent there.
    """
    at_border = border_band(*labs[0].shape[:2])
    sizes = [256 // levels for levels in _LEVELS]
    bins = [np.ravel_multi_index(tuple(np.moveaxis(lab // _LEVELS, 2, 0)), sizes) for lab in labs]

    def shares(chosen: NDArray[np.bool_]) -> NDArray[np.float64]:
        counts = sum(np.bincount(of_frame[chosen], minlength=int(np.prod(sizes))) for of_frame in bins)
        smooth = gaussian_filter(np.asarray(counts, np.float64).reshape(sizes), _SMOOTHING_BINS).ravel()
        return np.asarray(smooth / max(smooth.sum(), 1.0), np.float64)

    inside, border = shares(~at_border), shares(at_border)
    both = inside + border
    contrast = np.clip(2 * np.divide(inside, both, out=np.zeros_like(both), where=both > 0) - 1, 0, 1)
    of_colour = contrast.astype(np.float32)
    return [np.asarray(cv2.GaussianBlur(of_colour[of_frame], (0, 0), _BLUR_PIXELS), np.float32) for of_frame in bins]
