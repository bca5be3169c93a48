"""What the pixels of a shot look like, and which looks go with motion in that shot.

The model is a ridge regression on random rectified units (Rahimi and Recht, NIPS 2007), fitted to the shot itself and
to nothing else: evidence found in the shot is its target, so that parts of the object which happen to be still are
recognised by their looks.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from watchmove.pipeline.arrays import FloatArray

FEATURES = 14

LAB_SCALE = np.array([40, 20, 20], np.float32)
BLUR_SIGMA = 1.25
COARSE_SIGMA = 5.0
COARSE_WEIGHT = 0.8
LIGHTNESS_TEXTURE_WEIGHT = 1.5
POSITION_WEIGHT = 2.0
BORDER_SHARE = 0.06
RIDGE = 1e-4
LEAST_SHARE = 0.005
TRUST_IN_ANSWER = 0.8
SHARPENED = (0.15, 0.75)
_PIXELS_AT_ONCE = 256
"""As many responses as a core's own cache holds: more than twice as fast as all at once."""


@dataclass(frozen=True)
class Lesson:
    """How evidence teaches: it is stretched from `low`..`high` to 0..1; `balance` in [0, 1] is how far what moves and
    what does not weigh the same, however small the object; `rounds` of fitting, each to the answers of the one before;
    of every frame that is given, so many pixels are drawn.
    """

    low: float
    high: float
    balance: float
    rounds: int
    pixels_per_frame: int


BY_MOTION = Lesson(low=0.3, high=0.8, balance=0.8, rounds=4, pixels_per_frame=250)
"""Evidence of motion: right about where, loose about outlines."""

BY_OUTLINES = Lesson(low=0.4, high=0.7, balance=0.9, rounds=1, pixels_per_frame=500)
"""Evidence that follows the picture's edges already; asked of every second frame, and of twice as many pixels."""


def pixel_features(lab: NDArray[np.uint8]) -> FloatArray:
    """Features (h, w, 14) of a Lab image (h, w, 3) uint8: colour, two blurs, local spread (3 each), position (2)."""
    height, width = lab.shape[:2]
    colour = (lab.astype(np.float32) * np.array([100 / 255, 1, 1], np.float32)) / LAB_SCALE
    blurred = cv2.GaussianBlur(colour, (0, 0), BLUR_SIGMA)
    spread = np.sqrt(np.maximum(cv2.GaussianBlur(colour * colour, (0, 0), BLUR_SIGMA) - blurred * blurred, 0))
    spread[..., 0] *= LIGHTNESS_TEXTURE_WEIGHT
    coarse = cv2.GaussianBlur(colour, (0, 0), COARSE_SIGMA) * np.float32(COARSE_WEIGHT)
    rows = np.linspace(-POSITION_WEIGHT, POSITION_WEIGHT, height, dtype=np.float32)
    columns = np.linspace(-POSITION_WEIGHT, POSITION_WEIGHT, width, dtype=np.float32)
    position = np.stack(np.meshgrid(columns, rows), axis=-1)
    return np.concatenate([colour, blurred, coarse, spread, position], axis=-1)


@dataclass(frozen=True)
class AppearanceModel:
    """Random rectified units (features, units) with biases, and the weights (units + 1,) fitted to a shot."""

    directions: FloatArray
    biases: FloatArray
    weights: FloatArray

    def predict(self, features: FloatArray) -> FloatArray:
        """How much a pixel of each feature vector (..., F) looks like what moves, in [0, 1]."""
        flat = features.reshape(-1, features.shape[-1])
        scores = np.empty(len(flat), np.float32)
        for start in range(0, len(flat), _PIXELS_AT_ONCE):
            part = slice(start, start + _PIXELS_AT_ONCE)
            np.matmul(_units(flat[part], self.directions, self.biases), self.weights, out=scores[part])
        likeness: FloatArray = np.clip(scores, 0, 1).reshape(features.shape[:-1])
        return likeness


def _units(flat: FloatArray, directions: FloatArray, biases: FloatArray) -> FloatArray:
    """Unit responses (N, units + 1) of features (N, F); the last one is constant."""
    responses = np.empty((len(flat), len(biases) + 1), np.float32)
    np.matmul(flat, directions, out=responses[:, :-1])
    responses[:, :-1] += biases
    np.maximum(responses[:, :-1], 0, out=responses[:, :-1])
    responses[:, -1] = 1
    return responses


def fit_appearance(
    features: Sequence[FloatArray],
    evidence: Sequence[FloatArray],
    lesson: Lesson,
    unit_count: int,
    generator: np.random.Generator,
) -> AppearanceModel:
    """Fit looks (features: (h, w, F) per frame) to evidence ((h, w) in [0, 1] per frame) on random pixels.

    What lies along the border teaches that it is background, as the object that was filmed seldom stays there. Each
    round after the first trusts the previous answer more than the evidence, which sharpens what the looks agree on.
    """
    sample, observed = _drawn_pixels(features, evidence, lesson.pixels_per_frame, generator)
    observed = np.clip((observed - lesson.low) / (lesson.high - lesson.low), 0, 1)
    directions, biases = drawn_units(sample.shape[1], unit_count, generator)
    units = _units(sample, directions, biases)
    target, weights = observed, np.zeros(unit_count + 1, np.float32)
    for _ in range(lesson.rounds):
        weights = _balanced_ridge(units, target, lesson.balance)
        agreed = TRUST_IN_ANSWER * np.clip(units @ weights, 0, 1) + (1 - TRUST_IN_ANSWER) * observed
        low, high = SHARPENED
        target = np.clip((agreed - low) / (high - low), 0, 1).astype(np.float32)
    return AppearanceModel(directions, biases, weights)


def drawn_units(feature_count: int, unit_count: int, generator: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Random directions (features, units) and biases (units,)."""
    directions = generator.normal(0, 0.5, (feature_count, unit_count)).astype(np.float32)
    return directions, generator.normal(0, 1, unit_count).astype(np.float32)


def inner_pixels(height: int, width: int) -> NDArray[np.bool_]:
    """Which pixels (h, w) lie so far inside that evidence there counts."""
    margin = round(BORDER_SHARE * height)
    inner = np.zeros((height, width), bool)
    inner[margin : height - margin, margin : width - margin] = True
    return inner


def drawn_places(
    pixel_count: int, frame_count: int, drawn: int, generator: np.random.Generator
) -> list[NDArray[np.int64]]:
    """Indices of `drawn` random pixels of each frame."""
    return [generator.integers(0, pixel_count, drawn) for _ in range(frame_count)]


def _drawn_pixels(
    features: Sequence[FloatArray], evidence: Sequence[FloatArray], drawn: int, generator: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """Features (N, F) and evidence (N,) of random pixels of every frame; along the border there is no evidence."""
    inner = inner_pixels(*evidence[0].shape)
    chosen = drawn_places(inner.size, len(features), drawn, generator)
    sample = np.concatenate(
        [one.reshape(-1, one.shape[-1])[pixels] for one, pixels in zip(features, chosen, strict=True)]
    )
    observed = np.concatenate(
        [np.where(inner.ravel()[pixels], one.ravel()[pixels], 0) for one, pixels in zip(evidence, chosen, strict=True)]
    )
    return sample, observed.astype(np.float32)


def _balanced_ridge(units: FloatArray, target: FloatArray, balance: float) -> FloatArray:
    """Weights (units,) of the ridge regression of `target` (N,) in [0, 1], each half of it weighing the same."""
    share = min(max(float(target.mean()), LEAST_SHARE), 1 - LEAST_SHARE)
    importance = np.power(target * (0.5 / share) + (1 - target) * (0.5 / (1 - share)), np.float32(balance))
    root = np.sqrt(importance / importance.mean())
    weighted = units * root[:, None]  # by the root, as the product of a matrix with itself takes half the time
    gram = (weighted.T @ weighted).astype(np.float64)
    gram[np.diag_indices_from(gram)] += RIDGE * np.trace(gram) / len(gram)
    solution: FloatArray = np.linalg.solve(gram, (weighted.T @ (root * target)).astype(np.float64)).astype(np.float32)
    return solution
