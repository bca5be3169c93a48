"""Gradual transitions: frames inside a fade or a dissolve, where change is not motion.

In both, the frames between two ends are mixtures of the ends with a share that grows. Between the ends of every span of
some lengths, each frame's share is found by least squares, and the mixture has to leave little over: what moves leaves
much. Pictures are so small that the motion inside two scenes that dissolve leaves little.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from watchmove.pipeline.arrays import FloatArray, Image

_SPANS = (6, 8, 11, 16, 24, 36, 48)
LONGEST_SPAN = _SPANS[-1]
"""So many frames before and after one say whether a transition mixes it."""

_SMALL = (12, 9)
_LEAST_CHANGE_LEVELS = 12.0
_LARGEST_LIKENESS = 0.25
_FLAT_SHARE = 0.25
_LEAST_CONTRAST_LEVELS = 8.0
_BACKWARD_SHARE = 0.05
_LARGEST_STEP_SHARE = 0.34
_LARGEST_RESIDUE_SHARE = 0.35
_MIXED = (0.1, 0.9)


def small_picture(image: Image) -> Image:
    """What `fading_frames` wants of a frame (H, W, 3) or of its thumbnail: (9, 12, 3) uint8."""
    return np.asarray(cv2.resize(image, _SMALL, interpolation=cv2.INTER_AREA), np.uint8)


def fading_frames(pictures: Sequence[Image]) -> NDArray[np.bool_]:
    """Which of consecutive frames of one shot, T small pictures of one size, a fade or dissolve mixes: (T,)."""
    count = len(pictures)
    fading = np.zeros(count, np.bool_)
    if count <= _SPANS[0]:
        return fading
    flat = np.stack(pictures).reshape(count, -1).astype(np.float32)
    for span in (span for span in _SPANS if span < count):
        for first in np.flatnonzero(_can_be_ends(flat[:-span], flat[span:])):
            share = _shares_of_a_mixture(flat[first : first + span + 1])
            if share is not None:
                fading[first : first + span + 1] |= (share > _MIXED[0]) & (share < _MIXED[1])
    return fading


def _can_be_ends(first: FloatArray, last: FloatArray) -> NDArray[np.bool_]:
    """Which of pairs (T, N) of pictures are a picture and next to none, or two that are not alike: (T,)."""
    changed = np.abs(last - first).mean(axis=1) >= _LEAST_CHANGE_LEVELS
    parts = [frames - frames.mean(axis=1, keepdims=True) for frames in (first, last)]
    contrasts = [np.sqrt(np.square(part).mean(axis=1)) for part in parts]
    low, high = np.minimum(*contrasts), np.maximum(*contrasts)
    unlike = (parts[0] * parts[1]).mean(axis=1) <= _LARGEST_LIKENESS * low * high
    one_is_flat = low < _FLAT_SHARE * high
    ends: NDArray[np.bool_] = changed & np.where(one_is_flat, high >= _LEAST_CONTRAST_LEVELS, unlike)
    return ends


def _shares_of_a_mixture(frames: FloatArray) -> FloatArray | None:
    """Share (T,) of the last of `frames` (T, N) in each, from 0 to 1; None where they are no gradual mixture."""
    first, change = frames[0], frames[-1] - frames[0]
    share: FloatArray = ((frames - first) @ change / (change @ change)).astype(np.float32)
    steps = np.diff(share)
    if steps.min() < -_BACKWARD_SHARE or steps.max() > _LARGEST_STEP_SHARE:
        return None
    middle = (share > 0.2) & (share < 0.8)
    if middle.sum() < 2:
        return None
    residue = np.abs(frames[middle] - first - share[middle, None] * change).mean()
    return share if residue <= _LARGEST_RESIDUE_SHARE * np.abs(change).mean() else None
