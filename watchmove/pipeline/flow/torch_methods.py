"""Flow methods that run in torch, for batches of frame pairs on a device.

`variational` needs no weights; `raft` takes weights that the user supplies.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.flow.dis import FlowMethod
from watchmove.pipeline.flow.raft import RaftFlow
from watchmove.pipeline.flow.variational import variational_flow
from watchmove.pipeline.settings.extraction import ExtractionSettings

TensorFlowMethod = Callable[[Tensor, Tensor], Tensor]
"""From two batches (N, H, W) float32 grey in [0, 255] to fields (N, 2, H, W) float32 in pixels, on their device."""


def chosen_device(settings: ExtractionSettings) -> torch.device:
    """Return the device for torch. Raises InvalidInput where the settings ask for a GPU and there is none."""
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise InvalidInput(
            "extract.device (cuda): torch finds no GPU here; give the step a GPU and its driver, or set it to cpu"
        )
    return torch.device("cuda" if settings.device == "cuda" else "cpu")


def tensor_flow_method(settings: ExtractionSettings) -> TensorFlowMethod:
    """Return RAFT or the variational method, as the settings choose, for tensors on the device that they choose.

    Raises InvalidInput where the device is missing, or where RAFT's weights are missing or do not fit.
    """
    device = chosen_device(settings)
    return RaftFlow(Path(settings.raft_weights), device) if settings.flow == "raft" else variational_flow


def torch_flow_method(settings: ExtractionSettings) -> FlowMethod:
    """Return RAFT or the variational method for NumPy arrays, which are copied to the device and back.

    Raises InvalidInput as `tensor_flow_method` does.
    """
    device = chosen_device(settings)
    method = tensor_flow_method(settings)

    def between(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.float32]:
        fields = method(*(torch.from_numpy(greys).to(device).float() for greys in (first, second)))
        return np.ascontiguousarray(fields.permute(0, 2, 3, 1).cpu().numpy(), np.float32)

    return between
