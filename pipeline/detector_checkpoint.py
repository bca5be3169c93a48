"""Checkpoints of the detector's training: one safetensors file with weights, momenta and how far it was."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from pipeline.atomic_file import replacing
from pipeline.errors import InvalidInput
from pipeline.fast_rcnn import FastRCNN
from pipeline.settings.evaluation import EvaluationSettings

CHECKPOINT_NAME = "detector.safetensors"
_WEIGHT, _MOMENTUM = "weight.", "momentum."


@dataclass
class History:
    """How far a training is."""

    iteration: int = 0
    """Steps done."""
    curve: list[tuple[int, float]] = field(default_factory=list)
    """Iteration and mean loss since the point before."""
    pending: list[float] = field(default_factory=list)
    """Losses since the last point."""


def training_identity(settings: EvaluationSettings, classes: Sequence[str], image_ids: Sequence[str]) -> str:
    """What two trainings must share for one to continue the other."""
    what = [settings.model_dump(mode="json"), list(classes), list(image_ids)]
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]


def save_checkpoint(
    directory: Path, model: FastRCNN, optimizer: torch.optim.SGD, history: History, identity: str
) -> None:
    """Write a checkpoint, whole or not at all. Raises Unavailable where the disk refuses."""
    tensors = {_WEIGHT + name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        momentum = optimizer.state[parameter].get("momentum_buffer") if parameter.requires_grad else None
        if momentum is not None:
            tensors[_MOMENTUM + name] = momentum.cpu()
    metadata = {"identity": identity, "history": json.dumps(vars(history))}
    with replacing(directory / CHECKPOINT_NAME) as path:
        save_file(tensors, path, metadata)


def load_checkpoint(directory: Path, model: FastRCNN, optimizer: torch.optim.SGD, identity: str) -> History:
    """Put a checkpoint's weights and momenta in place and say how far it was; a new history where there is none.

    Raises InvalidInput where the file cannot be read or is of another training.
    """
    path = directory / CHECKPOINT_NAME
    if not path.is_file():
        return History()
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except SafetensorError as error:
        raise InvalidInput(f"{path}: not a checkpoint ({error}); remove it to train from the start") from error
    if metadata.get("identity") != identity:
        raise InvalidInput(f"{path}: of other settings, classes or images; remove it or name another folder")
    model.load_state_dict(
        {name[len(_WEIGHT) :]: tensor for name, tensor in tensors.items() if name.startswith(_WEIGHT)}
    )
    for name, parameter in model.named_parameters():
        if _MOMENTUM + name in tensors:
            optimizer.state[parameter]["momentum_buffer"] = tensors[_MOMENTUM + name].to(parameter.device)
    saved = json.loads(metadata["history"])
    return History(saved["iteration"], [(at, loss) for at, loss in saved["curve"]], saved["pending"])
