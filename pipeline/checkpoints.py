"""Checkpoints of a training: safetensors files with weights, momenta and how far it was, each whole or not there.

The last two are kept, in two files that are replaced in turn. Of those that can be read, the newest counts.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from pipeline.atomic_file import replacing
from pipeline.errors import InvalidInput

CHECKPOINT_NAMES = ("checkpoint-0.safetensors", "checkpoint-1.safetensors")
_STATE, _MOMENTUM = "state.", "momentum."


class _Checkpoint(NamedTuple):
    path: Path
    iteration: int
    identity: str
    history: dict[str, Any]


def save_checkpoint(
    directory: Path, model: nn.Module, optimizer: torch.optim.SGD, history: dict[str, Any], identity: str
) -> Path:
    """Write a model's state, SGD's momenta and `history` over the older checkpoint, and return the file.

    `history` is plain JSON with the number of steps done as `iteration`. Raises Unavailable where the disk refuses.
    """
    tensors = {_STATE + name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        momentum = optimizer.state[parameter].get("momentum_buffer") if parameter.requires_grad else None
        if momentum is not None:
            tensors[_MOMENTUM + name] = momentum.cpu().contiguous()
    there = {one.path: one.iteration for one in _readable(directory)}
    target = min((directory / name for name in CHECKPOINT_NAMES), key=lambda path: there.get(path, -1))
    with replacing(target) as temporary:
        save_file(tensors, temporary, {"identity": identity, "history": json.dumps(history)})
    return target


def load_checkpoint(
    directory: Path, model: nn.Module, optimizer: torch.optim.SGD, identity: str
) -> dict[str, Any] | None:
    """Put the newest readable checkpoint in place and return its history; None where there has been none.

    Raises:
        InvalidInput: none of the files there can be read, or the newest is of another training than `identity`.
    """
    found = _readable(directory)
    if not found:
        torn = [path for path in (directory / name for name in CHECKPOINT_NAMES) if path.is_file()]
        if torn:
            raise InvalidInput(f"{torn[0]}: not a checkpoint, and there is no other; remove it to train from the start")
        return None
    newest = max(found, key=lambda one: one.iteration)
    if newest.identity != identity:
        raise InvalidInput(f"{newest.path}: of other settings or data; remove it to train from the start")
    _put_in_place(newest.path, model, optimizer)
    return newest.history


def _readable(directory: Path) -> list[_Checkpoint]:
    """Checkpoints whose file is whole (safetensors' header says how long it must be); torn ones are passed over."""
    found = []
    for path in (directory / name for name in CHECKPOINT_NAMES):
        try:
            with safe_open(path, "pt") as file:
                metadata = file.metadata() or {}
            history = json.loads(metadata["history"])
            found.append(_Checkpoint(path, history["iteration"], metadata["identity"], history))
        except (SafetensorError, FileNotFoundError, KeyError, ValueError):
            continue
    return found


def _put_in_place(path: Path, model: nn.Module, optimizer: torch.optim.SGD) -> None:
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    state = {name.removeprefix(_STATE): tensor for name, tensor in tensors.items() if name.startswith(_STATE)}
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise InvalidInput(f"{path}: of another network; remove it to train from the start") from error
    for name, parameter in model.named_parameters():
        if _MOMENTUM + name in tensors:
            optimizer.state[parameter]["momentum_buffer"] = _like(parameter, tensors[_MOMENTUM + name])


def _like(parameter: Tensor, values: Tensor) -> Tensor:
    """`values` on the parameter's device and in its order of memory, without which the fused SGD is slow or refuses."""
    return torch.empty_like(parameter, requires_grad=False).copy_(values)
