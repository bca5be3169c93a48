"""The appearance model of a shot: which colours, textures and places belong to its moving objects.

The model is a ridge regression on random rectified units (Rahimi and Recht, NIPS 2007), fitted to evidence found in the
shot itself and to nothing else. It recognises the parts of an object that happen to be still by their appearance.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from watchmove.pipeline.arrays import FloatArray

LAB_SCALE = np.array([40, 20, 20], np.float32)
"""What L* (of 100), a* and b* are divided by, to give all features a similar range. Set by hand; not tuned."""

BLUR_SIGMA = 1.25
"""Standard deviation of the fine blur, in pixels of the working size: 5 of the frame. Set by hand; not tuned finely."""

COARSE_SIGMA = 5.0
"""Standard deviation of the coarse blur, in pixels of the working size: 20 of the frame. Set by hand."""

COARSE_WEIGHT = 0.8
"""Factor on the coarsely blurred colour. Set by hand; not tuned finely."""

LIGHTNESS_TEXTURE_WEIGHT = 1.5
"""Factor on the local spread of lightness, which tells more of texture than that of a* and b*. Set by hand."""

POSITION_WEIGHT = 2.0
"""Positions run from minus to plus this value along each axis.

With an early version of the chain, on 15 of the DAVIS-2016 training sequences, 0, 1 and 2 gave J of 0.607, 0.636 and
0.641.
"""

DIRECTION_DEVIATION = 0.5
"""Standard deviation of the random directions. Set by hand; not tuned finely."""

BIAS_DEVIATION = 1.0
"""Standard deviation of the random biases. Set by hand; not tuned finely."""

BORDER_FRACTION = 0.06
"""Width of the border that counts as background, relative to the height. Set by hand; not tuned finely."""

RIDGE = 1e-4
"""Ridge of the regression, relative to the mean of the diagonal of its matrix. Set by hand; not tuned finely."""

CLASS_WEIGHT = 0.5
"""Part of the total weight that each of the two classes, moving and not, has with a balance of 1: one half each."""

MIN_CLASS_FRACTION = 0.005
"""Least fraction of a class for its weight, so that a shot where nothing moves is not dominated by a few pixels."""

PREDICTION_WEIGHT = 0.8
"""Weight of the model's own prediction in the next round's target; the rest is the evidence. Chosen on DAVIS-2016."""

SHARPENING_RANGE = (0.15, 0.75)
"""Values that are stretched to 0 and 1 in the next round's target, which sharpens it. Chosen with PREDICTION_WEIGHT."""

_PIXELS_PER_BATCH = 256
"""Pixels predicted at once. Their responses fit into a core's cache: more than twice as fast as all at once."""


@dataclass(frozen=True)
class FitOptions:
    """How an appearance model is fitted to evidence.

    low, high: evidence that becomes a target of 0 and of 1; between them the target is linear.
    balance: in [0, 1]; with 0 every pixel has the same weight, with 1 moving and other pixels have the same total
        weight, however small the object.
    rounds: number of fits; each after the first is fitted to a mixture of the last prediction and the evidence.
    pixels_per_frame: number of random pixels drawn from every frame.
    """

    low: float
    high: float
    balance: float
    rounds: int
    pixels_per_frame: int


FIT_TO_MOTION = FitOptions(low=0.3, high=0.8, balance=0.8, rounds=4, pixels_per_frame=250)
"""For motion evidence, which has the right place and imprecise outlines, so that several rounds sharpen it.

Chosen on the DAVIS-2016 training sequences. The balance matters most: without it, here and in FIT_TO_OUTLINES, J is
0.644 instead of 0.744. With an early version of the chain, on 15 of the sequences, one round gave 0.633 and four gave
0.643.
"""

FIT_TO_OUTLINES = FitOptions(low=0.4, high=0.7, balance=0.9, rounds=1, pixels_per_frame=500)
"""For evidence that is aligned to edges already; from half as many frames, twice as many pixels of each.

Chosen on the DAVIS-2016 training sequences.
"""


def pixel_features(lab: NDArray[np.uint8]) -> FloatArray:
    """Appearance features (h, w, 14) float32 of an image (h, w, 3) uint8 in OpenCV's 8-bit CIE L*a*b*.

    The channels are colour, its fine blur, its coarse blur, its local standard deviation (3 each), and x and y.
    """
    height, width = lab.shape[:2]
    # OpenCV's 8 bits hold L* times 255/100, and a* and b* shifted by 128
    colour = (lab.astype(np.float32) * np.array([100 / 255, 1, 1], np.float32)) / LAB_SCALE
    blurred = cv2.GaussianBlur(colour, (0, 0), BLUR_SIGMA)
    # rounding can make the variance negative
    spread = np.sqrt(np.maximum(cv2.GaussianBlur(colour * colour, (0, 0), BLUR_SIGMA) - blurred * blurred, 0))
    spread[..., 0] *= LIGHTNESS_TEXTURE_WEIGHT
    coarse = cv2.GaussianBlur(colour, (0, 0), COARSE_SIGMA) * np.float32(COARSE_WEIGHT)
    rows = np.linspace(-POSITION_WEIGHT, POSITION_WEIGHT, height, dtype=np.float32)
    columns = np.linspace(-POSITION_WEIGHT, POSITION_WEIGHT, width, dtype=np.float32)
    position = np.stack(np.meshgrid(columns, rows), axis=-1)
    return np.concatenate([colour, blurred, coarse, spread, position], axis=-1)


@dataclass(frozen=True)
class AppearanceModel:
    """A regression on random units: directions (F, units), biases (units,) and fitted weights (units + 1,)."""

    directions: FloatArray
    biases: FloatArray
    weights: FloatArray

    def predict(self, features: FloatArray) -> FloatArray:
        """Appearance similarity (...) in [0, 1] of features (..., F): how much pixels look like the moving objects."""
        flat = features.reshape(-1, features.shape[-1])
        # a constant feature instead of adding the biases, which would take as long as the product
        extended = np.ones((len(flat), flat.shape[1] + 1), np.float32)
        extended[:, :-1] = flat
        directions, weights = np.vstack([self.directions, self.biases]), self.weights[:-1]
        buffer = np.empty((_PIXELS_PER_BATCH, len(weights)), np.float32)
        scores = np.empty(len(flat), np.float32)
        for start in range(0, len(flat), _PIXELS_PER_BATCH):
            part = extended[start : start + _PIXELS_PER_BATCH]
            responses = buffer[: len(part)]
            np.matmul(part, directions, out=responses)
            np.maximum(responses, 0, out=responses)
            np.matmul(responses, weights, out=scores[start : start + _PIXELS_PER_BATCH])
        similarity: FloatArray = np.clip(scores + self.weights[-1], 0, 1).reshape(features.shape[:-1])
        return similarity


def _unit_responses(features: FloatArray, directions: FloatArray, biases: FloatArray) -> FloatArray:
    """Responses (N, units + 1) of the units to features (N, F); the last one is constant."""
    # in place, because there are thousands of pixels
    responses = np.empty((len(features), len(biases) + 1), np.float32)
    np.matmul(features, directions, out=responses[:, :-1])
    responses[:, :-1] += biases
    np.maximum(responses[:, :-1], 0, out=responses[:, :-1])
    responses[:, -1] = 1
    return responses


def fit_appearance(
    features: Sequence[FloatArray],
    evidence: Sequence[FloatArray],
    options: FitOptions,
    unit_count: int,
    generator: np.random.Generator,
) -> AppearanceModel:
    """Fit an appearance model to evidence on random pixels of all frames.

    features: for each frame, (h, w, F) float32; evidence: for each frame, (h, w) float32 in [0, 1]. Pixels along the
    border count as background whatever their evidence, because the filmed object seldom stays there.
    """
    # pixels are drawn before units, as in the torch twin: the same draws keep the masks of both comparable
    sample, observed = _sample_pixels(features, evidence, options.pixels_per_frame, generator)
    observed = np.clip((observed - options.low) / (options.high - options.low), 0, 1)
    directions, biases = draw_units(sample.shape[1], unit_count, generator)
    responses = _unit_responses(sample, directions, biases)
    return AppearanceModel(directions, biases, _fit_weights(responses, observed, options))


def _fit_weights(responses: FloatArray, observed: FloatArray, options: FitOptions) -> FloatArray:
    """Weights (units + 1,) after all rounds, from responses (N, units + 1) and targets (N,) in [0, 1]."""
    low, high = SHARPENING_RANGE
    target, weights = observed, np.zeros(responses.shape[1], np.float32)
    for _ in range(options.rounds):
        weights = _balanced_ridge(responses, target, options.balance)
        prediction = np.clip(responses @ weights, 0, 1)
        # trusting the prediction more than the evidence sharpens what appearance agrees on
        mixed = PREDICTION_WEIGHT * prediction + (1 - PREDICTION_WEIGHT) * observed
        target = np.clip((mixed - low) / (high - low), 0, 1).astype(np.float32)
    return weights


def draw_units(feature_count: int, unit_count: int, generator: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Draw the random directions (F, units) and biases (units,) of a model, float32."""
    directions = generator.normal(0, DIRECTION_DEVIATION, (feature_count, unit_count)).astype(np.float32)
    return directions, generator.normal(0, BIAS_DEVIATION, unit_count).astype(np.float32)


def inner_pixels(height: int, width: int) -> NDArray[np.bool_]:
    """Which pixels (h, w) are far enough from the border for their evidence to count."""
    margin = round(BORDER_FRACTION * height)
    inner = np.zeros((height, width), bool)
    inner[margin : height - margin, margin : width - margin] = True
    return inner


def draw_pixels(
    pixel_count: int, frame_count: int, per_frame: int, generator: np.random.Generator
) -> list[NDArray[np.int64]]:
    """Draw `per_frame` random pixels of each frame: for each frame, flat indices (per_frame,)."""
    # with replacement: repeats are few among thousands of pixels, and such a pixel only weighs more
    return [generator.integers(0, pixel_count, per_frame) for _ in range(frame_count)]


def _sample_pixels(
    features: Sequence[FloatArray], evidence: Sequence[FloatArray], per_frame: int, generator: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """Features (N, F) and evidence (N,) of random pixels of every frame; evidence along the border is 0."""
    inner = inner_pixels(*evidence[0].shape)
    drawn = draw_pixels(inner.size, len(features), per_frame, generator)
    sample = np.concatenate(
        [of_frame.reshape(-1, of_frame.shape[-1])[pixels] for of_frame, pixels in zip(features, drawn, strict=True)]
    )
    observed = np.concatenate(
        [
            np.where(inner.ravel()[pixels], of_frame.ravel()[pixels], 0)
            for of_frame, pixels in zip(evidence, drawn, strict=True)
        ]
    )
    return sample, observed.astype(np.float32)


def _balanced_ridge(responses: FloatArray, target: FloatArray, balance: float) -> FloatArray:
    """Weights (units + 1,) of a ridge regression of `target` (N,) in [0, 1], with balanced classes.

    A pixel of class c weighs (CLASS_WEIGHT / fraction of c)^balance; a target between 0 and 1 is partly of each class.
    """
    fraction = min(max(float(target.mean()), MIN_CLASS_FRACTION), 1 - MIN_CLASS_FRACTION)
    of_both = target * (CLASS_WEIGHT / fraction) + (1 - target) * (CLASS_WEIGHT / (1 - fraction))
    importance = np.power(of_both, np.float32(balance))
    # by its root, because the product of a matrix with itself takes half the time
    root = np.sqrt(importance / importance.mean())
    weighted = responses * root[:, None]
    # solved in float64, because random units are nearly dependent and the matrix is ill-conditioned
    gram = (weighted.T @ weighted).astype(np.float64)
    gram[np.diag_indices_from(gram)] += RIDGE * np.trace(gram) / len(gram)
    solution: FloatArray = np.linalg.solve(gram, (weighted.T @ (root * target)).astype(np.float64)).astype(np.float32)
    return solution
