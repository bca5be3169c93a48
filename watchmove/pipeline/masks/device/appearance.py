"""What the pixels of a shot look like, and which looks go with motion, in torch: `appearance` for a GPU.

Random pixels, units and biases are drawn as there, in the same order; what is computed from them runs on the device.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from watchmove.pipeline.flow.torch_maps import gaussian_blur
from watchmove.pipeline.masks.cpu.appearance import (
    BLUR_SIGMA,
    COARSE_SIGMA,
    COARSE_WEIGHT,
    LAB_SCALE,
    LEAST_SHARE,
    LIGHTNESS_TEXTURE_WEIGHT,
    POSITION_WEIGHT,
    RIDGE,
    SHARPENED,
    TRUST_IN_ANSWER,
    Lesson,
    drawn_places,
    drawn_units,
    inner_pixels,
)

_TO_XYZ = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
_WHITE = (0.950456, 1.0, 1.088754)


def lab_levels(images: Tensor) -> Tensor:
    """CIE L*a*b* (N, 3, H, W) of sRGB images (N, 3, H, W) in [0, 255]; L* in percent, a* and b* shifted by 128.

    D65; see Poynton, Digital Video and HD (2012), chapters 26 and 27.
    """
    srgb = images / 255
    linear = torch.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055).clamp(min=0).pow(2.4))
    matrix = torch.tensor(_TO_XYZ, device=images.device) / torch.tensor(_WHITE, device=images.device)[:, None]
    xyz = torch.einsum("ij,njhw->nihw", matrix, linear)
    x, y, z = torch.where(xyz > 0.008856, xyz.clamp(min=0).pow(1 / 3), 7.787 * xyz + 16 / 116).unbind(1)
    return torch.stack([116 * y - 16, 500 * (x - y) + 128, 200 * (y - z) + 128], dim=1)


def pixel_feature_maps(images: Tensor) -> Tensor:
    """Features (N, 14, h, w) of sRGB images (N, 3, h, w) in [0, 255], those of `appearance.pixel_features`."""
    count, _, height, width = images.shape
    colour = lab_levels(images) / torch.from_numpy(LAB_SCALE).to(images.device).view(3, 1, 1)
    blurred = gaussian_blur(colour, BLUR_SIGMA)
    spread = (gaussian_blur(colour.square(), BLUR_SIGMA) - blurred.square()).clamp(min=0).sqrt()
    weight = torch.tensor([LIGHTNESS_TEXTURE_WEIGHT, 1, 1], device=images.device).view(3, 1, 1)
    ends = -POSITION_WEIGHT, POSITION_WEIGHT
    columns = torch.linspace(*ends, width, device=images.device).expand(count, 1, height, width)
    rows = torch.linspace(*ends, height, device=images.device)[:, None].expand(count, 1, height, width)
    coarse = gaussian_blur(colour, COARSE_SIGMA) * COARSE_WEIGHT
    return torch.cat([colour, blurred, coarse, spread * weight, columns, rows], dim=1)


@dataclass(frozen=True)
class TorchAppearance:
    """Random rectified units (features, units) with biases, and the weights (units + 1,) fitted to a shot."""

    directions: Tensor
    biases: Tensor
    weights: Tensor

    def predict(self, features: Tensor) -> Tensor:
        """How much each pixel of feature maps (N, F, h, w) looks like what moves, (N, h, w) in [0, 1]."""
        scores = _units(features.movedim(1, -1), self.directions, self.biases) @ self.weights
        return scores.clamp(0, 1)


def _units(features: Tensor, directions: Tensor, biases: Tensor) -> Tensor:
    """Unit responses (..., units + 1) of features (..., F); the last one is constant."""
    responses = torch.relu(features @ directions + biases)
    return torch.cat([responses, torch.ones_like(responses[..., :1])], dim=-1)


def fit_appearance_maps(
    features: Tensor, evidence: Tensor, lesson: Lesson, unit_count: int, generator: np.random.Generator
) -> TorchAppearance:
    """Fit looks of feature maps (N, F, h, w) to evidence (N, h, w) in [0, 1], as `appearance.fit_appearance` does."""
    count, feature_count, height, width = features.shape
    device = features.device
    which = torch.arange(count, device=device)[:, None]
    places = torch.from_numpy(np.stack(drawn_places(height * width, count, lesson.pixels_per_frame, generator))).to(
        device
    )
    inner = torch.from_numpy(inner_pixels(height, width)).to(device).flatten()
    observed = torch.where(inner[places], evidence.flatten(1)[which, places], 0).flatten()
    observed = ((observed - lesson.low) / (lesson.high - lesson.low)).clamp(0, 1)
    directions, biases = (
        torch.from_numpy(part).to(device) for part in drawn_units(feature_count, unit_count, generator)
    )
    sample = features.flatten(2)[which, :, places].flatten(0, 1)
    return TorchAppearance(directions, biases, _taught(_units(sample, directions, biases), observed, lesson))


def _taught(units: Tensor, observed: Tensor, lesson: Lesson) -> Tensor:
    """Weights (units,) after the lesson's rounds, each but the first fitted to the answers of the one before."""
    low, high = SHARPENED
    target = observed
    weights = torch.zeros_like(units[0])
    for _ in range(lesson.rounds):
        weights = _balanced_ridge(units, target, lesson.balance)
        agreed = TRUST_IN_ANSWER * (units @ weights).clamp(0, 1) + (1 - TRUST_IN_ANSWER) * observed
        target = ((agreed - low) / (high - low)).clamp(0, 1)
    return weights


def _balanced_ridge(units: Tensor, target: Tensor, balance: float) -> Tensor:
    """Weights (units,) of the ridge regression of `target` (N,) in [0, 1], each half of it weighing the same."""
    share = target.mean().clamp(LEAST_SHARE, 1 - LEAST_SHARE)
    importance = (target * (0.5 / share) + (1 - target) * (0.5 / (1 - share))).pow(balance)
    weighted = (units * (importance / importance.mean())[:, None]).T
    gram = (weighted @ units).double()
    gram.diagonal().add_(RIDGE * gram.trace() / len(gram))
    solution: Tensor = torch.linalg.solve(gram, (weighted @ target).double())
    return solution.float()
