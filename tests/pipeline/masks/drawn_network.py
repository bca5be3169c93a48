"""Motion networks that have learnt nothing: one with drawn weights, and one that says what is bright."""

from pathlib import Path

import torch

from watchmove.pipeline.masks.motion_network_layers import MotionNetworkNetwork, save_network


def save_drawn_network(path: Path, seed: int = 0) -> Path:
    """Write the weights that a seed draws."""
    save_network(MotionNetworkNetwork(torch.Generator().manual_seed(seed)), path, {"dataset": "drawn"})
    return path


def save_network_of_bright_pixels(path: Path) -> Path:
    """Write weights by which pixels with an L* above 60 % belong to moving objects, whatever else is seen."""
    network = MotionNetworkNetwork(torch.Generator())
    lightness = 4  # after the maps of motion
    # not copies: what is written here is written to the network
    weights = network.state_dict()
    for tensor in weights.values():
        tensor.zero_()
    # passed on through the finest level, where inputs are L* - 0.5
    weights["fine.0.weight"][0, lightness, 1, 1] = 1.0
    for layer in ("fine.2", "up_fine.0", "up_fine.2"):
        weights[f"{layer}.weight"][0, 0, 1, 1] = 1.0
    weights["mask.weight"][0, 0], weights["mask.bias"][0] = 60.0, -6.0
    save_network(network, path, {"dataset": "bright"})
    return path
