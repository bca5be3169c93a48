"""The confidence of soft masks, which is close to their expected J."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from watchmove.pipeline.arrays import FloatArray

LEAST_MASK_FRACTION = 0.001
"""Masks that cover less of the frame count as empty. Set by hand: a few pixels of noise, far below any object kept."""

_UNCERTAIN = (0.3, 0.69)
"""Soft mask values that count as uncertain, about the range between the thresholds of training. Set by hand."""

_BORDER_WEIGHT = 4.0
"""Doubt added by a soft mask of 1 along the whole border; as many uncertain pixels as mask pixels add 1.

Chosen with `_DOUBT_SCALE` on videos with known masks; how flat the optimum is has not been recorded.
"""

_DOUBT_SCALE = 1.75
"""Doubt at which confidence is 1/e. It puts 0.5 where, on videos with known masks, J begins to fall below 0.8."""

_DOUBTFUL_CONFIDENCE = 0.7
"""Mean confidence of the masks of a shot below which the shot is segmented again with other evidence.

Chosen on the 30 DAVIS-2016 training sequences: see docs/explanation/masks.md.
"""

_LEAST_GAIN = 0.1
"""Mean confidence by which other masks have to exceed the first ones to replace them. Chosen like
`_DOUBTFUL_CONFIDENCE`."""


def confidence_of(soft_mask: FloatArray) -> float:
    """The confidence, in [0, 1], of a soft mask (H, W) in [0, 1]; 0 for an empty mask.

    It falls with the number of uncertain pixels per mask pixel and with the mean of the soft mask along the frame's
    border. Its rank correlation with J is 0.73 on the 30 DAVIS-2016 training sequences.
    """
    inside = int(np.count_nonzero(soft_mask >= 0.5))
    if inside < LEAST_MASK_FRACTION * soft_mask.size:
        return 0.0
    uncertain = int(np.count_nonzero((soft_mask > _UNCERTAIN[0]) & (soft_mask < _UNCERTAIN[1])))
    doubt = uncertain / inside + _BORDER_WEIGHT * border_mean(soft_mask)
    return float(np.exp(-doubt / _DOUBT_SCALE))


def border_mean(mask: FloatArray | NDArray[np.bool_]) -> float:
    """The mean of a mask (H, W) over the frame's outermost pixels."""
    # the corners belong to the rows, so that none counts twice
    return float(np.concatenate([mask[0], mask[-1], mask[1:-1, 0], mask[1:-1, -1]]).mean())


def mean_confidence(soft_masks: Sequence[FloatArray]) -> float:
    """The mean confidence, in [0, 1], of the soft masks of a shot; 1 if there is none."""
    return float(np.mean([confidence_of(mask) for mask in soft_masks])) if len(soft_masks) else 1.0


def is_doubtful(soft_masks: Sequence[FloatArray]) -> bool:
    """Whether a shot is segmented again with other evidence, given the masks (H, W) in [0, 1] that it has."""
    return mean_confidence(soft_masks) < _DOUBTFUL_CONFIDENCE


def most_confident(candidates: Sequence[Sequence[FloatArray]]) -> int:
    """Which of several lists of masks (H, W) in [0, 1] of a shot is used: the most confident one that is clearly so.

    It is the first one, with the index 0, unless another one has a larger mean confidence by at least 0.1.
    """
    means = [mean_confidence(soft_masks) for soft_masks in candidates]
    best = int(np.argmax(means))
    return best if means[best] >= means[0] + _LEAST_GAIN else 0
