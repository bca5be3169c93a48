"""Objectives other than masks, trained through the same loop: learning rates, curve, backbone and resumption."""

import math
import shutil
from collections.abc import Iterator
from itertools import permutations
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from tests.pipeline.dataset.mask_samples import lit_from_above
from watchmove.pipeline.dataset.shard import write_shard
from watchmove.pipeline.errors import InvalidInput, Stopped
from watchmove.pipeline.networks.alexnet import load_backbone
from watchmove.pipeline.networks.choice import input_pixels_of
from watchmove.pipeline.pretraining.pretraining import PretrainingHooks, PretrainingResult, pretrain
from watchmove.pipeline.pretraining.step import pretraining_learning_rate
from watchmove.pipeline.settings.pretraining import LEARNING_RATES, PretrainingSettings

SETTINGS = {
    name: PretrainingSettings.model_validate(
        {
            "objective": name,
            "trunk": "alexnet-small",
            "device": "cpu",
            "iterations": 8,
            "batch_size": 8,
            LEARNING_RATES[name]: rate,
            "validation_fraction": 0.3,
            "validation_frames": 24,
            "validate_every_iterations": 8,
            "checkpoint_every_iterations": 100,
        }
    )
    for name, rate in (("rotation", 0.03), ("colour", 1.0))
}
EXPECTED = {"rotation": (math.log(4), 0.6), "colour": (3.85, 0.15)}
"""About the loss of the first step, and the least score after the last. Guesses score 0.25 and 0.03."""


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six videos of eight frames, of which two videos are held out."""
    path = tmp_path_factory.mktemp("shard") / "lit.tar"
    write_shard(path, (lit_from_above(f"video{video}", frame) for video in range(6) for frame in range(8)))
    return path


@pytest.fixture(scope="module", params=["rotation", "colour"])
def objective(request: pytest.FixtureRequest) -> str:
    """The name of the objective."""
    return str(request.param)


@pytest.fixture(scope="module")
def trained(objective: str, shard: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PretrainingResult]:
    """Eight steps at a stretch."""
    folder = tmp_path_factory.mktemp("trained")
    yield pretrain([shard], SETTINGS[objective], PretrainingHooks(folder))
    shutil.rmtree(folder)


@pytest.mark.parametrize(("name", "other"), permutations(LEARNING_RATES, 2))
def test_the_objectives_have_their_own_learning_rates(name: str, other: str) -> None:
    """Each uses its own, and another one's changes neither its schedule nor its identity."""
    settings = PretrainingSettings.model_validate(
        {"objective": name, "labels": ("a", "b"), LEARNING_RATES[name]: 0.7, LEARNING_RATES[other]: 0.3}
    )
    middle = settings.iterations // 20  # the end of the warm-up

    assert pretraining_learning_rate(middle, settings) == pytest.approx(0.7)
    assert settings.model_copy(update={LEARNING_RATES[other]: 0.1}).deciding() == settings.deciding()
    assert settings.model_copy(update={LEARNING_RATES[name]: 0.1}).deciding() != settings.deciding()


def test_it_is_learnt_and_measured_on_held_out_videos(objective: str, trained: PretrainingResult) -> None:
    """From the loss of a guess to an accuracy far above it on videos that were never seen; there is no IoU."""
    first, last = trained.curve[0], trained.curve[-1]
    first_loss, least = EXPECTED[objective]

    assert first.loss == pytest.approx(first_loss, abs=0.1)
    assert last.validation_accuracy is not None
    assert last.validation_accuracy >= least
    assert last.validation_loss is not None
    assert last.validation_loss < 0.9 * first_loss
    assert last.validation_iou is None
    assert last.validation_score == last.validation_accuracy


def test_its_backbone_loads_as_any_other(objective: str, trained: PretrainingResult) -> None:
    """The file has a trunk without the head, and its header names the objective; there is no mask network."""
    trunk, pixels = load_backbone(trained.backbone), input_pixels_of("alexnet-small")
    with safe_open(trained.backbone, "pt") as file:
        assert file.metadata()["objective"] == objective

    assert trained.mask_network is None
    assert trunk(torch.zeros(1, 3, pixels, pixels)).isfinite().all()


def test_stopped_and_resumed_ends_with_the_same_weights(
    objective: str, shard: Path, trained: PretrainingResult, tmp_path: Path
) -> None:
    """Told to stop after three steps; then masks do not go on from its checkpoint, and it does, bit by bit."""
    done = [0]
    hooks = PretrainingHooks(
        tmp_path,
        on_progress=lambda told: done.__setitem__(0, told.iteration),
        should_stop=lambda: done[0] >= 3,
    )
    settings = SETTINGS[objective]
    with pytest.raises(Stopped):
        pretrain([shard], settings, hooks)
    with pytest.raises(InvalidInput, match="of other settings or data"):
        pretrain([shard], settings.model_copy(update={"objective": "masks"}), PretrainingHooks(tmp_path))
    resumed = pretrain([shard], settings, PretrainingHooks(tmp_path))
    weights, expected = load_file(resumed.backbone), load_file(trained.backbone)
    shutil.rmtree(tmp_path)

    assert done == [3]
    assert resumed.curve == trained.curve
    assert all(torch.equal(weights[name], tensor) for name, tensor in expected.items())
