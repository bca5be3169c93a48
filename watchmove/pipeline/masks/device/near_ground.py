"""Near ground in batches of fields, in torch: the twin of `cpu.near_ground`.

Connected regions have no counterpart in torch: they are found on the CPU, from the lengths of the residuals, and all
else is computed on the device.
"""

import numpy as np
import torch
from torch import Tensor

from watchmove.pipeline.masks.cpu.camera import MAD_TO_SIGMA, dense_terms
from watchmove.pipeline.masks.cpu.near_ground import (
    FIT_ROUNDS,
    GRADIENT_RIDGE,
    MAX_REGIONS,
    MIN_CAMERA_PIXELS,
    MIN_SCALE_PIXELS,
    corner_region,
    region_widening,
)
from watchmove.pipeline.masks.device.camera import motion_length


def without_near_ground(fields: Tensor, residuals: Tensor) -> Tensor:
    """Subtract the motion of near ground from the residuals of fields, (N, 2, h, w) each, where that shortens them."""
    found = residuals.clone()
    terms = torch.from_numpy(dense_terms(*residuals.shape[-2:])).to(residuals.device)
    camera = _median(motion_length(fields - residuals).flatten(1))
    # a field that has no region has none in later rounds either
    searched = (camera >= MIN_CAMERA_PIXELS).nonzero()[:, 0]
    for _ in range(MAX_REGIONS):
        lengths = motion_length(found[searched])
        regions = [corner_region(length) for length in lengths.cpu().numpy()]
        having = [index for index, region in enumerate(regions) if region is not None]
        if not having:
            break
        searched, lengths = searched[having], lengths[having]
        inside = torch.from_numpy(np.stack([region for region in regions if region is not None])).to(residuals.device)
        residual = found[searched]
        parameters = _fit_region_motion(terms, residual.flatten(2).transpose(1, 2), inside.flatten(1))
        other = residual - (terms @ parameters.float()).transpose(1, 2).reshape(residual.shape)
        shorter = motion_length(other) < lengths
        found[searched] = torch.where(shorter[:, None], other, residual)
    return found


def _fit_region_motion(terms: Tensor, vectors: Tensor, inside: Tensor) -> Tensor:
    """Fit affine parameters (N, 3, 2) float64 to those of the vectors (N, points, 2) that are `inside` (N, points)."""
    observed, points = vectors.double(), terms.double()
    parameters = observed.new_zeros((len(observed), 3, 2))
    parameters[:, 2] = _median_inside(observed.transpose(1, 2), inside[:, None].expand(-1, 2, -1))
    ridge = GRADIENT_RIDGE * torch.diag(torch.tensor([1.0, 1.0, 0.0], dtype=points.dtype, device=points.device))
    for round_index in range(FIT_ROUNDS):
        error = (points @ parameters - observed).square().sum(dim=2).sqrt()
        scale = (MAD_TO_SIGMA * _median_inside(error, inside)).clamp(min=MIN_SCALE_PIXELS)
        scale = scale * region_widening(round_index)
        weights = inside / (1 + (error / scale[:, None]).square()).square()
        total = weights.sum(dim=1)
        centre = (weights @ points) / total[:, None]
        centre[:, 2] = 0
        centred = points - centre[:, None]  # (field, point, term)
        weighted = (centred * weights[..., None]).transpose(1, 2)
        parameters = torch.linalg.solve(weighted @ centred + ridge * total[:, None, None], weighted @ observed)
        parameters[:, 2] -= (centre[:, None] @ parameters)[:, 0]
    return parameters


def _median(values: Tensor) -> Tensor:
    """Median along the last axis; the mean of the two middle values where their number is even."""
    return _median_inside(values, torch.ones_like(values, dtype=torch.bool))


def _median_inside(values: Tensor, inside: Tensor) -> Tensor:
    """Median along the last axis of the values that are `inside`; the mean of the two middle ones of an even number."""
    # the other values are sorted behind
    ordered = values.masked_fill(~inside, torch.inf).sort(dim=-1).values
    count = inside.sum(dim=-1, keepdim=True)
    middle = torch.cat([(count - 1) // 2, count // 2], dim=-1)
    return ordered.gather(-1, middle).mean(dim=-1)
