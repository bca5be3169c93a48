"""Rotation and labels on the frames of masks: crops, loss and measure against known values."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import ValidationError

from tests.pipeline.dataset.mask_samples import HEIGHT, WIDTH, drawn_sample, encoded, lit_from_above
from watchmove.pipeline.dataset.shard import Sample, write_shard
from watchmove.pipeline.networks.resnet import random_resnet
from watchmove.pipeline.pretraining.batches import Batch
from watchmove.pipeline.pretraining.class_prediction import (
    ClassNetwork,
    class_hits,
    class_loss,
    label_example_of,
    rotated_four_ways,
    rotation_example_of,
)
from watchmove.pipeline.pretraining.examples import Square, example_of, move_inside_frame
from watchmove.pipeline.pretraining.pretraining import PretrainingHooks, pretrain
from watchmove.pipeline.pretraining.step import Stepper
from watchmove.pipeline.settings.pretraining import PretrainingSettings
from watchmove.pipeline.training.ranks import Ranks

SETTINGS = PretrainingSettings(
    objective="rotation",
    device="cpu",
    iterations=8,
    batch_size=8,
    rotation_learning_rate=0.01,
)


def crop_of(sample: Sample, seed: int) -> NDArray[np.uint8]:
    """Make the upright crop of a usable frame."""
    example = rotation_example_of(sample, SETTINGS, np.random.default_rng(seed))
    assert example is not None
    assert int(example[1]) == 0
    return example[0]


def test_the_crop_is_that_of_a_mask() -> None:
    """With the same random numbers both objectives cut the same crop, if it is inside the frame."""
    sample = drawn_sample("video", 0)
    upright = example_of(sample, SETTINGS, np.random.default_rng(3), inside_frame=True)

    assert upright is not None
    np.testing.assert_array_equal(crop_of(sample, 3), upright.image)


def test_each_image_is_rotated_four_ways() -> None:
    """Image by image the four rotations follow each other, counter-clockwise, and only pixels move."""
    crops = [crop_of(lit_from_above("video", frame), 0) for frame in (3, 5)]
    images = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2)
    rotated, turns = rotated_four_ways(images, torch.zeros(2, dtype=torch.int8))

    assert turns.tolist() == [0, 1, 2, 3, 0, 1, 2, 3]
    assert turns.dtype == torch.int8
    for number, image in enumerate(rotated.permute(0, 2, 3, 1).numpy()):
        np.testing.assert_array_equal(image, np.rot90(crops[number // 4], number % 4))
        # the frame is brightest at its top, which is on the left after one turn, and then at the bottom
        brightness = [float(side.mean()) for side in (image[:80], image[:, :80], image[-80:], image[:, -80:])]
        assert int(np.argmax(brightness)) == number % 4


def test_a_step_shows_every_rotation_and_its_loss_is_their_mean() -> None:
    """The network gets four images of each frame; the step's loss is the mean over them, also if it is split."""
    rates = {"learning_rate": 0.5, "rotation_learning_rate": 1e-9}
    frames = torch.from_numpy(np.stack([crop_of(lit_from_above("video", frame), 0) for frame in range(4)]))
    batch = Batch(frames.permute(0, 3, 1, 2), torch.zeros(4, dtype=torch.int8), 0)
    for limit in (0, 2):
        settings = SETTINGS.model_copy(update={"batch_size": 4, "max_device_batch": limit, **rates})
        network = ClassNetwork(random_resnet("resnet18", 0), torch.Generator().manual_seed(0), classes=4)
        answers: list[torch.Tensor] = []
        network.register_forward_hook(lambda _, __, logits, answers=answers: answers.append(logits))
        loss = Stepper(network, settings, Ranks(torch.device("cpu"))).step(batch, 0)
        turns = torch.arange(4, dtype=torch.int8).repeat(4)

        assert [len(part) for part in answers] == ([16] if limit == 0 else [8, 8])
        assert loss == pytest.approx(float(class_loss(torch.cat(answers).detach(), turns)), rel=1e-5)


@pytest.mark.parametrize(
    ("square", "inside"),
    [
        (Square(30, 40, 20), Square(30, 40, 20)),
        (Square(2, 40, 20), Square(10, 40, 20)),
        (Square(99, 78, 20), Square(90, 70, 20)),
        (Square(20, 70, 200), Square(40, 40, 80)),
    ],
    ids=["inside already", "over the left edge", "over a corner", "larger than the frame"],
)
def test_a_crop_is_moved_into_its_frame(square: Square, inside: Square) -> None:
    """Of 100 x 80 pixels; it is made smaller only where it must be."""
    assert move_inside_frame(square, 80, 100) == inside


def test_no_edge_is_repeated() -> None:
    """A crop of an object in the corner shows the bright line at its frame's border once: borders are not repeated."""
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[0], image[:, 0] = 255, 255
    mask = np.zeros((HEIGHT, WIDTH), np.float32)
    mask[:20, :20] = 1
    for seed in range(10):
        crop = crop_of(encoded(image, mask, "corner-0"), seed)
        assert (crop > 128).mean() < 0.16


def test_a_frame_that_teaches_no_mask_teaches_no_turn() -> None:
    """Nothing certain in its mask, so that both objectives have the same frames."""
    blank = encoded(np.zeros((HEIGHT, WIDTH, 3), np.uint8), np.full((HEIGHT, WIDTH), 0.5, np.float32), "blank-0")

    assert rotation_example_of(blank, SETTINGS, np.random.default_rng(0)) is None


def test_loss_and_hits_of_known_logits() -> None:
    """ln 4 where nothing is known and ln(1 + 3 e^-2) for a logit of 2; the ignored frame counts for neither."""
    logits = torch.tensor([[0.0, 0.0, 0.0, 0.0], [0.0, 2.0, 0.0, 0.0], [9.0, 0.0, 0.0, 0.0]])
    turns = torch.tensor([3, 1, -1], dtype=torch.int8)

    expected = (math.log(4) + math.log(1 + 3 * math.exp(-2))) / 2
    assert float(class_loss(logits, turns)) == pytest.approx(expected, rel=1e-6)
    assert float(class_loss(logits[:0], turns[:0])) == 0
    assert class_hits(logits, turns).tolist() == [0, 1, 0]


def test_a_resnet_answers_too() -> None:
    """Its maps are averaged; the first answer knows nothing."""
    trunk = random_resnet("resnet18", 0).eval()
    with torch.no_grad():
        logits = ClassNetwork(trunk, torch.Generator().manual_seed(0), classes=4)(torch.rand(2, 3, 227, 227))

    assert logits.shape == (2, 4)
    assert float(class_loss(logits, torch.tensor([0, 2], dtype=torch.int8))) == pytest.approx(math.log(4), abs=0.1)


def test_a_device_that_cuts_masks_is_refused() -> None:
    """Rotation cannot cut on a device, and does not silently cut elsewhere."""
    with pytest.raises(ValidationError, match="set crop_on to auto or cpu"):
        PretrainingSettings(objective="rotation", crop_on="device")


LABELLED = PretrainingSettings(
    objective="labels",
    labels=("bright", "dim"),
    trunk="alexnet-small",
    device="cpu",
    iterations=40,
    batch_size=8,
    labels_learning_rate=0.02,
    validation_fraction=0.3,
    validation_frames=24,
    validate_every_iterations=40,
    checkpoint_every_iterations=100,
)


def labelled(video: str, frame: int, label: str) -> Sample:
    """Dark noise with a square that is bright or dim, as its label says."""
    rng = np.random.default_rng([*video.encode(), frame])
    image = rng.integers(0, 60, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    mask = np.zeros((HEIGHT, WIDTH), np.float32)
    mask[20:50, 30:60] = 1
    image[20:50, 30:60] += 190 if label == "bright" else 60
    sample = encoded(image, mask, f"{video}-{frame:06d}")
    return dataclasses.replace(sample, metadata=sample.metadata | {"label": label})


def test_the_target_is_the_position_of_the_label() -> None:
    """In the order of the settings; a frame without a label, or with an unknown one, cannot be used."""
    rng = np.random.default_rng(0)
    found = [label_example_of(labelled("video", 0, label), LABELLED, rng) for label in ("bright", "dim", "green")]

    assert [None if example is None else int(example[1]) for example in found] == [0, 1, None]
    assert label_example_of(drawn_sample("video", 0), LABELLED, rng) is None


def test_labels_are_learnt_and_measured_on_held_out_videos(tmp_path: Path) -> None:
    """Forty steps tell bright from dim objects of videos that were never seen."""
    frames = (labelled(f"video{video}", frame, LABELLED.labels[video % 2]) for video in range(8) for frame in range(8))
    write_shard(tmp_path / "labelled.tar", frames)
    last = pretrain([tmp_path / "labelled.tar"], LABELLED, PretrainingHooks(tmp_path)).curve[-1]

    assert last.validation_accuracy is not None
    assert last.validation_accuracy > 0.9


@pytest.mark.parametrize("labels", [(), ("one",), ("one", "one")])
def test_labels_that_name_no_two_classes_are_refused(labels: tuple[str, ...]) -> None:
    """There is nothing to tell apart."""
    with pytest.raises(ValidationError, match="two or more different labels"):
        PretrainingSettings(objective="labels", labels=labels)


def test_labels_decide_nothing_for_other_objectives() -> None:
    """Identities of backbones stay what they were."""
    assert PretrainingSettings(labels=("a", "b")).deciding() == PretrainingSettings().deciding()
