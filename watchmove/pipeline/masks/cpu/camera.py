"""What the camera did between two frames, and what is left of the motion without it.

The background's flow is taken to be affine. A robust fit finds it: random triples of grid points give candidates, the
one with the lowest clipped cost starts a few rounds of reweighted least squares (Cauchy-like weights). Points near the
border count more, as the object that was filmed seldom touches it.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from watchmove.pipeline.arrays import FloatArray

_GRID_STEP = 2
_BORDER_SHARE = 0.12
_INNER_PRIOR = 0.4
CANDIDATES = 80
CANDIDATE_POINT_STEP = 5
LEAST_SPREAD = 0.01
ROUNDS = 8
LEAST_SCALE_PIXELS = 0.15
LEAST_NOISE_PIXELS = 0.3
RIDGE = 1e-9
MAD_TO_SIGMA = 1.4826


@dataclass(frozen=True)
class CameraGrid:
    """Points of a working-size field: `terms` (N, 3) are x, y (centred, divided by the width) and 1; prior (N,)."""

    rows: slice
    columns: slice
    terms: NDArray[np.float64]
    prior: NDArray[np.float64]


def _terms(rows: NDArray[np.float64], columns: NDArray[np.float64], height: int, width: int) -> NDArray[np.float64]:
    y, x = np.meshgrid((rows - height / 2) / width, (columns - width / 2) / width, indexing="ij")
    return np.stack([x, y, np.ones_like(x)], axis=-1)


@lru_cache(maxsize=4)
def camera_grid(height: int, width: int) -> CameraGrid:
    """The points of a working-size field (height, width) that the camera's motion is fitted to."""
    start = _GRID_STEP // 2
    rows = np.arange(start, height, _GRID_STEP, dtype=np.float64)
    columns = np.arange(start, width, _GRID_STEP, dtype=np.float64)
    margin = _BORDER_SHARE * height
    inner_rows = (rows > margin) & (rows < height - margin)
    inner_columns = (columns > margin) & (columns < width - margin)
    prior = np.where(inner_rows[:, None] & inner_columns[None, :], _INNER_PRIOR, 1.0)
    terms = _terms(rows, columns, height, width).reshape(-1, 3)
    every = slice(start, None, _GRID_STEP)
    return CameraGrid(every, every, terms, prior.ravel())


def drawn_triples(grid: CameraGrid, generator: np.random.Generator) -> NDArray[np.int64]:
    """Indices (candidate, 3) of random points of the grid, those that count more being likelier."""
    chance = grid.prior / grid.prior.sum()
    return generator.choice(len(chance), size=(CANDIDATES, 3), p=chance)


def _best_candidate(
    grid: CameraGrid, vectors: NDArray[np.float64], generator: np.random.Generator
) -> NDArray[np.float64]:
    """Parameters (3, 2) through three points that leave the lowest clipped cost over the whole grid."""
    triples = drawn_triples(grid, generator)
    corners = grid.terms[triples]  # (candidate, point, term)
    spread = np.abs(np.linalg.det(corners)) > LEAST_SPREAD
    if not spread.any():
        return np.array([[0, 0], [0, 0], np.median(vectors, axis=0)])
    candidates = np.linalg.solve(corners[spread], vectors[triples[spread]])  # (candidate, term, xy)
    # which candidate is best shows on few points; (point, term) @ (term, candidate * xy)
    few = slice(None, None, CANDIDATE_POINT_STEP)
    terms, seen, prior = (part[few].astype(np.float32) for part in (grid.terms, vectors, grid.prior))
    predicted = terms @ candidates.transpose(1, 0, 2).reshape(3, -1).astype(np.float32)
    error = predicted.reshape(len(seen), -1, 2) - seen[:, None]
    length = np.sqrt(np.einsum("ncx,ncx->nc", error, error))
    cost = prior @ (np.minimum(length, 3) + np.minimum(length / 4, 3))
    best: NDArray[np.float64] = candidates[cost.argmin()]
    return best


def fit_camera_motion(field: FloatArray, generator: np.random.Generator) -> NDArray[np.float64]:
    """Affine parameters (3, 2) of the background in a working-size flow field (h, w, 2), for `camera_flow`."""
    grid = camera_grid(*field.shape[:2])
    vectors = field[grid.rows, grid.columns].reshape(-1, 2).astype(np.float64)
    parameters = _best_candidate(grid, vectors, generator)
    for round_index in range(ROUNDS):
        length = np.sqrt(np.square(grid.terms @ parameters - vectors).sum(axis=1))
        scale = max(LEAST_SCALE_PIXELS, MAD_TO_SIGMA * float(np.median(length))) * max(1.0, 2.5 - 0.5 * round_index)
        weights = grid.prior / np.square(1 + np.square(length / scale))
        weighted = grid.terms * weights[:, None]
        # a trace of ridge, so that a field without any spread still has a solution
        parameters = np.linalg.solve(weighted.T @ grid.terms + RIDGE * np.eye(3), weighted.T @ vectors)
    return parameters


def camera_flow(parameters: NDArray[np.float64], height: int, width: int) -> FloatArray:
    """The background's flow (h, w, 2), in the units of the field that `parameters` were fitted to."""
    return (dense_terms(height, width) @ parameters.astype(np.float32)).reshape(height, width, 2)


@lru_cache(maxsize=4)
def dense_terms(height: int, width: int) -> FloatArray:
    """x, y and 1 of every pixel, (h * w, 3)."""
    terms = _terms(np.arange(height, dtype=np.float64), np.arange(width, dtype=np.float64), height, width)
    return terms.reshape(-1, 3).astype(np.float32)


def residual_motion(field: FloatArray, generator: np.random.Generator) -> FloatArray:
    """What is left (h, w, 2), in the field's pixels, of `field` (h, w, 2) without the camera's part."""
    return field - camera_flow(fit_camera_motion(field, generator), *field.shape[:2])


def motion_length(residual: FloatArray) -> FloatArray:
    """Length (h, w) of the vectors of a residual (h, w, 2), in its pixels."""
    length: FloatArray = np.sqrt(np.einsum("hwc,hwc->hw", residual, residual))
    return length


def motion_saliency(length: FloatArray) -> FloatArray:
    """Evidence of own motion (h, w) in [0, 1] from a residual's length (h, w), in pixels.

    How far it stands above its noise, and how strong it is beside its peak. Both scales have floors in pixels, so that
    a still scene stays dark.
    """
    middle, high = (int(share * (length.size - 1)) for share in (0.5, 0.98))
    ordered = np.partition(length.ravel(), (middle, high))
    noise = max(LEAST_NOISE_PIXELS, MAD_TO_SIGMA * float(ordered[middle]))
    peak = max(1.0, float(ordered[high]))
    squared = np.square(length)
    above_noise = squared / (squared + np.float32(9 * noise * noise))
    saliency: FloatArray = 0.5 * (above_noise + np.clip(length / np.float32(peak), 0, 1))
    return saliency
