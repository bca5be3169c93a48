"""Common fate in batches of fields, in torch: the twin of `cpu.common_fate`."""

import torch
from torch import Tensor

from watchmove.pipeline.masks.cpu.camera import dense_terms
from watchmove.pipeline.masks.cpu.common_fate import (
    COMMON_FATE_WEIGHT,
    CONFIDENT_EVIDENCE,
    GRID_STEP,
    MIN_WEIGHT,
    MOTION_NOISE_PIXELS,
    RIDGE,
)


def pixel_weights(levelled: Tensor) -> Tensor:
    """Weights (N, h, w) in (0, 1] of pixels in the fit of the object's motion, from levelled evidence (N, h, w)."""
    low, high = CONFIDENT_EVIDENCE
    return ((levelled - low) / (high - low)).clamp(0, 1) + MIN_WEIGHT


def object_motion_likelihood(residuals: Tensor, gaps: Tensor, weights: Tensor) -> Tensor:
    """How much better the object's motion explains each pixel than the camera's does, (P, h, w) in [0, 1].

    residuals: (P, 2, h, w), fields over `gaps` (P,) frames without the camera's motion, in pixels over the whole gap;
    weights: (P, h, w), those of each field's frame, from `pixel_weights`.
    """
    height, width = weights.shape[-2:]
    terms = torch.from_numpy(dense_terms(height, width)).to(residuals.device)
    grid = terms.view(height, width, 3)[::GRID_STEP, ::GRID_STEP].reshape(-1, 3)
    weighted = grid * weights[:, ::GRID_STEP, ::GRID_STEP].flatten(1)[..., None]
    # in float64, because the equations of a small object are nearly singular
    gram = (weighted.transpose(1, 2) @ grid).double()
    ridge = RIDGE * weighted[..., 2].sum(dim=1, dtype=torch.float64)
    gram = gram + ridge[:, None, None] * torch.eye(3, dtype=gram.dtype, device=gram.device)
    vectors = residuals[..., ::GRID_STEP, ::GRID_STEP].flatten(2).transpose(1, 2)  # (field, point, xy)
    solve = torch.linalg.solve(gram, weighted.transpose(1, 2).double()).float()
    object_motion = (terms @ (solve @ vectors)).transpose(1, 2).reshape(residuals.shape)
    object_error = (object_motion - residuals).square().sum(dim=1)
    camera_error = residuals.square().sum(dim=1)
    noise = (MOTION_NOISE_PIXELS * gaps.float()).square()[:, None, None]
    likelihood: Tensor = camera_error / (camera_error + object_error + noise)
    return likelihood


def with_common_fate(saliency: Tensor, likelihood: Tensor) -> Tensor:
    """Motion evidence (N, h, w) in [0, 1]: the weighted mean of motion saliency and common fate, both (N, h, w)."""
    return (1 - COMMON_FATE_WEIGHT) * saliency + COMMON_FATE_WEIGHT * likelihood
