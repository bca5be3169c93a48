"""Gradual transitions: frames inside a fade or a dissolve, where change is not motion.

In both, the frames between two ends are mixtures of the ends with a share that grows. Between the ends of every span of
some lengths, each frame's share is found by least squares, and the mixture has to leave little over: what moves leaves
much.
"""

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]

_SPANS = (6, 8, 11, 16, 24, 36, 48)
_LEAST_CHANGE_LEVELS = 12.0
_LARGEST_LIKENESS = 0.5
_FLAT_SHARE = 0.25
_LEAST_CONTRAST_LEVELS = 8.0
_BACKWARD_SHARE = 0.05
_LARGEST_STEP_SHARE = 0.34
_LARGEST_RESIDUE_SHARE = 0.2
_MIXED = (0.1, 0.9)


def fading_frames(means: FloatArray) -> NDArray[np.bool_]:
    """Which of consecutive frames with block means (T, h, w), in levels of 0..255, a fade or dissolve mixes: (T,)."""
    flat = means.reshape(len(means), -1)
    fading = np.zeros(len(means), np.bool_)
    for span in _SPANS:
        for first in range(len(means) - span):
            share = _shares_of_a_mixture(flat[first : first + span + 1])
            if share is not None:
                fading[first : first + span + 1] |= (share > _MIXED[0]) & (share < _MIXED[1])
    return fading


def _shares_of_a_mixture(frames: FloatArray) -> FloatArray | None:
    """Share (T,) of the last of `frames` (T, N) in each, from 0 to 1; None where they are no gradual mixture."""
    first, last = frames[0], frames[-1]
    change = last - first
    size = float(np.abs(change).mean())
    if size < _LEAST_CHANGE_LEVELS or not _can_be_ends(first, last):
        return None
    share: FloatArray = ((frames - first) @ change / (change @ change)).astype(np.float32)
    steps = np.diff(share)
    if steps.min() < -_BACKWARD_SHARE or steps.max() > _LARGEST_STEP_SHARE:
        return None
    middle = (share > 0.2) & (share < 0.8)
    if middle.sum() < 2:
        return None
    residue = np.abs(frames[middle] - first - share[middle, None] * change).mean()
    return share if residue <= _LARGEST_RESIDUE_SHARE * size else None


def _can_be_ends(first: FloatArray, last: FloatArray) -> bool:
    """Whether two frames are a picture and next to none, or two that are not alike."""
    parts = [frame - frame.mean() for frame in (first, last)]
    low, high = sorted(float(np.sqrt(np.square(part).mean())) for part in parts)
    if low < _FLAT_SHARE * high:
        return high >= _LEAST_CONTRAST_LEVELS
    return float(parts[0] @ parts[1]) <= _LARGEST_LIKENESS * low * high * first.size
