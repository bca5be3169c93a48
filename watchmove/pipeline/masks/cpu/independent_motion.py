"""The motion of each frame relative to the camera and to near ground, over several gaps in frames."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from watchmove.pipeline.arrays import FloatArray
from watchmove.pipeline.masks.cpu.camera import motion_length, motion_saliency, residual_motion
from watchmove.pipeline.masks.cpu.near_ground import without_near_ground
from watchmove.pipeline.masks.cpu.windows import WindowFlow, compose_fields


@dataclass(frozen=True)
class IndependentMotion:
    """The motion of one frame relative to the camera.

    residuals: pairs of a gap in frames and the field (h, w, 2) over it without the camera's motion, in pixels;
    pixels_per_frame, above_noise, saliency: (h, w), means over all fields of their lengths, of how far these exceed the
        noise, and of their saliency.
    """

    residuals: tuple[tuple[int, FloatArray], ...]
    pixels_per_frame: FloatArray
    above_noise: FloatArray
    saliency: FloatArray


def independent_motion(
    flow: WindowFlow, index: int, gaps: Sequence[int], generator: np.random.Generator
) -> IndependentMotion:
    """Subtract the background's motion from all fields of a frame."""
    # without its sign, because from here on a gap only scales lengths and noise
    residuals = tuple(
        (abs(gap), without_near_ground(field, residual_motion(field, generator)))
        for gap, field in compose_fields(flow, index, gaps)
    )
    if not residuals:  # the window ends before the shortest gap on both sides
        zero = np.zeros(flow.fields[index, flow.steps(index)[0]].shape[:2], np.float32)
        return IndependentMotion((), zero, zero, zero)
    lengths = [(gap, motion_length(residual)) for gap, residual in residuals]
    pixels_per_frame = _mean([length / np.float32(gap) for gap, length in lengths])
    above_noise, saliency = zip(*(motion_saliency(length) for _, length in lengths), strict=True)
    return IndependentMotion(residuals, pixels_per_frame, _mean(above_noise), _mean(saliency))


def _mean(maps: Sequence[FloatArray]) -> FloatArray:
    return np.asarray(np.mean(maps, axis=0, dtype=np.float32), np.float32)
