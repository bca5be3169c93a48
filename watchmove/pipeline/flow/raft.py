"""RAFT (Teed and Deng, ECCV 2020), torchvision's networks, with weights that the user supplies as a safetensors file.

Nothing is downloaded and nothing is unpickled. The file's tensors must be those of `raft_large` or of `raft_small`, by
name and shape, no more and no less. Files for it come from torchvision's state dicts by `safetensors.torch.save_file`.
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
_STRIDE = 8
_LEAST_SIDE = 128


class RaftFlow:
    """RAFT on one device, as a function of batches: grey (N, H, W) float32 in [0, 255] twice to fields (N, 2, H, W)."""

    def __init__(self, weights: Path, device: torch.device) -> None:
        """Raises InvalidInput where `weights` is missing, no safetensors file, or not of one of the two networks."""
        self._network = _load(weights).to(device).eval()

    @torch.inference_mode()
    def __call__(self, first: Tensor, second: Tensor) -> Tensor:
        """Flow (N, 2, H, W) float32 in pixels, x then y, that carries `first` onto `second`."""
        height, width = first.shape[-2:]
        below, right = _missing(height), _missing(width)
        pictures = torch.stack([first, second])
        padded = functional.pad(pictures / 127.5 - 1, (0, right, 0, below), mode="replicate")
        colour = padded[:, :, None].expand(-1, -1, 3, -1, -1)
        field: Tensor = self._network(colour[0], colour[1], num_flow_updates=_UPDATES)[-1]
        return field[..., :height, :width].float()


def _missing(side: int) -> int:
    """Pixels to add to `side` until the network's pyramid has room."""
    return max(_LEAST_SIDE, -(-side // _STRIDE) * _STRIDE) - side


def weights_sha256(path: Path) -> str:
    """SHA-256 of a weights file, in hexadecimal. Raises InvalidInput where it cannot be read."""
    try:
        return file_sha256(path)
    except OSError as error:
        raise InvalidInput(_line(path, error.strerror or "cannot be read")) from error


def _line(path: Path, what: str) -> str:
    return f"extraction.raft_weights ({path}): {what}; give torchvision's raft_large or raft_small as safetensors"


def _load(path: Path) -> nn.Module:
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise InvalidInput(_line(path, f"cannot be read ({error})")) from error
    networks: list[nn.Module] = [raft_large(weights=None), raft_small(weights=None)]
    fitting = [network for network in networks if network.state_dict().keys() == tensors.keys()]
    if not fitting:
        raise InvalidInput(_line(path, f"its {len(tensors)} tensors are not those of either network"))
    wrong = [name for name, own in fitting[0].state_dict().items() if own.shape != tensors[name].shape]
    if wrong:
        raise InvalidInput(_line(path, f"{wrong[0]} has shape {tuple(tensors[wrong[0]].shape)}"))
    infinite = [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]
    if infinite:
        raise InvalidInput(_line(path, f"{infinite[0]} holds numbers that are not finite"))
    fitting[0].load_state_dict(tensors)
    return fitting[0]
