"""Common fate: what moves as the object moves belongs to it, though it may look like nothing else of it.

Where the object is known well enough, its own motion can be modelled as the camera's is: affine, and fitted to what
is left of the flow without the camera's part. Each pixel is then asked which of the two explains its motion better.
That the parts of a thing share its motion is the oldest rule of seeing (Wertheimer, 1923).
"""

from collections.abc import Sequence

import numpy as np

from watchmove.pipeline.arrays import FloatArray
from watchmove.pipeline.masks.cpu.camera import dense_terms

SHARE = 0.5
"""Part that common fate has in the evidence of motion; the rest is how far a pixel's motion stands out."""

SURE = (0.4, 0.8)
"""Levelled evidence from which a pixel begins to speak for the object's motion, and from which it speaks aloud."""

STILL_PIXELS = 0.5
"""Motion per frame, beside the camera's, that still passes for none."""

GRID_STEP = 2
LEAST_WEIGHT = 1e-6
RIDGE = 1e-4


def pixel_weights(levelled: FloatArray) -> FloatArray:
    """How far each pixel speaks for the object's motion, in (0, 1], from levelled evidence (h, w)."""
    low, high = SURE
    weights: FloatArray = np.clip((levelled - low) / np.float32(high - low), 0, 1) + np.float32(LEAST_WEIGHT)
    return weights


def like_the_object(residuals: Sequence[tuple[int, FloatArray]], weights: FloatArray) -> FloatArray:
    """How much better the object's motion explains each pixel than the camera's, (h, w) in [0, 1].

    residuals: gap in frames and what is left of the field over it without the camera's part, (h, w, 2) in pixels over
    the whole gap; weights: (h, w), those of `pixel_weights`. 0 where there are no fields.
    """
    height, width = weights.shape
    if not residuals:
        return np.zeros((height, width), np.float32)
    terms = dense_terms(height, width)
    few = np.ascontiguousarray(terms.reshape(height, width, 3)[::GRID_STEP, ::GRID_STEP].reshape(-1, 3))
    weighted = few * weights[::GRID_STEP, ::GRID_STEP].reshape(-1, 1)
    # in float64, as small objects leave little to solve with; the ridge keeps it solvable for the smallest
    gram = (weighted.T @ few).astype(np.float64)
    gram[np.diag_indices(3)] += RIDGE * weighted[:, 2].sum(dtype=np.float64)
    solve = np.linalg.solve(gram, weighted.T.astype(np.float64)).astype(np.float32)
    answers = []
    for gap, residual in residuals:
        of_object = terms @ (solve @ residual[::GRID_STEP, ::GRID_STEP].reshape(-1, 2))
        from_object = _squared(of_object.reshape(residual.shape) - residual)
        from_camera = _squared(residual)
        answers.append(from_camera / (from_camera + from_object + np.float32((STILL_PIXELS * gap) ** 2)))
    return np.asarray(np.mean(answers, axis=0), np.float32)


def _squared(vectors: FloatArray) -> FloatArray:
    squared: FloatArray = np.einsum("hwc,hwc->hw", vectors, vectors)
    return squared


def with_common_fate(moving: FloatArray, fate: FloatArray) -> FloatArray:
    """Evidence of motion (h, w) in [0, 1], in which both have their part."""
    share = np.float32(SHARE)
    mixed: FloatArray = (1 - share) * moving + share * fate
    return mixed
