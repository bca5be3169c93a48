"""A mask network that predicts the same for every crop: a centred square, as large as objects are in crops."""

from pathlib import Path

import torch

from watchmove.pipeline.networks.alexnet import AlexNet
from watchmove.pipeline.pretraining.examples import TARGET_PIXELS
from watchmove.pipeline.pretraining.mask_network import MaskNetwork
from watchmove.pipeline.pretraining.mask_network_file import save_mask_network

MIDDLE = slice(round(TARGET_PIXELS * 0.215), round(TARGET_PIXELS * 0.785))


def save_centred_teacher(path: Path, certainty: float = 6.0) -> Path:
    """Write weights of zero, except for the mask's bias: `certainty` inside a centred square, else its negative."""
    network = MaskNetwork(AlexNet(), torch.Generator())
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        bias = torch.full((TARGET_PIXELS, TARGET_PIXELS), -certainty)
        bias[MIDDLE, MIDDLE] = certainty
        network.get_parameter("mask.bias").copy_(bias.flatten())
    save_mask_network(network, path, {})
    return path
