"""The appearance model of a shot, in torch: the twin of `cpu.appearance`.

Random pixels, directions and biases are drawn by the functions of the CPU, in the same order; what is computed from
them is computed on the device.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from watchmove.pipeline.flow.torch_maps import gaussian_blur
from watchmove.pipeline.masks.cpu.appearance import (
    BLUR_SIGMA,
    CLASS_WEIGHT,
    COARSE_SIGMA,
    COARSE_WEIGHT,
    LAB_SCALE,
    LIGHTNESS_TEXTURE_WEIGHT,
    MIN_CLASS_FRACTION,
    POSITION_WEIGHT,
    PREDICTION_WEIGHT,
    RIDGE,
    SHARPENING_RANGE,
    FitOptions,
    draw_pixels,
    draw_units,
    inner_pixels,
)

_RGB_TO_XYZ = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
"""Linear RGB with the primaries of ITU-R BT.709 and white D65 to CIE XYZ; the digits are those of OpenCV."""

_WHITE = (0.950456, 1.0, 1.088754)
"""XYZ of D65: the sums of the rows of that matrix, with the digits of OpenCV."""


def lab_levels(images: Tensor) -> Tensor:
    """CIE L*a*b* (N, 3, H, W) of sRGB images (N, 3, H, W) in [0, 255]; L* in percent, a* and b* shifted by 128.

    The numbers are those of IEC 61966-2-1 (from sRGB to linear RGB) and CIE 1976 (from XYZ to L*a*b*); see Poynton,
    Digital Video and HD (2012), chapters 26 and 27.
    """
    srgb = images / 255
    linear = torch.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055).clamp(min=0).pow(2.4))
    # L*a*b* takes XYZ relative to the white point
    matrix = torch.tensor(_RGB_TO_XYZ, device=images.device) / torch.tensor(_WHITE, device=images.device)[:, None]
    xyz = torch.einsum("ij,njhw->nihw", matrix, linear)
    x, y, z = torch.where(xyz > 0.008856, xyz.clamp(min=0).pow(1 / 3), 7.787 * xyz + 16 / 116).unbind(1)
    return torch.stack([116 * y - 16, 500 * (x - y) + 128, 200 * (y - z) + 128], dim=1)


def pixel_features(images: Tensor) -> Tensor:
    """Appearance features (N, 14, h, w) of sRGB images (N, 3, h, w) in [0, 255], in the order of the CPU's."""
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
class AppearanceModel:
    """A regression on random units: directions (F, units), biases (units,) and fitted weights (units + 1,)."""

    directions: Tensor
    biases: Tensor
    weights: Tensor

    def predict(self, features: Tensor) -> Tensor:
        """Appearance similarity (N, h, w) in [0, 1] of features (N, F, h, w)."""
        scores = _unit_responses(features.movedim(1, -1), self.directions, self.biases) @ self.weights
        return scores.clamp(0, 1)


def _unit_responses(features: Tensor, directions: Tensor, biases: Tensor) -> Tensor:
    """Responses (..., units + 1) of the units to features (..., F); the last one is constant."""
    responses = torch.relu(features @ directions + biases)
    return torch.cat([responses, torch.ones_like(responses[..., :1])], dim=-1)


def fit_appearance(
    features: Tensor, evidence: Tensor, options: FitOptions, unit_count: int, generator: np.random.Generator
) -> AppearanceModel:
    """Fit an appearance model to evidence (N, h, w) in [0, 1] on random pixels of features (N, F, h, w).

    Pixels along the border count as background whatever their evidence, as on the CPU.
    """
    sample, observed = _sample_pixels(features, evidence, options.pixels_per_frame, generator)
    observed = ((observed - options.low) / (options.high - options.low)).clamp(0, 1)
    directions, biases = (
        torch.from_numpy(part).to(features.device) for part in draw_units(features.shape[1], unit_count, generator)
    )
    responses = _unit_responses(sample, directions, biases)
    return AppearanceModel(directions, biases, _fit_weights(responses, observed, options))


def _sample_pixels(
    features: Tensor, evidence: Tensor, per_frame: int, generator: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Features (N * per_frame, F) and evidence (N * per_frame,) of random pixels; evidence along the border is 0."""
    count, _, height, width = features.shape
    device = features.device
    frame = torch.arange(count, device=device)[:, None]
    drawn = np.stack(draw_pixels(height * width, count, per_frame, generator))
    pixels = torch.from_numpy(drawn).to(device)  # (frame, drawn)
    inner = torch.from_numpy(inner_pixels(height, width)).to(device).flatten()
    observed = torch.where(inner[pixels], evidence.flatten(1)[frame, pixels], 0).flatten()
    return features.flatten(2)[frame, :, pixels].flatten(0, 1), observed


def _fit_weights(responses: Tensor, observed: Tensor, options: FitOptions) -> Tensor:
    """Weights (units + 1,) after all rounds, from responses (N, units + 1) and targets (N,) in [0, 1]."""
    low, high = SHARPENING_RANGE
    target, weights = observed, torch.zeros_like(responses[0])
    for _ in range(options.rounds):
        weights = _balanced_ridge(responses, target, options.balance)
        prediction = (responses @ weights).clamp(0, 1)
        mixed = PREDICTION_WEIGHT * prediction + (1 - PREDICTION_WEIGHT) * observed
        target = ((mixed - low) / (high - low)).clamp(0, 1)
    return weights


def _balanced_ridge(responses: Tensor, target: Tensor, balance: float) -> Tensor:
    """Weights (units + 1,) of a ridge regression of `target` (N,) in [0, 1], with classes balanced as on the CPU."""
    fraction = target.mean().clamp(MIN_CLASS_FRACTION, 1 - MIN_CLASS_FRACTION)
    of_both = target * (CLASS_WEIGHT / fraction) + (1 - target) * (CLASS_WEIGHT / (1 - fraction))
    importance = of_both.pow(balance)
    # the complete weight on one side: unlike NumPy, torch has no faster product of a matrix with itself
    weighted = (responses * (importance / importance.mean())[:, None]).T
    gram = (weighted @ responses).double()
    gram.diagonal().add_(RIDGE * gram.trace() / len(gram))
    solution: Tensor = torch.linalg.solve(gram, (weighted @ target).double())
    return solution.float()
