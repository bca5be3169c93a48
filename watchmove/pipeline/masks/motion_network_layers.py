"""The layers of the motion network: a U-Net (Ronneberger et al., MICCAI 2015) of about 100,000 weights, and its file.

It works at the working size, a quarter of the frame's. Torch is loaded with this module.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn import functional

from watchmove.pipeline.arrays import FloatArray
from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.files.atomic import replacing
from watchmove.pipeline.files.weights import save_tensors
from watchmove.pipeline.masks.motion_cues import CUES
from watchmove.pipeline.masks.motion_network_file import HEADER, VERSION, header_of
from watchmove.pipeline.networks.resnet import copy_checked

WIDTHS = (16, 32, 64)
"""Channels at the working size, a half and a quarter of it. Set by hand; not tuned."""

CHANNELS = len(CUES) + 3
"""The maps of motion, then L*, a* and b*."""

_FRAMES_PER_BATCH = 8
"""A bound on memory, not a tuned value."""


class MotionNetworkNetwork(nn.Module):
    """A U-Net with three levels and two convolutions at each; `generator` draws its first weights."""

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        fine, middle, coarse = WIDTHS
        self.fine, self.middle, self.coarse = _block(CHANNELS, fine), _block(fine, middle), _block(middle, coarse)
        self.up_middle, self.up_fine = _block(coarse + middle, middle), _block(middle + fine, fine)
        self.mask = nn.Conv2d(fine, 1, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (N, h, w) of inputs (N, 7, h, w) in [0, 1]; h and w are of any size."""
        height, width = inputs.shape[-2:]
        # sides are enlarged to multiples of 4, so that they can be halved twice
        padded = functional.pad(inputs - 0.5, (0, -width % 4, 0, -height % 4), mode="replicate")
        fine = self.fine(padded)
        middle = self.middle(functional.max_pool2d(fine, 2))
        coarse = self.coarse(functional.max_pool2d(middle, 2))
        middle = self.up_middle(torch.cat([middle, functional.interpolate(coarse, scale_factor=2.0)], dim=1))
        fine = self.up_fine(torch.cat([fine, functional.interpolate(middle, scale_factor=2.0)], dim=1))
        logits: Tensor = self.mask(fine)[:, 0, :height, :width]
        return logits

    @torch.inference_mode()
    def predict(self, labs: Sequence[NDArray[np.uint8]], cues: Sequence[FloatArray]) -> list[FloatArray]:
        """For each frame, the probability that a pixel belongs to a moving object: see `MotionNetwork.predict`."""
        found: list[FloatArray] = []
        for start in range(0, len(labs), _FRAMES_PER_BATCH):
            part = slice(start, start + _FRAMES_PER_BATCH)
            frames = [np.dstack([c, lab / np.float32(255)]) for c, lab in zip(cues[part], labs[part], strict=True)]
            # axes: (N, h, w, 7) -> (N, 7, h, w)
            inputs = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)
            found += list(torch.sigmoid(self(inputs)).numpy())
        return found


def _block(inputs: int, outputs: int) -> nn.Sequential:
    first, second = nn.Conv2d(inputs, outputs, 3, padding=1), nn.Conv2d(outputs, outputs, 3, padding=1)
    return nn.Sequential(first, nn.ReLU(), second, nn.ReLU())


def save_network(network: MotionNetworkNetwork, path: Path, metadata: Mapping[str, str | int]) -> None:
    """Write the weights, and `metadata` to the file's header; the same ones give the same bytes.

    Raises:
        Unavailable: writing failed, for example because the disk is full.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    with replacing(path) as temporary:
        save_tensors(tensors, temporary, {HEADER: json.dumps({**metadata, "version": VERSION}, sort_keys=True)})


def load_network(path: Path) -> MotionNetworkNetwork:
    """Read the network from a file that `save_network` wrote, in evaluation mode, on the CPU.

    Raises:
        InvalidInput: the file is not such a file, or a tensor is unknown, missing, of another shape or not finite.
    """
    header_of(path)
    network = MotionNetworkNetwork(torch.Generator())  # its random weights are overwritten
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        copy_checked(tensors, network.state_dict(), path)
    except (SafetensorError, OSError, InvalidInput) as error:
        raise InvalidInput(f"extract.motion_network: {error}") from error
    return network.eval()
