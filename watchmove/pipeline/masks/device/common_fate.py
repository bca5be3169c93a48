"""Common fate of batches, in torch: `common_fate` for a GPU."""

import torch
from torch import Tensor

from watchmove.pipeline.masks.cpu.camera import dense_terms
from watchmove.pipeline.masks.cpu.common_fate import GRID_STEP, LEAST_WEIGHT, RIDGE, STILL_PIXELS, SURE


def pixel_weight_maps(levelled: Tensor) -> Tensor:
    """How far pixels speak for the object's motion, (N, h, w) in (0, 1], from levelled evidence (N, h, w)."""
    low, high = SURE
    return ((levelled - low) / (high - low)).clamp(0, 1) + LEAST_WEIGHT


def like_objects(residuals: Tensor, gaps: Tensor, weights: Tensor) -> Tensor:
    """How much better the object's motion explains each pixel than the camera's, (P, h, w) in [0, 1].

    residuals: (P, 2, h, w), what is left of a field over `gaps` (P,) frames without the camera; weights: (P, h, w),
    those of each field's frame.
    """
    height, width = weights.shape[-2:]
    terms = torch.from_numpy(dense_terms(height, width)).to(residuals.device)
    few = terms.view(height, width, 3)[::GRID_STEP, ::GRID_STEP].reshape(-1, 3)
    weighted = few * weights[:, ::GRID_STEP, ::GRID_STEP].flatten(1)[..., None]
    gram = (weighted.transpose(1, 2) @ few).double()
    ridge = RIDGE * weighted[..., 2].sum(dim=1, dtype=torch.float64)
    gram = gram + ridge[:, None, None] * torch.eye(3, dtype=gram.dtype, device=gram.device)
    vectors = residuals[..., ::GRID_STEP, ::GRID_STEP].flatten(2).transpose(1, 2)
    solve = torch.linalg.solve(gram, weighted.transpose(1, 2).double()).float()
    of_object = (terms @ (solve @ vectors)).transpose(1, 2).reshape(residuals.shape)
    from_object = (of_object - residuals).square().sum(dim=1)
    from_camera = residuals.square().sum(dim=1)
    still = (STILL_PIXELS * gaps.float()).square()[:, None, None]
    alike: Tensor = from_camera / (from_camera + from_object + still)
    return alike
