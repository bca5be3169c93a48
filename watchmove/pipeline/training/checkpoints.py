"""Checkpoints of a training: weights and momenta as safetensors, and a JSON file with facts that is written last.

A training has a fixed number of slots for checkpoints. The oldest is replaced next, except that the one with the best
score, if checkpoints have scores, is kept. The JSON file holds the SHA-256 of the safetensors file. A checkpoint that
does not match it was interrupted while it was written or copied: it is ignored, and its slot is the next to be written.
A training resumes from the newest complete checkpoint. Checkpoints come from a store and are not trusted: nothing is
unpickled, and what no training can have written is refused by name.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.files.atomic import replacing
from watchmove.pipeline.files.digest import file_sha256
from watchmove.pipeline.files.weights import name_of_not_finite, save_tensors

SLOTS = 2
"""Number of slots unless a caller says otherwise: the least with which one is complete while the other is written."""
CHECKPOINT_NAMES = tuple(f"checkpoint-{slot}.safetensors" for slot in range(SLOTS))
_STATE, _MOMENTUM, _AVERAGE = "state.", "momentum.", "average."
_ADVICE = "remove it to train from the start"

History = TypeVar("History")


@dataclass(frozen=True)
class Snapshot:
    """Copy of a training's state at one step, which does not change while the training continues."""

    tensors: dict[str, Tensor]
    """Weights, momenta and the running average, on the CPU."""
    history: dict[str, Any]
    """Progress of the training, plain JSON; `iteration` is the number of steps done."""
    identity: str
    """Identity of the training (`training_identity`)."""
    score: float | None = None
    """Validation score, higher is better; None: not measured at this step."""

    @property
    def iteration(self) -> int:
        """Number of steps done."""
        return int(self.history["iteration"])


@dataclass(frozen=True)
class _Record:
    """Content of a checkpoint's JSON file."""

    weights: str
    size_bytes: int
    sha256: str
    identity: str
    iteration: int
    score: float | None
    history: dict[str, Any]
    written_at_unix_seconds: float = 0.0
    """0: not known, as of a checkpoint of an earlier version."""


def snapshot_of(
    model: nn.Module,
    optimizer: torch.optim.SGD,
    history: dict[str, Any],
    identity: str,
    score: float | None = None,
    average: Mapping[str, Tensor] | None = None,
) -> Snapshot:
    """Copy a model's state, SGD's momenta and, if there is one, the running average of the state."""
    tensors = {_STATE + name: _copy(tensor) for name, tensor in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        # state is a defaultdict: a look-up would add an entry for a frozen parameter, which SGD does not have
        momentum = optimizer.state[parameter].get("momentum_buffer") if parameter.requires_grad else None
        if momentum is not None:
            tensors[_MOMENTUM + name] = _copy(momentum)
    tensors |= {_AVERAGE + name: _copy(tensor) for name, tensor in (average or {}).items()}
    # Through JSON for a deep copy: the training appends to its history while the snapshot is written.
    return Snapshot(tensors, json.loads(json.dumps(history)), identity, score)


def write_snapshot(directory: Path, snapshot: Snapshot, slots: int = SLOTS) -> Path:
    """Replace the oldest of `slots` checkpoints that is not the best; return the path of the safetensors file.

    Raises:
        InvalidInput: the folder cannot be written to.
        Unavailable: writing failed for another reason, such as a full disk.
    """
    target = _slot_to_write(directory, slots)
    with replacing(target) as temporary:
        save_tensors(snapshot.tensors, temporary)
        size_bytes, sha256 = temporary.stat().st_size, file_sha256(temporary)
    facts = (snapshot.identity, snapshot.iteration, snapshot.score, snapshot.history)
    record = _Record(target.name, size_bytes, sha256, *facts, written_at_unix_seconds=time.time())
    # if the process is killed before this, the old record does not match: the slot counts as incomplete
    with replacing(target.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(asdict(record), indent=1), encoding="utf-8")
    return target


def save_checkpoint(
    directory: Path, model: nn.Module, optimizer: torch.optim.SGD, history: dict[str, Any], identity: str
) -> Path:
    """Write a model's state, SGD's momenta and `history`. Raises InvalidInput and Unavailable as `write_snapshot`."""
    return write_snapshot(directory, snapshot_of(model, optimizer, history, identity))


def load_checkpoint(
    directory: Path,
    model: nn.Module,
    optimizer: torch.optim.SGD,
    identity: str,
    kind: type[History],
    average: Mapping[str, Tensor] | None = None,
) -> History | None:
    """Load the newest complete checkpoint into a model, its optimizer and `average`, and return its history.

    `kind` is the history's type, a dataclass whose fields are plain JSON. Returns None if the folder has no checkpoint.

    Raises:
        InvalidInput: no checkpoint in the folder is complete, or the newest is of another training than `identity`, or
            holds what no training can have written.
    """
    records = sorted(directory.glob("checkpoint-*.json"))
    found = [record for path in records if (record := _read_record(path)) is not None]
    for record in sorted(found, key=lambda record: record.iteration, reverse=True):
        path = directory / record.weights
        if not _is_complete(record, path):
            continue
        if record.identity != identity:
            # not a fresh start, which would overwrite the checkpoints of the other training
            raise InvalidInput(f"{path}: of other settings or data; {_ADVICE}")
        history = _history_of(record, path, kind)
        _load_tensors(path, model, optimizer, average or {})
        _remove_incomplete(directory, found, record.iteration)
        return history
    if records:
        incomplete = records[0].with_suffix(".safetensors")
        raise InvalidInput(
            f"{incomplete}: not a checkpoint, and there is no other; remove both to train from the start"
        )
    return None


def _slot_to_write(directory: Path, slots: int) -> Path:
    """Return the first slot without a checkpoint, else that of the oldest checkpoint except the best."""
    paths = [directory / f"checkpoint-{slot}.safetensors" for slot in range(slots)]
    written: dict[Path, _Record] = {}
    for path in paths:
        record = _read_record(path.with_suffix(".json"))
        # by size only: a hash of every slot before every write would read all checkpoints
        if record is None or not path.is_file() or path.stat().st_size != record.size_bytes:
            return path
        written[path] = record
    scores = {path: record.score for path, record in written.items() if record.score is not None}
    best = max(scores, key=lambda path: scores[path]) if scores else None
    return min((path for path in paths if path != best), key=lambda path: written[path].iteration)


def _read_record(path: Path) -> _Record | None:
    """Read a checkpoint's JSON file; None if it is incomplete or names a safetensors file other than its own."""
    try:
        record = TypeAdapter(_Record).validate_json(path.read_bytes())
    # a damaged file may parse as JSON of any shape, so the record may lack fields or have wrong types
    except (FileNotFoundError, NotADirectoryError, ValidationError):
        return None
    fits = record.weights == path.with_suffix(".safetensors").name and record.iteration >= 0
    return record if fits else None


def _is_complete(record: _Record, path: Path) -> bool:
    # The size first: it spares reading a file of some hundred megabytes that cannot match.
    return path.is_file() and path.stat().st_size == record.size_bytes and file_sha256(path) == record.sha256


def _remove_incomplete(directory: Path, records: Sequence[_Record], newest_complete: int) -> None:
    """Remove the JSON files of incomplete checkpoints, so that their slots are written before any complete one."""
    for record in records:
        if record.iteration > newest_complete:
            (directory / record.weights).with_suffix(".json").unlink(missing_ok=True)


def _history_of(record: _Record, path: Path, kind: type[History]) -> History:
    """The history of a checkpoint; raises InvalidInput if it is none, or is of another step than the checkpoint."""
    if record.history.get("iteration") != record.iteration:
        raise InvalidInput(f"{path}: its history is not that of step {record.iteration}; {_ADVICE}")
    try:
        return TypeAdapter(kind).validate_python(record.history)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise InvalidInput(f"{path}: no history of a training ({where}: {first['msg']}); {_ADVICE}") from error


def _load_tensors(path: Path, model: nn.Module, optimizer: torch.optim.SGD, average: Mapping[str, Tensor]) -> None:
    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise InvalidInput(f"{path}: not a safetensors file ({error}); {_ADVICE}") from error
    if (name := name_of_not_finite(tensors)) is not None:
        raise InvalidInput(f"{path}: {name} is not finite, and training cannot go on from it; {_ADVICE}")
    state = {name.removeprefix(_STATE): tensor for name, tensor in tensors.items() if name.startswith(_STATE)}
    try:
        model.load_state_dict(state)
        for name, tensor in average.items():
            tensor.copy_(tensors[_AVERAGE + name])
        for name, parameter in model.named_parameters():
            # there are none before the first step, nor for frozen parameters
            if _MOMENTUM + name in tensors:
                optimizer.state[parameter]["momentum_buffer"] = _in_layout_of(parameter, tensors[_MOMENTUM + name])
    except (RuntimeError, KeyError) as error:
        raise InvalidInput(f"{path}: of another network; {_ADVICE}") from error


def _copy(tensor: Tensor) -> Tensor:
    """Copy a tensor to the CPU in the contiguous memory layout that safetensors requires."""
    # without copy=True a tensor on the CPU would be returned itself, which training changes
    return tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)


def _in_layout_of(parameter: Tensor, values: Tensor) -> Tensor:
    """Copy `values` to a parameter's device and memory layout, without which fused SGD is slow or raises an error."""
    return torch.empty_like(parameter, requires_grad=False).copy_(values)
