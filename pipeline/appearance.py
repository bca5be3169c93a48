"""What the pixels of a window look like, and which looks go with motion in that window.

The model is a ridge regression on random rectified units, fitted to the window itself and to nothing else: the motion
evidence is its target, so that parts of the object which happen to be still are recognised by their looks.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]

_LAB_SCALE = np.array([40, 20, 20], np.float32)
_BLUR_SIGMA = 2.5
_COARSE_WIDTH = 54
_COARSE_WEIGHT = 0.8
_LIGHTNESS_TEXTURE_WEIGHT = 1.5
_POSITION_WEIGHT = 2.0
_PIXELS_PER_FRAME = 250
_RIDGE = 1e-3


def pixel_features(lab: NDArray[np.uint8]) -> FloatArray:
    """Features (h, w, 14) of a Lab image (h, w, 3) uint8: colour, two blurs, local spread (3 each), position (2)."""
    height, width = lab.shape[:2]
    colour = (lab.astype(np.float32) * np.array([100 / 255, 1, 1], np.float32)) / _LAB_SCALE
    blurred = cv2.GaussianBlur(colour, (0, 0), _BLUR_SIGMA)
    spread = np.sqrt(np.maximum(cv2.GaussianBlur(colour * colour, (0, 0), _BLUR_SIGMA) - blurred * blurred, 0))
    spread[..., 0] *= _LIGHTNESS_TEXTURE_WEIGHT
    tiny_size = (_COARSE_WIDTH, max(1, round(_COARSE_WIDTH * height / width)))
    tiny = cv2.GaussianBlur(cv2.resize(colour, tiny_size, interpolation=cv2.INTER_AREA), (0, 0), _BLUR_SIGMA)
    coarse = cv2.resize(tiny, (width, height), interpolation=cv2.INTER_LINEAR) * np.float32(_COARSE_WEIGHT)
    rows = np.linspace(-_POSITION_WEIGHT, _POSITION_WEIGHT, height, dtype=np.float32)
    columns = np.linspace(-_POSITION_WEIGHT, _POSITION_WEIGHT, width, dtype=np.float32)
    position = np.stack(np.meshgrid(columns, rows), axis=-1)
    return np.concatenate([colour, blurred, coarse, spread, position], axis=-1)


@dataclass(frozen=True)
class AppearanceModel:
    """Random rectified units (features, units) with biases, and the weights (units + 1,) fitted to a window."""

    directions: FloatArray
    biases: FloatArray
    weights: FloatArray

    def predict(self, features: FloatArray) -> FloatArray:
        """How much a pixel of each feature vector (..., F) looks like what moves, in [0, 1]."""
        flat = features.reshape(-1, features.shape[-1])
        scores = _units(flat, self.directions, self.biases) @ self.weights
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
    unit_count: int,
    rounds: int,
    generator: np.random.Generator,
) -> AppearanceModel:
    """Fit looks (features: (h, w, F) per frame) to evidence ((h, w) in [0, 1] per frame) on random pixels.

    Each round after the first trusts the previous answer more than the evidence, which sharpens what the looks agree
    on.
    """
    n_features = features[0].shape[-1]
    pixels = evidence[0].size
    chosen = [generator.integers(0, pixels, _PIXELS_PER_FRAME) for _ in features]
    sample = np.concatenate([f.reshape(-1, n_features)[i] for f, i in zip(features, chosen, strict=True)])
    observed = np.concatenate([e.ravel()[i] for e, i in zip(evidence, chosen, strict=True)])
    observed = np.clip((observed - 0.3) / 0.5, 0, 1)
    directions = generator.normal(0, 0.5, (n_features, unit_count)).astype(np.float32)
    biases = generator.normal(0, 1, unit_count).astype(np.float32)
    units = _units(sample, directions, biases)
    gram = (units.T @ units).astype(np.float64)
    gram[np.diag_indices_from(gram)] += _RIDGE * np.trace(gram) / len(gram)
    target, weights = observed, np.zeros(unit_count + 1, np.float32)
    for _ in range(rounds):
        weights = np.linalg.solve(gram, (units.T @ target).astype(np.float64)).astype(np.float32)
        agreed = 0.8 * np.clip(units @ weights, 0, 1) + 0.2 * observed
        target = np.clip((agreed - 0.15) / 0.6, 0, 1).astype(np.float32)
    return AppearanceModel(directions, biases, weights)
