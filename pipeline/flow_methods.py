"""The ways to find optical flow, one interface: batches of grey frame pairs in, batches of fields out.

`dis` is OpenCV's and runs on the CPU; `variational` needs no weights and runs in torch; `raft` runs in torch with
weights that the user supplies. "auto" takes `variational` on a GPU and `dis` elsewhere.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.errors import InvalidInput
from pipeline.flow import dense_flow
from pipeline.raft_flow import RaftFlow, weights_sha256
from pipeline.settings.extraction import ExtractionSettings
from pipeline.variational_flow import variational_flow

TensorFlowMethod = Callable[[Tensor, Tensor], Tensor]
"""From two batches (N, H, W) float32 grey in [0, 255] to fields (N, 2, H, W) float32 in pixels, on their device."""

_PAIRS_AT_ONCE = 16


class FlowMethod(Protocol):
    """A way to find flow between the frames of each of N pairs."""

    def __call__(self, first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Flow (N, H, W, 2) float32 in pixels, x then y, that carries `first` onto `second`, both (N, H, W) uint8."""


def chosen_device(settings: ExtractionSettings) -> torch.device:
    """Where extraction computes. Raises InvalidInput where the settings ask for a GPU and there is none."""
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise InvalidInput(
            "extraction.device (cuda): torch finds no GPU here; give the step a GPU and its driver, or set it to cpu"
        )
    return torch.device(settings.device)


def chosen_method(settings: ExtractionSettings) -> str:
    """Name of the method that the settings mean: dis, variational or raft."""
    if settings.flow == "auto":
        return "variational" if settings.device == "cuda" else "dis"
    return settings.flow


def flow_method(settings: ExtractionSettings) -> FlowMethod:
    """The method that the settings choose, on the device that they choose.

    Raises InvalidInput where there is no such device, or where RAFT's weights are missing or do not fit.
    """
    if chosen_method(settings) == "dis":
        return dis_flow
    method, device = tensor_flow_method(settings), chosen_device(settings)

    def between(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.float32]:
        pairs = zip(*(np.array_split(greys, _batches(len(greys))) for greys in (first, second)), strict=True)
        fields = [
            method(*(torch.from_numpy(greys).to(device).float() for greys in pair)).permute(0, 2, 3, 1).cpu().numpy()
            for pair in pairs
        ]
        return np.ascontiguousarray(np.concatenate(fields), np.float32)

    return between


def _batches(count: int) -> int:
    return max(1, -(-count // _PAIRS_AT_ONCE))


def dis_flow(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.float32]:
    """DIS between the pairs of two batches (N, H, W) uint8, one after the other: (N, H, W, 2) float32 in pixels."""
    return np.stack([dense_flow(one, other) for one, other in zip(first, second, strict=True)])


def tensor_flow_method(settings: ExtractionSettings) -> TensorFlowMethod:
    """The method that the settings choose, for batches that are on the device already. Raises as `flow_method`."""
    device = chosen_device(settings)
    match chosen_method(settings):
        case "dis":
            return _dis_of_tensors
        case "raft":
            return RaftFlow(Path(settings.raft_weights), device)
        case _:
            return variational_flow


def _dis_of_tensors(first: Tensor, second: Tensor) -> Tensor:
    greys = (np.asarray(one.round().byte().cpu().numpy(), np.uint8) for one in (first, second))
    return torch.from_numpy(dis_flow(*greys)).to(first.device).permute(0, 3, 1, 2)


def flow_provenance(settings: ExtractionSettings) -> dict[str, str]:
    """What made the flow, for the record: the method, and the SHA-256 of its weights where it has any.

    Raises InvalidInput where RAFT's weights cannot be read.
    """
    method = chosen_method(settings)
    if method != "raft":
        return {"flow": method}
    return {"flow": method, "raft_weights_sha256": weights_sha256(Path(settings.raft_weights))}
