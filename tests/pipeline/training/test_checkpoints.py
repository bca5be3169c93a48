"""Checkpoints: what is saved is loaded again, two are kept, incomplete ones are ignored, impossible ones refused."""

import hashlib
import json
import math
import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.training.checkpoints import CHECKPOINT_NAMES, load_checkpoint, save_checkpoint

IDENTITY = "these settings, these frames"


@dataclass
class History:
    """What the tests keep with a checkpoint."""

    iteration: int
    losses: list[float] = field(default_factory=list)


def model_and_optimizer(seed: int, steps: int = 0) -> tuple[nn.Module, torch.optim.SGD]:
    """A convolution in channels-last order with a normalisation, trained for some steps; the bias is frozen."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6))
    model.to(memory_format=torch.channels_last)
    model[0].bias.requires_grad_(False)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1, momentum=0.9, fused=True)
    train(model, optimizer, steps)
    return model, optimizer


def train(model: nn.Module, optimizer: torch.optim.SGD, steps: int) -> None:
    """Steps on inputs that are the same every time."""
    for step in range(steps):
        optimizer.zero_grad()
        generator = torch.Generator().manual_seed(step)
        model(torch.randn((2, 4, 8, 8), generator=generator)).sigmoid().mean().backward()
        optimizer.step()


def test_there_is_nothing_to_load_at_first(tmp_path: Path) -> None:
    """An empty folder, or none, is a training that has not begun."""
    assert load_checkpoint(tmp_path / "none", *model_and_optimizer(0), IDENTITY, History) is None


def test_weights_statistics_momenta_and_history_come_back(tmp_path: Path) -> None:
    """Another model that loads the checkpoint goes on to the very same weights."""
    model, optimizer = model_and_optimizer(0, steps=3)
    save_checkpoint(tmp_path, model, optimizer, {"iteration": 3, "losses": [0.5, math.inf]}, IDENTITY)
    other, other_optimizer = model_and_optimizer(1)
    history = load_checkpoint(tmp_path, other, other_optimizer, IDENTITY, History)
    for one, its in ((model, optimizer), (other, other_optimizer)):
        train(one, its, 2)

    assert history == History(3, [0.5, math.inf])
    for name, tensor in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor), name


def test_the_last_two_are_kept(tmp_path: Path) -> None:
    """Each replaces the older one, so a folder never grows and the one before the last is always there."""
    model, optimizer = model_and_optimizer(0, steps=1)
    files = [save_checkpoint(tmp_path, model, optimizer, {"iteration": n}, IDENTITY).name for n in (1, 2, 3, 4)]

    assert files == [*CHECKPOINT_NAMES, *CHECKPOINT_NAMES]
    assert sorted(path.name for path in tmp_path.glob("*.safetensors")) == sorted(CHECKPOINT_NAMES)
    assert load_checkpoint(tmp_path, model, optimizer, IDENTITY, History) == History(4)


@pytest.mark.parametrize("kept_bytes", [0, 4, 100, -1])
def test_a_torn_checkpoint_is_passed_over(tmp_path: Path, kept_bytes: int) -> None:
    """Cut anywhere, the newest gives way to the one before, and is the next to be replaced."""
    model, optimizer = model_and_optimizer(0, steps=1)
    save_checkpoint(tmp_path, model, optimizer, {"iteration": 1}, IDENTITY)
    newest = save_checkpoint(tmp_path, model, optimizer, {"iteration": 2}, IDENTITY)
    newest.write_bytes(newest.read_bytes()[:kept_bytes])

    assert load_checkpoint(tmp_path, model, optimizer, IDENTITY, History) == History(1)
    assert save_checkpoint(tmp_path, model, optimizer, {"iteration": 2}, IDENTITY) == newest


def test_where_none_can_be_read_training_does_not_silently_start_over(tmp_path: Path) -> None:
    """The file is named, and what would do."""
    model, optimizer = model_and_optimizer(0)
    save_checkpoint(tmp_path, model, optimizer, {"iteration": 1}, IDENTITY).write_bytes(b"nothing of the kind")

    with pytest.raises(InvalidInput, match=rf"{CHECKPOINT_NAMES[0]}: .* remove both to train from the start"):
        load_checkpoint(tmp_path, *model_and_optimizer(0), IDENTITY, History)


def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    """Other settings or frames: going on would mix two trainings."""
    model, optimizer = model_and_optimizer(0)
    save_checkpoint(tmp_path, model, optimizer, {"iteration": 1}, "others")

    with pytest.raises(InvalidInput, match="of other settings or data"):
        load_checkpoint(tmp_path, model, optimizer, IDENTITY, History)


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    """The same identity with other layers is a change of the code."""
    model, optimizer = model_and_optimizer(0)
    save_checkpoint(tmp_path, model, optimizer, {"iteration": 1}, IDENTITY)
    other = nn.Linear(2, 2)

    with pytest.raises(InvalidInput, match="of another network"):
        load_checkpoint(tmp_path, other, torch.optim.SGD(other.parameters()), IDENTITY, History)


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    """A folder that cannot be written, here because a file has its name, is reported."""
    model, optimizer = model_and_optimizer(0)
    (tmp_path / "folder").write_bytes(b"mine")

    with pytest.raises(InvalidInput, match="checkpoint-0"):
        save_checkpoint(tmp_path / "folder", model, optimizer, {"iteration": 1}, IDENTITY)

    assert (tmp_path / "folder").read_bytes() == b"mine"


Tensors = dict[str, Tensor]
Record = dict[str, Any]


def _pickled(tensors: Tensors, _: Record) -> bytes:
    return pickle.dumps(list(tensors)) * 10


def _nan(tensors: Tensors, _: Record) -> bytes:
    tensors["state.0.weight"][0] = math.nan
    return save(tensors)


def _other_momentum(tensors: Tensors, _: Record) -> bytes:
    tensors["momentum.0.weight"] = torch.zeros(5)
    return save(tensors)


def _history(**changes: object) -> Callable[[Tensors, Record], bytes]:
    """Change the history alone."""

    def change(tensors: Tensors, record: Record) -> bytes:
        record["history"] |= changes
        return save(tensors)

    return change


@pytest.mark.parametrize(
    ("forged", "message"),
    [
        (_pickled, "not a safetensors file"),
        (_nan, "state.0.weight is not finite"),
        (_other_momentum, "of another network"),
        (_history(iteration=7), "not that of step 1"),
        (_history(iteration="1"), "not that of step 1"),
        (_history(losses=[None]), r"no history of a training \(losses.0: "),
    ],
)
def test_what_no_training_has_written_is_refused(
    tmp_path: Path, forged: Callable[[Tensors, Record], bytes], message: str
) -> None:
    """Also where its checksum fits: a checkpoint comes from a store, and whoever writes there can write any sum."""
    path = save_checkpoint(tmp_path, *model_and_optimizer(0, steps=1), {"iteration": 1}, IDENTITY)
    record = json.loads(path.with_suffix(".json").read_text())
    content = forged(load_file(path), record)
    path.write_bytes(content)
    record |= {"size_bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    path.with_suffix(".json").write_text(json.dumps(record))

    with pytest.raises(InvalidInput, match=f"{path.name}: .*{message}.*; remove it to train from the start"):
        load_checkpoint(tmp_path, *model_and_optimizer(0), IDENTITY, History)


@pytest.mark.parametrize("field", ["history", "iteration", "sha256", "identity"])
def test_a_record_with_a_field_of_another_type_is_no_checkpoint(tmp_path: Path, field: str) -> None:
    """A damaged file may be JSON of any shape."""
    path = save_checkpoint(tmp_path, *model_and_optimizer(0), {"iteration": 1}, IDENTITY).with_suffix(".json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: [None]}))

    with pytest.raises(InvalidInput, match="not a checkpoint"):
        load_checkpoint(tmp_path, *model_and_optimizer(0), IDENTITY, History)
