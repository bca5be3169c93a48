"""The camera's motion between two frames, and the motion that remains without it.

The flow of the background is modelled as affine. A robust fit finds its parameters: random triples of grid points give
candidates, and the candidate of lowest cost starts a few rounds of reweighted least squares. Points near the border
count more, because the filmed object seldom reaches it. A plane's homography and a quadratic model, tried on six of the
DAVIS-2016 training sequences, were no better than the affine one; a mere shift lowers J from 0.744 to 0.722 on all 30.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from watchmove.pipeline.arrays import FloatArray
from watchmove.pipeline.masks.chain import PEAK_QUANTILE

_GRID_STEP = 2
"""Pixels of the working size between grid points, eight of the frame. A bound on time, not a tuned value."""

_BORDER_FRACTION = 0.12
"""Width of the border in which points count in full, relative to the height. Set by hand; not tuned finely."""

_INNER_PRIOR = 0.4
"""Weight of the points inside of that border, those in it having 1. Set by hand; not tuned finely."""

CANDIDATE_COUNT = 80
"""Random triples of points. With half of the points on the background one triple in eight has no outlier.

Set by hand; not tuned.
"""

CANDIDATE_POINT_STEP = 5
"""Candidates are compared on every fifth grid point, which is enough to rank them. A bound on time."""

MIN_DETERMINANT = 0.01
"""Least determinant of a triple's (x, y, 1), lengths divided by the width: thinner triangles are ill-conditioned."""

MAX_CANDIDATE_ERROR = 3.0
"""Error in pixels, and error divided by COARSE_ERROR_DIVISOR, beyond which a point costs no more.

The cost of an error x is min(x, 3) + min(x / 4, 3): steep for small errors, and still rising up to 12 pixels, where a
fast camera would otherwise leave all candidates at the same cost. Set by hand; not tuned finely.
"""

COARSE_ERROR_DIVISOR = 4.0
"""Divides errors in the second part of that cost."""

FIT_ROUNDS = 5
"""Rounds of reweighted least squares; the scale shrinks in the first three. With eight rounds J is the same."""

_FIRST_WIDENING = 2.5
"""Factor on the scale in the first round, so that a poor candidate still reaches the background. Set by hand."""

_WIDENING_STEP = 0.5
"""Decrease of that factor per round, until it is 1."""

MIN_SCALE_PIXELS = 0.15
"""Least scale of the errors: flow has noise of this order even where the model fits. Set by hand; not tuned."""

MAD_TO_SIGMA = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation: 1 / (inverse normal of 3/4)."""

RIDGE = 1e-9
"""Added to the diagonal of the equations, only so that a field without any spread has a solution."""

NOISE_QUANTILE = 0.5
"""Quantile of the remaining motion that measures its noise: the median, as most of a frame is background."""

NOISE_FACTOR = 3.0
"""Motion of this many standard deviations of the noise has half of the evidence against noise: three sigma."""

MIN_NOISE_PIXELS = 0.3
"""Least noise: motion below about 0.3 pixels per frame cannot be told from errors of flow. Set by hand; not tuned."""

MIN_PEAK_PIXELS = 1.0
"""Least peak, so that a still scene has no strong evidence. Set by hand; not tuned."""

CUE_WEIGHT = 0.5
"""Weight of each of the two cues, motion above noise and motion relative to the peak: their mean.

On 15 of the DAVIS-2016 training sequences with each frame's best threshold, J is 0.602 and 0.617 by one cue alone and
0.624 by both (measured with an early version of the chain).
"""


@dataclass(frozen=True)
class CameraGrid:
    """The points of a field at the working size that the camera's motion is fitted to.

    rows, columns: slices of the field's axes; terms: (N, 3) float64, x and y (centred, divided by the width) and 1;
    prior: (N,) float64, the weight of each point.
    """

    rows: slice
    columns: slice
    terms: NDArray[np.float64]
    prior: NDArray[np.float64]


def _terms(rows: NDArray[np.float64], columns: NDArray[np.float64], height: int, width: int) -> NDArray[np.float64]:
    """x and y (centred, divided by the width) and 1 of every crossing of rows and columns, (rows, columns, 3)."""
    # both are divided by the width: the axes keep one unit, and terms of order one give well-scaled equations
    y, x = np.meshgrid((rows - height / 2) / width, (columns - width / 2) / width, indexing="ij")
    return np.stack([x, y, np.ones_like(x)], axis=-1)


@lru_cache(maxsize=4)
def camera_grid(height: int, width: int) -> CameraGrid:
    """Return the grid for fields (height, width, 2) at the working size."""
    start = _GRID_STEP // 2
    rows = np.arange(start, height, _GRID_STEP, dtype=np.float64)
    columns = np.arange(start, width, _GRID_STEP, dtype=np.float64)
    margin = _BORDER_FRACTION * height
    inner_rows = (rows > margin) & (rows < height - margin)
    inner_columns = (columns > margin) & (columns < width - margin)
    prior = np.where(inner_rows[:, None] & inner_columns[None, :], _INNER_PRIOR, 1.0)
    terms = _terms(rows, columns, height, width).reshape(-1, 3)
    every = slice(start, None, _GRID_STEP)
    return CameraGrid(every, every, terms, prior.ravel())


def draw_triples(grid: CameraGrid, generator: np.random.Generator) -> NDArray[np.int64]:
    """Draw indices (candidate, 3) of random grid points, with probabilities in proportion to their prior."""
    probability = grid.prior / grid.prior.sum()
    return generator.choice(len(probability), size=(CANDIDATE_COUNT, 3), p=probability)


def _best_candidate(
    grid: CameraGrid, vectors: NDArray[np.float64], generator: np.random.Generator
) -> NDArray[np.float64]:
    """Parameters (3, 2) through three of the vectors (N, 2) that have the lowest clipped cost over the grid."""
    triples = draw_triples(grid, generator)
    corners = grid.terms[triples]  # (candidate, point, term)
    # points are drawn with replacement: a triple with the same point twice has a determinant of 0
    solvable = np.abs(np.linalg.det(corners)) > MIN_DETERMINANT
    if not solvable.any():
        # without a proper triangle only a shift can be estimated
        return np.array([[0, 0], [0, 0], np.median(vectors, axis=0)])
    candidates = np.linalg.solve(corners[solvable], vectors[triples[solvable]])  # (candidate, term, xy)
    subset = slice(None, None, CANDIDATE_POINT_STEP)
    # float32, because candidates are only ranked here and refined in float64 later
    terms, observed, prior = (part[subset].astype(np.float32) for part in (grid.terms, vectors, grid.prior))
    # axes: (point, term) @ (term, candidate * xy) -> (point, candidate * xy)
    predicted = terms @ candidates.transpose(1, 0, 2).reshape(3, -1).astype(np.float32)
    error = predicted.reshape(len(observed), -1, 2) - observed[:, None]
    length = np.sqrt(np.einsum("ncx,ncx->nc", error, error))
    near, far = length, length / COARSE_ERROR_DIVISOR
    cost = prior @ (np.minimum(near, MAX_CANDIDATE_ERROR) + np.minimum(far, MAX_CANDIDATE_ERROR))
    best: NDArray[np.float64] = candidates[cost.argmin()]
    return best


def scale_widening(round_index: int) -> float:
    """Factor on the scale of errors in a round of the fit, from 0: 2.5, 2, 1.5, then 1."""
    return max(1.0, _FIRST_WIDENING - _WIDENING_STEP * round_index)


def fit_camera_motion(field: FloatArray, generator: np.random.Generator) -> NDArray[np.float64]:
    """Fit affine parameters (3, 2) float64 to the background of a flow field (h, w, 2) at the working size.

    The weights of the least squares are those of Geman and McClure's estimator, (1 + (error / scale)^2)^-2, times the
    prior of the grid. `camera_flow` turns parameters into a field.
    """
    grid = camera_grid(*field.shape[:2])
    vectors = field[grid.rows, grid.columns].reshape(-1, 2).astype(np.float64)
    parameters = _best_candidate(grid, vectors, generator)
    for round_index in range(FIT_ROUNDS):
        error = grid.terms @ parameters - vectors
        squared = np.einsum("nx,nx->n", error, error)
        # the median measures the errors of the background as long as most points belong to it
        scale = max(MIN_SCALE_PIXELS, MAD_TO_SIGMA * _root_of_median(squared)) * scale_widening(round_index)
        weights = grid.prior / np.square(1 + squared / scale**2)
        weighted = grid.terms * weights[:, None]
        parameters = np.linalg.solve(weighted.T @ grid.terms + RIDGE * np.eye(3), weighted.T @ vectors)
    return parameters


def _root_of_median(squared: NDArray[np.float64]) -> float:
    """Square root of the upper median of (N,): NumPy's own median takes several times as long."""
    middle = len(squared) // 2
    return float(np.sqrt(np.partition(squared, middle)[middle]))


def camera_flow(parameters: NDArray[np.float64], height: int, width: int) -> FloatArray:
    """The background's flow (h, w, 2) float32, in the units of the field that `parameters` (3, 2) were fitted to."""
    return (dense_terms(height, width) @ parameters.astype(np.float32)).reshape(height, width, 2)


@lru_cache(maxsize=4)
def dense_terms(height: int, width: int) -> FloatArray:
    """x and y (centred, divided by the width) and 1 of every pixel, (h * w, 3) float32."""
    terms = _terms(np.arange(height, dtype=np.float64), np.arange(width, dtype=np.float64), height, width)
    return terms.reshape(-1, 3).astype(np.float32)


def residual_motion(field: FloatArray, generator: np.random.Generator) -> FloatArray:
    """Subtract the camera's motion from a flow field (h, w, 2): the residual (h, w, 2), in the field's pixels."""
    return field - camera_flow(fit_camera_motion(field, generator), *field.shape[:2])


def motion_length(residual: FloatArray) -> FloatArray:
    """Length (h, w) of the vectors of a residual (h, w, 2), in its pixels."""
    length: FloatArray = np.sqrt(np.einsum("hwc,hwc->hw", residual, residual))
    return length


def motion_saliency(length: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Evidence of independent motion (h, w) in [0, 1] from the length (h, w) of a residual, in pixels.

    The mean of two cues: how far the length exceeds the frame's noise, length^2 / (length^2 + (3 noise)^2), and how
    long it is relative to the frame's peak. Noise and peak have floors in pixels, so that a still scene has little.
    Returns the first cue alone, and the mean.
    """
    middle, high = (int(quantile * (length.size - 1)) for quantile in (NOISE_QUANTILE, PEAK_QUANTILE))
    # a partition puts the two quantiles in their places without sorting the rest
    ordered = np.partition(length.ravel(), (middle, high))
    noise = max(MIN_NOISE_PIXELS, MAD_TO_SIGMA * float(ordered[middle]))
    peak = max(MIN_PEAK_PIXELS, float(ordered[high]))
    squared = np.square(length)
    above_noise = np.asarray(squared / (squared + np.float32(NOISE_FACTOR**2 * noise * noise)), np.float32)
    saliency: FloatArray = CUE_WEIGHT * (above_noise + np.clip(length / np.float32(peak), 0, 1))
    return above_noise, saliency
