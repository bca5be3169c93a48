"""Faults of motion that are drawn into what a motion network learns from, so that it learns to see through them.

Masks come from motion, so a network that is given the same motion would only repeat it. Where motion is missing in an
object, false along the border or weaker than usual, the mask stays as it is, and the picture and the rest of the
motion have to tell it.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from watchmove.pipeline.arrays import FloatArray
from watchmove.pipeline.dataset.trimap import BACKGROUND, FOREGROUND
from watchmove.pipeline.masks.motion_cues import CUES

_STRENGTHS = [CUES.index(name) for name in ("above-noise", "saliency", "smoothed")]
_AGREEMENT = CUES.index("agreement")
_PICTURE = slice(len(CUES), None)

# The probabilities and ranges below were set by hand and not tuned, except where docs/explanation/masks.md measures
# training without the fault.
_ZOOMED, _ZOOM, _SHIFT = 0.5, 0.3, 0.15
"""Part of the frames that are zoomed, by a factor of up to exp(0.3), and moved by up to 0.15 of their sides."""
_WEAKER, _LEAST_STRENGTH = 0.3, 0.4
"""Part of the frames in which all motion is weaker, and the least factor."""
_WITH_HOLES, _HOLES = 0.5, 3
"""Part of the frames in which motion has holes, and the most rounds of drawing some."""
_WITH_FALSE_MOTION, _REGIONS = 0.6, 2
"""Part of the frames with false motion along the border, and its most regions."""
_WITH_OTHER_PICTURE = 0.4
"""Part of those regions that show the picture of another frame too, as near ground does; others move as they are."""
_RECOLOURED, _NOISE = 0.5, 0.02
"""Part of the frames with other brightness and contrast, and the deviation of noise on the maps of motion."""


@dataclass(frozen=True)
class TaughtFrame:
    """A kept frame: inputs (7, h, w) in [0, 1], the maps of motion and L*a*b*, and its trimap (h, w) as int8."""

    inputs: FloatArray
    trimap: NDArray[np.int8]


def with_faults(frame: TaughtFrame, other: TaughtFrame, rng: np.random.Generator) -> TaughtFrame:
    """A copy of the frame with drawn faults; pictures of near ground are taken from `other`, of the same size."""
    inputs, trimap = _moved(frame, rng)
    if rng.random() < _WEAKER:
        inputs[_STRENGTHS] *= rng.uniform(_LEAST_STRENGTH, 1)
    if rng.random() < _WITH_HOLES:
        for _ in range(rng.integers(1, _HOLES + 1)):
            inputs[_STRENGTHS] *= 1 - _hole(rng, *trimap.shape)
    if rng.random() < _WITH_FALSE_MOTION:
        for _ in range(rng.integers(1, _REGIONS + 1)):
            trimap = _with_false_motion(inputs, trimap, other, rng)
    if rng.random() < _RECOLOURED:
        contrast, brightness = rng.uniform(0.8, 1.2), rng.uniform(-0.05, 0.05, (3, 1, 1))
        inputs[_PICTURE] = (inputs[_PICTURE] - 0.5) * contrast + 0.5 + brightness
    inputs[: len(CUES)] += rng.normal(0, _NOISE, (len(CUES), 1, 1)) * rng.normal(0, 1, inputs[: len(CUES)].shape)
    return TaughtFrame(np.clip(inputs, 0, 1).astype(np.float32), trimap)


def _moved(frame: TaughtFrame, rng: np.random.Generator) -> tuple[FloatArray, NDArray[np.int8]]:
    """Copies of inputs and trimap, mirrored in half of the cases, and zoomed and moved."""
    inputs, trimap = frame.inputs.copy(), frame.trimap.copy()
    if rng.random() < 0.5:
        inputs, trimap = inputs[:, :, ::-1].copy(), trimap[:, ::-1].copy()
    if rng.random() >= _ZOOMED:
        return inputs, trimap
    height, width = trimap.shape
    factor = np.exp(rng.uniform(-_ZOOM, _ZOOM))
    x, y = rng.uniform(-_SHIFT, _SHIFT, 2)
    # the middle of the frame moves by the shift
    matrix = np.array(
        [[factor, 0, ((1 - factor) / 2 + x) * width], [0, factor, ((1 - factor) / 2 + y) * height]], np.float64
    )
    size, mirrored = (width, height), cv2.BORDER_REFLECT_101
    # axes: (map, row, column) -> (row, column, map) and back
    maps = cv2.warpAffine(np.ascontiguousarray(inputs.transpose(1, 2, 0)), matrix, size, borderMode=mirrored)
    moved = cv2.warpAffine(trimap.astype(np.int16), matrix, size, flags=cv2.INTER_NEAREST, borderMode=mirrored)
    return np.ascontiguousarray(maps.transpose(2, 0, 1), np.float32), moved.astype(np.int8)


def _smooth_noise(rng: np.random.Generator, height: int, width: int, sigma: float) -> FloatArray:
    """Noise (height, width) of mean 0 and deviation 1, smooth over `sigma` pixels."""
    noise = cv2.GaussianBlur(rng.normal(size=(height, width)).astype(np.float32), (0, 0), sigma)
    return np.asarray(noise / (noise.std() + 1e-6), np.float32)


def _hole(rng: np.random.Generator, height: int, width: int) -> FloatArray:
    """The part of its motion that each pixel loses, in [0, 1]: smooth blobs."""
    noise = _smooth_noise(rng, height, width, rng.uniform(3, 9))
    hole: FloatArray = np.clip(3 * (noise - rng.uniform(0.3, 1.2)), 0, 1) * np.float32(rng.uniform(0.4, 1))
    return hole


def _border_region(rng: np.random.Generator, height: int, width: int) -> FloatArray:
    """A region along one border, (height, width) in [0, 1]: along the lower one in three of five cases."""
    side = rng.integers(5)
    along, across = (width, height) if side < 4 else (height, width)
    profile = _smooth_noise(rng, 1, along, rng.uniform(2, 14))[0]
    depth = across * (rng.uniform(0, 0.35) + rng.uniform(0.03, 0.15) * profile)
    if rng.random() < 0.4:
        # a piece only, which reaches further
        middle, half = rng.uniform(0, along), rng.uniform(0.1, 0.35) * along
        inside = np.abs(np.arange(along) - middle) < half
        depth = np.where(inside, depth + across * rng.uniform(0, 0.3), 0)
    covered = np.clip(depth[None] - np.arange(across)[:, None], 0, 1).astype(np.float32)
    covered = np.asarray(cv2.GaussianBlur(covered, (0, 0), 0.7), np.float32)
    if side == 4:
        return np.ascontiguousarray(covered.T if rng.random() < 0.5 else covered[::-1].T)
    return covered if side == 3 else np.ascontiguousarray(covered[::-1])


def _with_false_motion(
    inputs: FloatArray, trimap: NDArray[np.int8], other: TaughtFrame, rng: np.random.Generator
) -> NDArray[np.int8]:
    """Draw false motion along the border into `inputs`; returns the trimap, in which it is background."""
    region = _border_region(rng, *trimap.shape)
    thing = trimap == FOREGROUND
    if rng.random() < _WITH_OTHER_PICTURE and (region[thing].sum() < 0.5 * thing.sum()):
        # in front of the object, which is hidden by it
        inputs[_PICTURE] += (other.inputs[_PICTURE] - inputs[_PICTURE]) * region
        trimap = np.where(region > 0.5, np.int8(BACKGROUND), trimap)
    else:
        behind = cv2.GaussianBlur((trimap == BACKGROUND).astype(np.float32), (0, 0), 0.8)
        region = np.asarray(region * behind, np.float32)
    height, width = trimap.shape
    texture = np.clip(1 + 0.25 * _smooth_noise(rng, height, width, rng.uniform(1, 6)), 0, 1.3)
    saliency = rng.uniform(0.25, 1)
    if rng.random() < 0.5:
        # what moves faster than the object is what the object's strength is measured by
        inputs[_STRENGTHS[1:]] *= rng.uniform(0.5, 1)
    strengths = (rng.uniform(max(saliency - 0.2, 0.2), 1), saliency, saliency * rng.uniform(0.7, 1))
    for channel, strength in zip(_STRENGTHS, strengths, strict=True):
        inputs[channel] += (np.clip(strength * texture, 0, 1) - inputs[channel]) * region
    inputs[_AGREEMENT] *= 1 - region * np.float32(rng.uniform(0, 0.3))
    return trimap
