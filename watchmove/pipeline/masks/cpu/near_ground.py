"""Near ground: background in a corner of the frame that the model of the camera's motion does not explain.

If the camera travels, near ground, rocks and walls move otherwise than the far background, and no affine model fits
both. They enter the frame along its border, where the filmed object seldom is, and they usually cover a corner of it.
A connected region along the border that moves relative to the camera and covers a corner therefore gets an affine model
of its own, and each pixel keeps the shorter of its two residuals. Regions without a corner are left alone, because an
object that is cut by the border has the same motion.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from watchmove.pipeline.arrays import FloatArray
from watchmove.pipeline.masks.chain import border_band
from watchmove.pipeline.masks.cpu.camera import MAD_TO_SIGMA, MIN_NOISE_PIXELS, dense_terms, motion_length

MAX_REGIONS = 2
"""Most regions of one field that get a model, one after the other: more did not change J by 0.001."""

MIN_CAMERA_PIXELS = 0.5
"""Least median motion of the camera in a field: a camera that rests sees no parallax, only objects at the border.

Set by hand. On DAVIS and on pasted near ground J is the same to 0.0005 without this limit.
"""

_CORNER_FRACTION = 0.05
"""Side of the square in each corner that a region has to touch, relative to the height: flow is unreliable at the very
corner. Set by hand; not tuned."""

_MIN_BAND_SHARE = 0.08
"""Least part of the band that a region covers; smaller ones give no reliable fit. A first guess, kept."""

_MIN_MOTION_PIXELS = 0.6
"""Least motion of a region, relative to the camera's model. Chosen with `_NOISE_FACTOR`."""

_NOISE_FACTOR = 1.5
"""Least motion of a region, in standard deviations of the noise of the field's residual. Chosen on pasted near ground,
by cross-validation: see docs/explanation/masks.md."""

FIT_ROUNDS = 4
"""Rounds of reweighted least squares, from the median shift of the region. Set by hand; not tuned."""

_FIRST_WIDENING = 2.0
"""Factor on the scale of errors in the first round. Set by hand; not tuned."""

_WIDENING_STEP = 0.5
"""Decrease of that factor per round, until it is 1."""

MIN_SCALE_PIXELS = 0.3
"""Least scale of the errors, as `MIN_NOISE_PIXELS` of the camera. Set by hand; not tuned."""

GRADIENT_RIDGE = 1e-3
"""Added to the equations of the gradients of the motion, relative to the sum of weights, lengths in frame widths.

It keeps the model close to a shift for regions so small that noise would decide on their gradients. Set by hand.
"""


def corner_region(length: FloatArray) -> NDArray[np.bool_] | None:
    """The largest region (h, w) of the band that moves and touches a corner, or None if there is none.

    length: (h, w), the length of a residual in pixels.
    """
    height, width = length.shape
    band = border_band(height, width)
    noise = max(MIN_NOISE_PIXELS, MAD_TO_SIGMA * float(np.median(length)))
    moving = band & (length > max(_MIN_MOTION_PIXELS, _NOISE_FACTOR * noise))
    _, labels, stats, _ = cv2.connectedComponentsWithStats(moving.astype(np.uint8), connectivity=4)
    side = max(1, round(_CORNER_FRACTION * height))
    ends = (slice(None, side), slice(-side, None))
    touching = np.unique(np.concatenate([labels[rows, columns].ravel() for rows in ends for columns in ends]))
    # label 0 is what does not move
    areas = {int(label): int(stats[label, cv2.CC_STAT_AREA]) for label in touching if label}
    largest = max(areas, key=lambda label: areas[label], default=0)
    if not largest or areas[largest] < _MIN_BAND_SHARE * int(band.sum()):
        return None
    return np.asarray(labels == largest)


def region_widening(round_index: int) -> float:
    """Factor on the scale of errors in a round of the fit, from 0: 2, 1.5, then 1."""
    return max(1.0, _FIRST_WIDENING - _WIDENING_STEP * round_index)


def fit_region_motion(terms: FloatArray, vectors: FloatArray) -> NDArray[np.float64]:
    """Fit affine parameters (3, 2) float64 to the vectors (N, 2) of a region at the points `terms` (N, 3).

    terms: x, y and 1, as in `camera.dense_terms`. The weights are those of Geman and McClure's estimator.
    """
    observed, points = vectors.astype(np.float64), terms.astype(np.float64)
    parameters = np.vstack([np.zeros((2, 2)), np.median(observed, axis=0)])
    for round_index in range(FIT_ROUNDS):
        error = np.sqrt(np.square(points @ parameters - observed).sum(axis=1))
        scale = max(MIN_SCALE_PIXELS, MAD_TO_SIGMA * float(np.median(error))) * region_widening(round_index)
        weights = 1 / np.square(1 + np.square(error / scale))
        # gradients are taken about the region's centre, so that their ridge does not change its mean motion
        centre = np.append(weights @ points[:, :2] / weights.sum(), 0)
        centred = points - centre
        weighted = centred * weights[:, None]
        gram = weighted.T @ centred
        gram[(0, 1), (0, 1)] += GRADIENT_RIDGE * weights.sum()
        parameters = np.linalg.solve(gram, weighted.T @ observed)
        parameters[2] -= centre @ parameters
    return parameters


def without_near_ground(field: FloatArray, residual: FloatArray) -> FloatArray:
    """Subtract the motion of near ground in the corners from a residual (h, w, 2), in pixels, where that shortens it.

    field: (h, w, 2), the flow from which the camera's motion was subtracted to get the residual. If the camera rests,
    the residual is returned unchanged.
    """
    if float(np.median(motion_length(field - residual))) < MIN_CAMERA_PIXELS:
        return residual
    height, width = residual.shape[:2]
    terms = dense_terms(height, width)
    for _ in range(MAX_REGIONS):
        length = motion_length(residual)
        region = corner_region(length)
        if region is None:
            break
        parameters = fit_region_motion(terms[region.ravel()], residual[region]).astype(np.float32)
        other = residual - (terms @ parameters).reshape(residual.shape)
        shorter = motion_length(other) < length
        residual = np.where(shorter[..., None], other, residual)
    return residual
