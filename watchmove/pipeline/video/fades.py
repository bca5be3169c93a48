"""Detection of gradual transitions: frames inside a fade or a dissolve, where change is not motion.

Each frame of a fade or a dissolve is a mixture of the frames at its two ends, and the share of the later end grows.
For spans of several lengths, the share is estimated in every frame by least squares. The span is a transition if the
share grows steadily and the mixture leaves a small residue; motion leaves a large one. Thumbnails are so small that
the motion within the two scenes of a dissolve leaves little residue.

The thresholds are set by hand and were checked on dissolves between the 30 DAVIS-2016 training sequences. No frame of
the undisturbed sequences is named (`tests/bench/fades.py`). They are not tuned finely.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from watchmove.pipeline.arrays import FloatArray, Image

_SPANS = (6, 8, 11, 16, 24, 36, 48)
"""Lengths of transitions that are tried, in frames, each about 1.4 times the one before. Set by hand."""

LONGEST_SPAN = _SPANS[-1]
"""Number of frames before and after a frame that can decide whether it is part of a transition."""

_THUMBNAIL_SIZE = (12, 9)
"""Width and height of a thumbnail. Set by hand: at this size an object moves by a fraction of a pixel a frame."""

_LEAST_CHANGE_LEVELS = 12.0
"""Least mean difference of the two ends of a transition, in levels of 255."""

_LARGEST_SIMILARITY = 0.25
"""Largest correlation of the two ends of a dissolve: similar ends would be motion within one scene."""

_FLAT_SHARE = 0.25
"""An end with less than this share of the other's contrast counts as a flat colour: the span may be a fade."""

_LEAST_CONTRAST_LEVELS = 8.0
"""Least contrast of the other end of a fade: the standard deviation of its levels, in levels of 255."""

_LARGEST_BACKWARD_STEP = 0.05
"""Largest decrease of the share from one frame to the next; noise makes a growing share go back a little."""

_LARGEST_STEP = 0.34
"""Largest increase of the share from one frame to the next; a larger one is a cut."""

_LARGEST_RESIDUE_SHARE = 0.35
"""Largest mean residue of the mixture, as a share of the mean difference of the two ends."""

_MIDDLE = (0.2, 0.8)
"""Shares between which the residue is measured: near the ends any mixture fits."""

_LEAST_MIDDLE_FRAMES = 2
"""Fewest frames in the middle, without which a span would be a cut with one mixed frame."""

_MIXED = (0.1, 0.9)
"""Shares between which a frame is named as fading; outside them one end prevails and motion can be measured."""


def fade_thumbnail(image: Image) -> Image:
    """The thumbnail, (9, 12, 3) uint8, that `fading_frames` takes, from a frame (H, W, 3) or a larger thumbnail."""
    return np.asarray(cv2.resize(image, _THUMBNAIL_SIZE, interpolation=cv2.INTER_AREA), np.uint8)


def fading_frames(thumbnails: Sequence[Image]) -> NDArray[np.bool_]:
    """Whether each of T consecutive frames of one shot, given as thumbnails, is part of a fade or a dissolve: (T,)."""
    count = len(thumbnails)
    fading = np.zeros(count, np.bool_)
    if count <= _SPANS[0]:
        return fading
    # float32, because differences of uint8 would wrap around
    flat = np.stack(thumbnails).reshape(count, -1).astype(np.float32)
    for span in (span for span in _SPANS if span < count):
        # ends are tested for all places at once, and a mixture is fitted only where they can be those of a fade
        for first in np.flatnonzero(_can_be_ends(flat[:-span], flat[span:])):
            share = _shares_of_a_mixture(flat[first : first + span + 1])
            if share is not None:
                fading[first : first + span + 1] |= (share > _MIXED[0]) & (share < _MIXED[1])
    return fading


def _can_be_ends(first: FloatArray, last: FloatArray) -> NDArray[np.bool_]:
    """Whether pairs of flattened thumbnails (T, N) can be the ends of a fade or of a dissolve: (T,).

    One end of a fade is flat. The two ends of a dissolve both have contrast and are dissimilar.
    """
    changed = np.abs(last - first).mean(axis=1) >= _LEAST_CHANGE_LEVELS
    parts = [frames - frames.mean(axis=1, keepdims=True) for frames in (first, last)]
    contrasts = [np.sqrt(np.square(part).mean(axis=1)) for part in parts]
    low, high = np.minimum(*contrasts), np.maximum(*contrasts)
    dissimilar = (parts[0] * parts[1]).mean(axis=1) <= _LARGEST_SIMILARITY * low * high
    one_is_flat = low < _FLAT_SHARE * high
    ends: NDArray[np.bool_] = changed & np.where(one_is_flat, high >= _LEAST_CONTRAST_LEVELS, dissimilar)
    return ends


def _shares_of_a_mixture(frames: FloatArray) -> FloatArray | None:
    """The share of the last of flattened thumbnails (T, N) in each, (T,) in [0, 1]; None without a gradual mixture."""
    first, change = frames[0], frames[-1] - frames[0]
    # the change is never 0, because the ends have passed `_can_be_ends`
    share: FloatArray = ((frames - first) @ change / (change @ change)).astype(np.float32)
    steps = np.diff(share)
    if steps.min() < -_LARGEST_BACKWARD_STEP or steps.max() > _LARGEST_STEP:
        return None
    middle = (share > _MIDDLE[0]) & (share < _MIDDLE[1])
    if middle.sum() < _LEAST_MIDDLE_FRAMES:
        return None
    residue = np.abs(frames[middle] - first - share[middle, None] * change).mean()
    return share if residue <= _LARGEST_RESIDUE_SHARE * np.abs(change).mean() else None
