"""The training loop: its schedule, its ends, and that stopping it anywhere changes nothing."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.pipeline.dataset.mask_samples import drawn_sample, drawn_shard
from watchmove.pipeline.dataset.shard import Sample, write_shard
from watchmove.pipeline.errors import InvalidInput, Stopped
from watchmove.pipeline.networks.alexnet import load_backbone, normalise_images
from watchmove.pipeline.networks.choice import input_pixels_of
from watchmove.pipeline.pretraining.batches import MaskDataset
from watchmove.pipeline.pretraining.mask_network_file import load_mask_network
from watchmove.pipeline.pretraining.pretraining import (
    PretrainingHooks,
    PretrainingProgress,
    PretrainingResult,
    pretrain,
)
from watchmove.pipeline.pretraining.step import pretraining_learning_rate
from watchmove.pipeline.settings.pretraining import PretrainingSettings
from watchmove.pipeline.training.checkpoints import CHECKPOINT_NAMES

SETTINGS = PretrainingSettings(
    trunk="alexnet-small",
    device="cpu",
    iterations=4,
    batch_size=3,
    dropout=0.1,
    validation_fraction=0.3,
    validation_frames=3,
    validate_every_iterations=2,
    checkpoint_every_iterations=2,
)


@dataclass(frozen=True)
class Training:
    """A finished training and the progress that it reported."""

    result: PretrainingResult
    told: list[PretrainingProgress]


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three videos of four frames."""
    return drawn_shard(tmp_path_factory.mktemp("shard") / "drawn.tar", videos=3, frames=4)


@pytest.fixture(scope="module")
def undisturbed(shard: Path, tmp_path_factory: pytest.TempPathFactory) -> Training:
    """Four steps at a stretch."""
    told: list[PretrainingProgress] = []
    hooks = PretrainingHooks(tmp_path_factory.mktemp("undisturbed"), on_progress=told.append)
    return Training(pretrain([shard], SETTINGS, hooks), told)


def run_until(iteration: int, shard: Path, folder: Path) -> list[list[str]]:
    """Train and stop after a step; return the names of the folder's files at each checkpoint."""
    told: list[PretrainingProgress] = []
    stored: list[list[str]] = []
    hooks = PretrainingHooks(
        folder,
        on_progress=told.append,
        should_stop=lambda: len(told) == iteration,
        on_checkpoint=lambda: stored.append(sorted(path.name for path in folder.glob("*.safetensors"))),
    )
    with pytest.raises(Stopped, match=f"stopped at iteration {iteration}"):
        pretrain([shard], SETTINGS, hooks)
    return stored


def assert_same_weights(one: Path, other: Path) -> None:
    """Bit by bit. (Safetensors' header is left out: the order of its metadata is not fixed.)"""
    weights, expected = load_file(one), load_file(other)

    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], expected[name]) for name in expected)


def test_schedule_rises_then_falls_by_a_cosine() -> None:
    """Known values: a quarter of the steps rising by equal parts, then the top, half of it half-way, nought last."""
    settings = PretrainingSettings(iterations=400, learning_rate=0.2, warmup_fraction=0.25)

    assert pretraining_learning_rate(0, settings) == pytest.approx(0.2 / 101)
    assert pretraining_learning_rate(99, settings) == pytest.approx(0.2 * 100 / 101)
    assert pretraining_learning_rate(100, settings) == pytest.approx(0.2)
    assert pretraining_learning_rate(250, settings) == pytest.approx(0.1)
    assert pretraining_learning_rate(400, settings) == pytest.approx(0.0)


def test_schedule_in_drops() -> None:
    """To a tenth at each of the fractions, after the rise."""
    settings = PretrainingSettings(
        iterations=100, learning_rate=1.0, warmup_fraction=0.1, schedule="step", drop_fractions=(0.5, 0.9)
    )
    rates = [pretraining_learning_rate(iteration, settings) for iteration in (0, 10, 49, 50, 89, 90, 99)]

    assert rates == pytest.approx([1 / 11, 1, 1, 0.1, 0.1, 0.01, 0.01])


def test_a_training_tells_every_step(undisturbed: Training) -> None:
    """Iterations in order, finite losses, nothing passed over."""
    assert [told.iteration for told in undisturbed.told] == [1, 2, 3, 4]
    assert {told.iterations for told in undisturbed.told} == {4}
    assert all(0 < told.loss < 10 and told.frames_unusable == 0 for told in undisturbed.told)
    assert undisturbed.result.images_per_second > 0


def test_the_curve_has_losses_and_held_out_iou(undisturbed: Training) -> None:
    """A point a step here, the IoU where the settings ask for it and at the end."""
    curve = undisturbed.result.curve

    assert [(point.iteration, point.validation_iou is not None) for point in curve] == [
        (1, False),
        (2, True),
        (3, False),
        (4, True),
    ]
    assert [point.loss for point in curve] == [told.loss for told in undisturbed.told]
    assert all(0 <= point.validation_iou <= 1 for point in curve if point.validation_iou is not None)


def test_the_backbone_loads_without_normalisation(undisturbed: Training) -> None:
    """Plain layers that are finite, and not those it began with."""
    trunk, pixels = load_backbone(undisturbed.result.backbone), input_pixels_of(SETTINGS.trunk)

    assert len(trunk.norms) == 0
    assert trunk(torch.zeros(1, 3, pixels, pixels)).isfinite().all()
    assert float(trunk.state_dict()["conv1.bias"].abs().max()) > 0  # folded statistics; at the start biases are zero


def test_the_mask_network_is_left_beside_the_backbone(undisturbed: Training) -> None:
    """Its trunk is the backbone, and its head is trained."""
    assert undisturbed.result.mask_network is not None
    network = load_mask_network(undisturbed.result.mask_network)
    backbone = load_backbone(undisturbed.result.backbone)

    assert undisturbed.result.mask_network.parent == undisturbed.result.backbone.parent
    assert torch.equal(network.state_dict()["trunk.fc7.weight"], backbone.fc7.weight)
    assert float(network.state_dict()["mask.bias"].abs().max()) > 0


def test_first_weights_are_rescaled_on_frames(shard: Path, tmp_path: Path) -> None:
    """After a step that changes next to nothing, each convolution's output on such frames has a deviation near 1."""
    update = {"iterations": 1, "learning_rate": 1e-12, "batch_norm": False, "rescale_trunk": True}
    settings = SETTINGS.model_copy(update=update)
    trunk = load_backbone(pretrain([shard], settings, PretrainingHooks(tmp_path)).backbone)
    seen = MaskDataset.of_shards([shard], settings.model_copy(update={"batch_size": 32})).training_batch(0)
    with torch.no_grad():
        first = trunk.conv1(normalise_images(seen.images))
        last = trunk(normalise_images(seen.images))

    assert float(first.std()) == pytest.approx(1, abs=1e-3)
    assert 0.3 < float(last.pow(2).mean()) < 0.8  # a rectified unit variance keeps about half


def test_stopped_and_resumed_ends_with_the_same_weights(shard: Path, undisturbed: Training, tmp_path: Path) -> None:
    """Told to stop after one step: a checkpoint, then the very weights and curve of the undisturbed training."""
    stored = run_until(1, shard, tmp_path)
    resumed = pretrain([shard], SETTINGS, PretrainingHooks(tmp_path))

    assert stored == [[CHECKPOINT_NAMES[0]]]
    assert resumed.curve == undisturbed.result.curve
    assert_same_weights(resumed.backbone, undisturbed.result.backbone)


def test_other_settings_do_not_continue_a_checkpoint(shard: Path, undisturbed: Training) -> None:
    """What is in the folder belongs to another training, and stays."""
    other = SETTINGS.model_copy(update={"learning_rate": 0.02})

    with pytest.raises(InvalidInput, match="of other settings or data"):
        pretrain([shard], other, PretrainingHooks(undisturbed.result.backbone.parent))


@pytest.mark.parametrize(
    ("rate", "message", "kept"), [(1e30, "loss is", 1), (1e300, "is not finite", 0)], ids=["next loss", "weights"]
)
def test_a_training_that_diverges_keeps_good_checkpoints_only(
    shard: Path, tmp_path: Path, rate: float, message: str, kept: int
) -> None:
    """Whether the loss shows it or the weights do first: a clear line, and no checkpoint with values not finite."""
    update = {"learning_rate": rate, "checkpoint_every_iterations": 1, "warmup_fraction": 0.0, "batch_norm": False}
    settings = SETTINGS.model_copy(update=update)
    with pytest.raises(InvalidInput, match=rf"{message}.*lower pretrain\.learning_rate"):
        pretrain([shard], settings, PretrainingHooks(tmp_path))

    files = list(tmp_path.glob("*.safetensors"))
    assert len(files) == kept
    assert all(tensor.isfinite().all() for path in files for tensor in load_file(path).values())


def test_too_many_unusable_frames_end_a_training(tmp_path: Path) -> None:
    """Unusable frames are compared with the limit, and the error has both numbers."""
    good = drawn_sample("video", 0)
    write_shard(tmp_path / "bad.tar", [good, Sample("video-1", b"", b"", {}), Sample("video-2", b"", b"", {})])
    settings = SETTINGS.model_copy(update={"max_corrupt_fraction": 0.001})

    with pytest.raises(InvalidInput, match=r"2 of 3 frames .* above pretrain\.max_corrupt_fraction \(0\.001\)"):
        pretrain([tmp_path / "bad.tar"], settings, PretrainingHooks(tmp_path / "out"))


def test_frames_of_which_none_can_be_used_give_no_weights(tmp_path: Path) -> None:
    """Also where any number of them is allowed: no step was done, and the weights would be random."""
    write_shard(tmp_path / "bad.tar", [Sample("video-1", b"", b"", {}), Sample("video-2", b"", b"", {})])
    settings = SETTINGS.model_copy(update={"max_corrupt_fraction": 1.0, "trunk": "alexnet-small"})

    with pytest.raises(InvalidInput, match=r"all frames are damaged or show no object at .*foreground_threshold"):
        pretrain([tmp_path / "bad.tar"], settings, PretrainingHooks(tmp_path / "out"))
    assert not (tmp_path / "out" / "backbone.safetensors").exists()


def test_frames_without_one_of_the_labels_are_said_to_be_so(tmp_path: Path) -> None:
    """They are sound, and to extract them again would not help."""
    write_shard(tmp_path / "unlabelled.tar", [drawn_sample("video", number) for number in range(3)])
    update = {"objective": "labels", "labels": ("cat", "dog"), "trunk": "alexnet-small", "max_corrupt_fraction": 0.0}
    settings = SETTINGS.model_copy(update=update)

    with pytest.raises(InvalidInput, match=r"or have none of pretrain\.labels as their label, above"):
        pretrain([tmp_path / "unlabelled.tar"], settings, PretrainingHooks(tmp_path / "out"))


def test_tolerated_unusable_frames_are_counted_in_the_result(tmp_path: Path) -> None:
    """One of four cannot be decoded and comes up in one of two steps."""
    samples = [*(drawn_sample("video", number) for number in range(3)), Sample("video-9", b"", b"", {})]
    write_shard(tmp_path / "bad.tar", samples)
    settings = SETTINGS.model_copy(update={"iterations": 2, "batch_size": 2, "max_corrupt_fraction": 0.5})
    settings = settings.model_copy(update={"checkpoint_every_iterations": 9})

    result = pretrain([tmp_path / "bad.tar"], settings, PretrainingHooks(tmp_path / "out"))

    assert result.frames_unusable == 1


def test_a_gpu_that_is_not_there_is_said(shard: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked for by name, it is not replaced in silence."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    with pytest.raises(InvalidInput, match=r"pretrain\.device cuda.*set it to auto or cpu"):
        pretrain([shard], SETTINGS.model_copy(update={"device": "cuda"}), PretrainingHooks(tmp_path))
