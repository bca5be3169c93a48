"""What the second watch says of frames that are on a device: its inputs, in torch."""

import torch
from torch import Tensor

from watchmove.pipeline.masks.device.appearance import lab_levels
from watchmove.pipeline.masks.second_watch_network import SecondWatchNetwork

_LIGHTNESS_LEVELS = 255 / 100
"""Levels of OpenCV's 8-bit L* for each percent; those of a* and b* have steps of 1."""


def predicted(network: SecondWatchNetwork, images: Tensor, cues: Tensor) -> Tensor:
    """Probabilities (N, h, w) of moving objects from images (N, 3, h, w) in [0, 255] and cues (N, 4, h, w)."""
    levels = lab_levels(images) * torch.tensor([_LIGHTNESS_LEVELS, 1, 1], device=images.device).view(3, 1, 1)
    return torch.sigmoid(network(torch.cat([cues, levels / 255], dim=1)))
