"""RAFT (Teed and Deng, ECCV 2020) by torchvision's networks, with weights that the user supplies as a safetensors file.

Nothing is downloaded and nothing is unpickled. The tensors of the file must be exactly those of `raft_large` or of
`raft_small`, by name and shape. `safetensors.torch.save_file` makes such a file from a state dict of torchvision.
"""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.optical_flow import raft_large, raft_small

from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.files.digest import file_sha256

_UPDATES = 12
"""Recurrent updates of the field: torchvision's default."""

_STRIDE = 8
"""Both sides of an image must be multiples of the network's stride."""

_MIN_SIDE = 128
"""Least side of an image, at which the coarsest of the four levels of correlations still has two pixels."""

_HALF_RANGE = 127.5
"""Half of the range of 8 bits; the network takes values in [-1, 1]."""


class RaftFlow:
    """RAFT on one device, as a function from two batches of grey frames to a batch of fields."""

    def __init__(self, weights: Path, device: torch.device) -> None:
        """Raises InvalidInput where `weights` is missing, is no safetensors file, or fits neither network."""
        self._network = _load(weights).to(device).eval()

    @torch.inference_mode()
    def __call__(self, first: Tensor, second: Tensor) -> Tensor:
        """Compute flow (N, 2, H, W) float32 in pixels, x then y, from `first` to `second`.

        Both are (N, H, W) float32 grey in [0, 255], on the device of the network.
        """
        height, width = first.shape[-2:]
        below, right = _padding(height), _padding(width)
        images = torch.stack([first, second])
        # border values are repeated, because constant padding would be an edge that never moves
        padded = functional.pad(images / _HALF_RANGE - 1, (0, right, 0, below), mode="replicate")
        # the network takes colour, whereas all flow methods share an interface of grey frames
        colour = padded[:, :, None].expand(-1, -1, 3, -1, -1)
        field: Tensor = self._network(colour[0], colour[1], num_flow_updates=_UPDATES)[-1]
        # padding is only below and to the right, so cutting it off moves no pixel
        return field[..., :height, :width].float()


def _padding(side: int) -> int:
    """Pixels to add to `side`, so that the network can take it."""
    return max(_MIN_SIDE, -(-side // _STRIDE) * _STRIDE) - side


def weights_sha256(path: Path) -> str:
    """SHA-256 of a weights file, in hexadecimal. Raises InvalidInput where it cannot be read."""
    try:
        return file_sha256(path)
    except OSError as error:
        raise InvalidInput(_message(path, error.strerror or "cannot be read")) from error


def _message(path: Path, what: str) -> str:
    return f"extract.raft_weights ({path}): {what}; give torchvision's raft_large or raft_small as safetensors"


def _load(path: Path) -> nn.Module:
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise InvalidInput(_message(path, f"cannot be read ({error})")) from error
    networks: list[nn.Module] = [raft_large(weights=None), raft_small(weights=None)]
    # load_state_dict would find the same faults, but its message has many lines
    fitting = [network for network in networks if network.state_dict().keys() == tensors.keys()]
    if not fitting:
        raise InvalidInput(_message(path, f"its {len(tensors)} tensors are not those of either network"))
    misshapen = [name for name, expected in fitting[0].state_dict().items() if expected.shape != tensors[name].shape]
    if misshapen:
        shape = tuple(tensors[misshapen[0]].shape)
        raise InvalidInput(_message(path, f"{misshapen[0]} has shape {shape}, which is not the network's"))
    # NaN in a weight would give a flow of NaN without an error
    infinite = [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]
    if infinite:
        raise InvalidInput(_message(path, f"{infinite[0]} holds numbers that are not finite"))
    fitting[0].load_state_dict(tensors)
    return fitting[0]
