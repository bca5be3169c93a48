"""Checkpoints of a training: one safetensors file with weights, momenta and how far it was, whole or not there."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from pipeline.atomic_file import replacing
from pipeline.errors import InvalidInput

_STATE, _MOMENTUM = "state.", "momentum."


def save_checkpoint(
    path: Path, model: nn.Module, optimizer: torch.optim.SGD, history: dict[str, Any], identity: str
) -> None:
    """Write a model's state, SGD's momenta and `history` (plain JSON). Raises Unavailable where the disk refuses."""
    tensors = {_STATE + name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        momentum = optimizer.state[parameter].get("momentum_buffer") if parameter.requires_grad else None
        if momentum is not None:
            tensors[_MOMENTUM + name] = momentum.cpu().contiguous()
    with replacing(path) as temporary:
        save_file(tensors, temporary, {"identity": identity, "history": json.dumps(history)})


def load_checkpoint(path: Path, model: nn.Module, optimizer: torch.optim.SGD, identity: str) -> dict[str, Any] | None:
    """Put a checkpoint's state and momenta in place and return its history; None where there is no checkpoint.

    Raises:
        InvalidInput: the file cannot be read, or is of another training than `identity`.
    """
    if not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except SafetensorError as error:
        raise InvalidInput(f"{path}: not a checkpoint ({error}); remove it to train from the start") from error
    if metadata.get("identity") != identity:
        raise InvalidInput(f"{path}: of other settings or data; remove it to train from the start")
    state = {name.removeprefix(_STATE): tensor for name, tensor in tensors.items() if name.startswith(_STATE)}
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise InvalidInput(f"{path}: of another network; remove it to train from the start") from error
    for name, parameter in model.named_parameters():
        if _MOMENTUM + name in tensors:
            optimizer.state[parameter]["momentum_buffer"] = tensors[_MOMENTUM + name].to(parameter.device)
    history: dict[str, Any] = json.loads(metadata["history"])
    return history
