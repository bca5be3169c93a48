"""The file of a complete mask network: trunk and head as safetensors, with a header from which it is built again."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.files.atomic import replacing
from watchmove.pipeline.files.weights import save_tensors
from watchmove.pipeline.networks.alexnet import CHANNEL_MEAN, CHANNEL_STD, AlexNet
from watchmove.pipeline.networks.alexnet_shape import SHAPES
from watchmove.pipeline.networks.choice import input_pixels_of, kind_of
from watchmove.pipeline.networks.resnet import RESNETS, ResNetTrunk, copy_checked
from watchmove.pipeline.pretraining.mask_network import MaskNetwork
from watchmove.pipeline.settings.pretraining import PRETRAINING_VERSION

MASK_NETWORK_NAME = "mask_network.safetensors"

_FORMAT = "watchmove mask network"


def save_mask_network(network: MaskNetwork, path: Path, metadata: Mapping[str, str]) -> None:
    """Write trunk.conv1.weight … mask.bias, AlexNet's normalisation folded in, and `metadata` to the header.

    The header's `network` is JSON: trunk, input_pixels, channel_mean and channel_std in [0, 1], pretraining_version.

    Raises:
        Unavailable: writing failed, for example because the disk is full.
    """
    trunk = network.trunk.folded() if isinstance(network.trunk, AlexNet) else network.trunk
    tensors = {f"trunk.{name}": tensor for name, tensor in trunk.state_dict().items()}
    tensors |= {f"mask.{name}": tensor for name, tensor in network.mask.state_dict().items()}
    description = {
        "trunk": kind_of(trunk),
        "pretraining_version": PRETRAINING_VERSION,
        **_input_description(kind_of(trunk)),
    }
    header = {**metadata, "format": _FORMAT, "network": json.dumps(description, sort_keys=True)}
    with replacing(path) as temporary:
        save_tensors({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, temporary, header)


def load_mask_network(path: Path) -> MaskNetwork:
    """Read the network from a file that `save_mask_network` wrote, in evaluation mode, on the CPU.

    Raises:
        InvalidInput: the file is not such a file, its network takes another input, or a tensor is unknown, missing, of
            another shape or not finite.
    """
    try:
        with safe_open(path, "pt") as file:
            kind = _kind_in(path, file.metadata() or {})
            trunk = AlexNet(SHAPES[kind]) if kind in SHAPES else ResNetTrunk(kind)
            network = MaskNetwork(trunk, torch.Generator())  # its random weights are overwritten
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
            copy_checked(tensors, network.state_dict(), path)
    except (SafetensorError, OSError) as error:
        raise InvalidInput(f"{path}: not a safetensors file ({error}); give what pretraining wrote") from error
    return network.eval()


def _input_description(trunk: str) -> dict[str, object]:
    """Return size and normalisation of the input that this code gives to a network on a trunk."""
    return {
        "input_pixels": input_pixels_of(trunk),
        "channel_mean": list(CHANNEL_MEAN),
        "channel_std": list(CHANNEL_STD),
    }


def _kind_in(path: Path, metadata: Mapping[str, str]) -> str:
    """Return the trunk's name. Raises InvalidInput if the header names an unknown trunk or another input."""
    # The values come from a file and are repeated in messages, hence the limits on their length.
    instead = f"give the {MASK_NETWORK_NAME} that pretraining wrote"
    try:
        description = json.loads(metadata.get("network", ""))
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{path}: is not a mask network; {instead}") from error
    if metadata.get("format") != _FORMAT or not isinstance(description, dict):
        raise InvalidInput(f"{path}: is not a mask network; {instead}")
    kind, known = str(description.get("trunk"))[:60], (*SHAPES, *RESNETS)
    if kind not in known:
        raise InvalidInput(f"{path}: its trunk is {kind}, not one of {', '.join(known)}; {instead}")
    for name, wanted in _input_description(kind).items():
        if description.get(name) != wanted:
            raise InvalidInput(f"{path}: its {name} is {str(description.get(name))[:60]}, not {wanted}; {instead}")
    return kind
