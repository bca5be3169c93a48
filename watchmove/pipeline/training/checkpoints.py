"""Checkpoints of a training: weights and momenta as safetensors, and a JSON beside it that is written last.

Files are replaced in turn: those newest so far and, where checkpoints have a score, the best are left alone. The JSON
holds the sum of the weights' bytes: a checkpoint that was cut off, here or in a store, or whose two files are of two
writes, does not fit its sum and is passed over, and its place is the next to be written to.
Of the others the newest counts.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.files.atomic import replacing
from watchmove.pipeline.files.digest import file_sha256
from watchmove.pipeline.files.weights import save_tensors

SLOTS = 2
CHECKPOINT_NAMES = tuple(f"checkpoint-{slot}.safetensors" for slot in range(SLOTS))
_STATE, _MOMENTUM, _AVERAGE = "state.", "momentum.", "average."


@dataclass(frozen=True)
class Snapshot:
    """A training at one moment, apart from the one that goes on: tensors on the CPU, and how far it was, plain JSON.

    `history` has the number of steps done as `iteration`. Of higher `score` is better; None: not measured then.
    """

    tensors: dict[str, Tensor]
    history: dict[str, Any]
    identity: str
    score: float | None = None

    @property
    def iteration(self) -> int:
        """Steps done."""
        return int(self.history["iteration"])


@dataclass(frozen=True)
class _Record:
    """What a checkpoint's JSON holds."""

    weights: str
    size_bytes: int
    sha256: str
    identity: str
    iteration: int
    score: float | None
    history: dict[str, Any]


def snapshot_of(
    model: nn.Module,
    optimizer: torch.optim.SGD,
    history: dict[str, Any],
    identity: str,
    score: float | None = None,
    average: Mapping[str, Tensor] | None = None,
) -> Snapshot:
    """Copies of a model's state, SGD's momenta and, if there is one, the running average of the state."""
    tensors = {_STATE + name: _copy(tensor) for name, tensor in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        momentum = optimizer.state[parameter].get("momentum_buffer") if parameter.requires_grad else None
        if momentum is not None:
            tensors[_MOMENTUM + name] = _copy(momentum)
    tensors |= {_AVERAGE + name: _copy(tensor) for name, tensor in (average or {}).items()}
    # Through JSON, so that what goes on changes nothing of it.
    return Snapshot(tensors, json.loads(json.dumps(history)), identity, score)


def write_snapshot(directory: Path, snapshot: Snapshot, slots: int = SLOTS) -> Path:
    """Write over the oldest of `slots` checkpoints that is not the best; the file of the weights is returned.

    Raises:
        Unavailable: the disk refuses.
    """
    target = _place_to_write(directory, slots)
    with replacing(target) as temporary:
        save_tensors(snapshot.tensors, temporary)
        size_bytes, sha256 = temporary.stat().st_size, file_sha256(temporary)
    record = _Record(
        target.name, size_bytes, sha256, snapshot.identity, snapshot.iteration, snapshot.score, snapshot.history
    )
    with replacing(target.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(asdict(record), indent=1), encoding="utf-8")
    return target


def save_checkpoint(
    directory: Path, model: nn.Module, optimizer: torch.optim.SGD, history: dict[str, Any], identity: str
) -> Path:
    """Write a model's state, SGD's momenta and `history` at once. Raises Unavailable where the disk refuses."""
    return write_snapshot(directory, snapshot_of(model, optimizer, history, identity))


def load_checkpoint(
    directory: Path,
    model: nn.Module,
    optimizer: torch.optim.SGD,
    identity: str,
    average: Mapping[str, Tensor] | None = None,
) -> dict[str, Any] | None:
    """Put the newest whole checkpoint in place and return its history; None where none has ever been finished.

    Raises:
        InvalidInput: none of those there is whole, or the newest is of another training than `identity`.
    """
    records = sorted(directory.glob("checkpoint-*.json"))
    found = [record for path in records if (record := _read_record(path)) is not None]
    for record in sorted(found, key=lambda one: one.iteration, reverse=True):
        path = directory / record.weights
        if not _is_whole(record, path):
            continue
        if record.identity != identity:
            raise InvalidInput(f"{path}: of other settings or data; remove it to train from the start")
        _put_in_place(path, model, optimizer, average or {})
        _forget_torn(directory, found, record.iteration)
        return record.history
    if records:
        torn = records[0].with_suffix(".safetensors")
        raise InvalidInput(f"{torn}: not a checkpoint, and there is no other; remove both to train from the start")
    return None


def _place_to_write(directory: Path, slots: int) -> Path:
    """The first place with no checkpoint, else that of the oldest but the best."""
    paths = [directory / f"checkpoint-{slot}.safetensors" for slot in range(slots)]
    written: dict[Path, _Record] = {}
    for path in paths:
        record = _read_record(path.with_suffix(".json"))
        if record is None or not path.is_file() or path.stat().st_size != record.size_bytes:
            return path
        written[path] = record
    scores = {path: record.score for path, record in written.items() if record.score is not None}
    best = max(scores, key=lambda path: scores[path]) if scores else None
    return min((path for path in paths if path != best), key=lambda path: written[path].iteration)


def _read_record(path: Path) -> _Record | None:
    """What stands in a checkpoint's JSON; None where it is torn, or names a file that is not beside it."""
    try:
        record = _Record(**json.loads(path.read_text(encoding="utf-8")))
        fits = record.weights == path.with_suffix(".safetensors").name and record.iteration >= 0
    except (FileNotFoundError, NotADirectoryError, ValueError, TypeError, RecursionError):
        return None
    return record if fits else None


def _is_whole(record: _Record, path: Path) -> bool:
    return path.is_file() and path.stat().st_size == record.size_bytes and file_sha256(path) == record.sha256


def _forget_torn(directory: Path, records: Sequence[_Record], newest_whole: int) -> None:
    """Remove the records of checkpoints that were passed over: they are replaced before anything whole is."""
    for record in records:
        if record.iteration > newest_whole:
            (directory / record.weights).with_suffix(".json").unlink(missing_ok=True)


def _put_in_place(path: Path, model: nn.Module, optimizer: torch.optim.SGD, average: Mapping[str, Tensor]) -> None:
    tensors = load_file(path)
    state = {name.removeprefix(_STATE): tensor for name, tensor in tensors.items() if name.startswith(_STATE)}
    try:
        model.load_state_dict(state)
        for name, tensor in average.items():
            tensor.copy_(tensors[_AVERAGE + name])
    except (RuntimeError, KeyError) as error:
        raise InvalidInput(f"{path}: of another network; remove it to train from the start") from error
    for name, parameter in model.named_parameters():
        if _MOMENTUM + name in tensors:
            optimizer.state[parameter]["momentum_buffer"] = _like(parameter, tensors[_MOMENTUM + name])


def _copy(tensor: Tensor) -> Tensor:
    """A copy on the CPU, in the order of memory that safetensors writes."""
    return tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)


def _like(parameter: Tensor, values: Tensor) -> Tensor:
    """`values` on the parameter's device and in its order of memory, without which the fused SGD is slow or refuses."""
    return torch.empty_like(parameter, requires_grad=False).copy_(values)
