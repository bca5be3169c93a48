"""Checkpoints: what is saved is loaded again, two are kept, incomplete ones are ignored."""

from pathlib import Path

import pytest
import torch
from torch import nn

from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.training.checkpoints import CHECKPOINT_NAMES, load_checkpoint, save_checkpoint

IDENTITY = "these settings, these frames"


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
    assert load_checkpoint(tmp_path / "none", *model_and_optimizer(0), IDENTITY) is None


def test_weights_statistics_momenta_and_history_come_back(tmp_path: Path) -> None:
    """Another model that loads the checkpoint goes on to the very same weights."""
    model, optimizer = model_and_optimizer(0, steps=3)
    save_checkpoint(tmp_path, model, optimizer, {"iteration": 3, "losses": [0.5]}, IDENTITY)
    other, other_optimizer = model_and_optimizer(1)
    history = load_checkpoint(tmp_path, other, other_optimizer, IDENTITY)
    for one, its in ((model, optimizer), (other, other_optimizer)):
        train(one, its, 2)

    assert history == {"iteration": 3, "losses": [0.5]}
    for name, tensor in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor), name


def test_the_last_two_are_kept(tmp_path: Path) -> None:
    """Each replaces the older one, so a folder never grows and the one before the last is always there."""
    model, optimizer = model_and_optimizer(0, steps=1)
    files = [save_checkpoint(tmp_path, model, optimizer, {"iteration": n}, IDENTITY).name for n in (1, 2, 3, 4)]

    assert files == [*CHECKPOINT_NAMES, *CHECKPOINT_NAMES]
    assert sorted(path.name for path in tmp_path.glob("*.safetensors")) == sorted(CHECKPOINT_NAMES)
    assert load_checkpoint(tmp_path, model, optimizer, IDENTITY) == {"iteration": 4}


@pytest.mark.parametrize("kept_bytes", [0, 4, 100, -1])
def test_a_torn_checkpoint_is_passed_over(tmp_path: Path, kept_bytes: int) -> None:
    """Cut anywhere, the newest gives way to the one before, and is the next to be replaced."""
    model, optimizer = model_and_optimizer(0, steps=1)
    save_checkpoint(tmp_path, model, optimizer, {"iteration": 1}, IDENTITY)
    newest = save_checkpoint(tmp_path, model, optimizer, {"iteration": 2}, IDENTITY)
    newest.write_bytes(newest.read_bytes()[:kept_bytes])

    assert load_checkpoint(tmp_path, model, optimizer, IDENTITY) == {"iteration": 1}
    assert save_checkpoint(tmp_path, model, optimizer, {"iteration": 2}, IDENTITY) == newest


def test_where_none_can_be_read_training_does_not_silently_start_over(tmp_path: Path) -> None:
    """The file is named, and what would do."""
    model, optimizer = model_and_optimizer(0)
    save_checkpoint(tmp_path, model, optimizer, {"iteration": 1}, IDENTITY).write_bytes(b"nothing of the kind")

    with pytest.raises(InvalidInput, match=rf"{CHECKPOINT_NAMES[0]}: .* remove both to train from the start"):
        load_checkpoint(tmp_path, *model_and_optimizer(0), IDENTITY)


def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    """Other settings or frames: going on would mix two trainings."""
    model, optimizer = model_and_optimizer(0)
    save_checkpoint(tmp_path, model, optimizer, {"iteration": 1}, "others")

    with pytest.raises(InvalidInput, match="of other settings or data"):
        load_checkpoint(tmp_path, model, optimizer, IDENTITY)


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    """The same identity with other layers is a change of the code."""
    model, optimizer = model_and_optimizer(0)
    save_checkpoint(tmp_path, model, optimizer, {"iteration": 1}, IDENTITY)
    other = nn.Linear(2, 2)

    with pytest.raises(InvalidInput, match="of another network"):
        load_checkpoint(tmp_path, other, torch.optim.SGD(other.parameters()), IDENTITY)


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    """A folder that cannot be written, here because a file has its name, is reported."""
    model, optimizer = model_and_optimizer(0)
    (tmp_path / "folder").write_bytes(b"mine")

    with pytest.raises(InvalidInput, match="checkpoint-0"):
        save_checkpoint(tmp_path / "folder", model, optimizer, {"iteration": 1}, IDENTITY)

    assert (tmp_path / "folder").read_bytes() == b"mine"
