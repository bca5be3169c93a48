"""Motion evidence with the share of the motion network, in torch: the twin of `masks.motion_network.mixed_evidence`."""

import torch
from torch import Tensor

from watchmove.pipeline.masks.device.appearance import lab_levels
from watchmove.pipeline.masks.motion_network_layers import MotionNetworkNetwork

_LIGHTNESS_LEVELS = 255 / 100
"""Levels of OpenCV's 8-bit L* for each percent; those of a* and b* have steps of 1."""


def mixed_evidence(cues: Tensor, images: Tensor, network: MotionNetworkNetwork, share: float) -> Tensor:
    """Motion evidence (N, h, w), the last of the cues (N, 4, h, w), averaged with what the network says.

    images: (N, 3, h, w) in [0, 255]; share: the weight of the network.
    """
    levels = lab_levels(images) * torch.tensor([_LIGHTNESS_LEVELS, 1, 1], device=images.device).view(3, 1, 1)
    said = torch.sigmoid(network(torch.cat([cues, levels / 255], dim=1)))
    return torch.lerp(cues[:, -1], said, share)
