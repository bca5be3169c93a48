"""A motion network with drawn weights: it has learnt nothing, and what it says depends on all of its inputs."""

from pathlib import Path

import torch

from watchmove.pipeline.masks.motion_network_layers import MotionNetworkNetwork, save_network


def save_drawn_network(path: Path, seed: int = 0) -> Path:
    """Write the weights that a seed draws."""
    save_network(MotionNetworkNetwork(torch.Generator().manual_seed(seed)), path, {"dataset": "drawn"})
    return path
