"""The motion of frames relative to the camera and to near ground, in torch: the twin of `cpu.independent_motion`."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from watchmove.pipeline.masks.cpu.camera import CANDIDATE_COUNT, camera_grid, draw_triples
from watchmove.pipeline.masks.device.camera import motion_length, motion_saliency, residual_motion
from watchmove.pipeline.masks.device.memory import AdaptiveBatches
from watchmove.pipeline.masks.device.near_ground import without_near_ground
from watchmove.pipeline.masks.device.windows import STEPS, Windows, compose_fields, mean_by_frame


@dataclass(frozen=True)
class IndependentMotion:
    """The motion of N frames relative to the camera, in P fields.

    residuals: (P, 2, h, w), fields over `gaps` (P,) frames without the camera's motion, in pixels; frames: (P,), the
    frame of each; pixels_per_frame, above_noise, saliency: (N, h, w), means over each frame's fields of their lengths,
        of how far these exceed the noise, and of their saliency.
    """

    residuals: Tensor
    gaps: Tensor
    frames: Tensor
    pixels_per_frame: Tensor
    above_noise: Tensor
    saliency: Tensor


def independent_motion(
    fields: Tensor,
    layout: Windows,
    motion_gaps: Sequence[int],
    generator: np.random.Generator,
    batches: AdaptiveBatches,
) -> IndependentMotion:
    """Subtract the background's motion from all fields of all frames, over every gap that their windows have."""
    gaps = sorted(motion_gaps)
    composed = [[compose_fields(fields, layout, direction, gap) for gap in gaps] for direction in range(len(STEPS))]
    # axes: (direction, gap, frame, ...)
    every_field = torch.stack([torch.stack([field for field, _ in of_gaps]) for of_gaps in composed])
    exists = torch.stack([torch.stack([inside for _, inside in of_gaps]) for of_gaps in composed])
    # triples are drawn in the order of the CPU: frame by frame, backward before forward, shorter gaps first
    frame, direction, gap = exists.permute(2, 0, 1).nonzero(as_tuple=True)
    grid = camera_grid(*fields.shape[-2:])
    # reshaped, so that the array has three axes even where there is no field
    triples = np.array([draw_triples(grid, generator) for _ in frame], np.int64).reshape(-1, CANDIDATE_COUNT, 3)
    chosen, frames_apart = every_field[direction, gap, frame], torch.tensor(gaps, device=gap.device)[gap]
    residuals = batches.run(lambda part: _residual_motion(chosen[part], triples[part]), len(chosen))
    lengths = motion_length(residuals)
    saliency = batches.run(lambda part: motion_saliency(lengths[part]), len(lengths))
    speeds = lengths / frames_apart.view(-1, 1, 1)
    means = (mean_by_frame(maps, frame, fields.shape[1]) for maps in (speeds, *saliency.unbind(1)))
    return IndependentMotion(residuals, frames_apart, frame, *means)


def _residual_motion(fields: Tensor, triples: NDArray[np.int64]) -> Tensor:
    """Residuals (N, 2, h, w) of fields (N, 2, h, w) without the motion of the camera and of near ground."""
    return without_near_ground(fields, residual_motion(fields, triples))
