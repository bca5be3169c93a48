"""Colours on the frames of masks: bins, grey images, loss and score against known values."""

import math
from typing import Literal

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from tests.pipeline.dataset.mask_samples import HEIGHT, WIDTH, drawn_sample, encoded, lit_from_above
from watchmove.pipeline.networks.alexnet import normalise_images
from watchmove.pipeline.networks.choice import input_pixels_of, new_trunk
from watchmove.pipeline.pretraining.batches import Batch
from watchmove.pipeline.pretraining.colour import (
    ColourNetwork,
    colour_bins,
    colour_example_of,
    colour_hits,
    colour_loss,
    shown_grey,
)
from watchmove.pipeline.pretraining.examples import example_of
from watchmove.pipeline.pretraining.step import Stepper
from watchmove.pipeline.settings.pretraining import PretrainingSettings
from watchmove.pipeline.training.ranks import Ranks

SETTINGS = PretrainingSettings(objective="colour", trunk="alexnet-small", device="cpu", iterations=8, batch_size=4)


def plain(red: int, green: int, blue: int) -> torch.Tensor:
    """An image of one colour, (1, 3, 227, 227) uint8."""
    return torch.tensor([red, green, blue], dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, 227, 227)


@pytest.mark.parametrize(
    ("colour", "hue", "chroma"),
    [
        ((255, 0, 0), 0, 31),
        ((255, 255, 0), 5, 31),
        ((0, 255, 0), 10, 31),
        ((0, 255, 255), 16, 31),
        ((0, 0, 255), 21, 31),
        ((255, 0, 255), 26, 31),
        ((100, 50, 75), 29, 6),
        ((128, 128, 128), -1, 0),
        ((255, 255, 250), -1, 0),
    ],
)
def test_bins_of_known_colours(colour: tuple[int, int, int], hue: int, chroma: int) -> None:
    """Hues are 0 to 5 sixths of a turn, 32 bins in all; of grey and nearly grey images the hue is ignored."""
    bins = colour_bins(plain(*colour))

    assert bins.dtype == torch.int8
    assert bins.shape == (1, 2, 56, 56)
    assert set(bins[0, 0].flatten().tolist()) == {hue}
    assert set(bins[0, 1].flatten().tolist()) == {chroma}


def test_bins_are_where_the_colours_are() -> None:
    """The left half of an image is red and the right half blue; the pixel column between them is a mixture."""
    image = torch.cat([plain(255, 0, 0)[..., :113], plain(0, 0, 255)[..., :114]], dim=3)
    hues = colour_bins(image)[0, 0]

    assert set(hues[:, :27].flatten().tolist()) == {0}
    assert set(hues[:, 29:].flatten().tolist()) == {21}


def test_the_network_sees_no_colour() -> None:
    """Images of equal mean look equal, and targets stay as they are."""
    images, bins = torch.cat([plain(90, 30, 60), plain(60, 60, 60)]), torch.zeros(2, 2, 56, 56, dtype=torch.int8)
    seen, targets = shown_grey(images, bins)

    assert seen.dtype == torch.uint8
    assert set(seen.flatten().tolist()) == {60}
    assert seen.shape == images.shape
    assert targets is bins


def test_the_crop_is_that_of_a_mask() -> None:
    """With the same random numbers both objectives have the same crop, and a frame without a mask has neither."""
    sample = drawn_sample("video", 0)
    example = colour_example_of(sample, SETTINGS, np.random.default_rng(3))
    mask = example_of(sample, SETTINGS, np.random.default_rng(3))
    blank = encoded(np.zeros((HEIGHT, WIDTH, 3), np.uint8), np.full((HEIGHT, WIDTH), 0.5, np.float32), "blank-0")

    assert example is not None
    assert mask is not None
    np.testing.assert_array_equal(example[0], mask.image)
    assert example[1].dtype == np.int8
    assert colour_example_of(blank, SETTINGS, np.random.default_rng(0)) is None


def test_loss_and_hits_of_even_guesses() -> None:
    """ln 32 for chroma, and 5 times the chroma of it for hue; a grey image has no loss of hue."""
    logits = torch.zeros(1, 2, 32, 7, 7)
    red, grey = colour_bins(plain(255, 0, 0)), colour_bins(plain(7, 7, 7))

    assert float(colour_loss(logits, red)) == pytest.approx(math.log(32) * (1 + 5 * 31.5 / 32) / 2, rel=1e-5)
    assert float(colour_loss(logits, grey)) == pytest.approx(math.log(32), rel=1e-5)
    assert float(colour_loss(logits[:0], grey[:0])) == 0
    # the first of equal bins counts as predicted: right for the hue of red, and for the chroma of grey
    assert colour_hits(logits, red).tolist() == [0.5]
    assert colour_hits(logits, grey).tolist() == [1.0]


def test_the_loss_is_least_for_the_histogram_of_a_square() -> None:
    """A square that is a quarter saturated has the entropy of (1/4, 3/4) as loss, and any other guess has more."""
    bins = torch.full((1, 2, 56, 56), -1, dtype=torch.int8)
    bins[0, 1, 8:16, 40:48] = 0
    bins[0, 1, 8:12, 40:44] = 31
    logits = torch.full((1, 2, 32, 7, 7), -30.0)
    logits[0, 1, 0, 1, 5], logits[0, 1, 31, 1, 5] = math.log(0.75), math.log(0.25)
    entropy = -0.75 * math.log(0.75) - 0.25 * math.log(0.25)

    assert float(colour_loss(logits, bins)) == pytest.approx(entropy, rel=1e-5)
    assert colour_hits(logits, bins).tolist() == [0.75]
    logits[0, 1, 31, 1, 5] += 0.5
    assert float(colour_loss(logits, bins)) > entropy + 0.01


@pytest.mark.parametrize("kind", ["alexnet-small", "resnet18"])
def test_first_weights_see_grey_as_before(kind: Literal["alexnet-small", "resnet18"]) -> None:
    """conv1 is equal for the three colours, its response to grey pixels is unchanged, and the head knows nothing."""
    trunk = new_trunk(PretrainingSettings(trunk=kind)).eval()
    grey = torch.rand(2, 1, 64, 64).expand(2, 3, 64, 64)
    with torch.no_grad():
        before = trunk.conv1(grey)
        network = ColourNetwork(trunk, torch.Generator().manual_seed(0)).eval()
        pixels = input_pixels_of(kind)
        logits = network(normalise_images(torch.zeros(2, 3, pixels, pixels, dtype=torch.uint8)))

        torch.testing.assert_close(trunk.conv1(grey), before, atol=1e-4, rtol=1e-4)
    assert logits.shape == (2, 2, 32, 7, 7)
    assert float(trunk.conv1.weight.detach().std(dim=1).max()) == pytest.approx(0, abs=1e-6)
    assert float(colour_loss(logits, colour_bins(plain(9, 9, 9)).repeat(2, 1, 1, 1))) == pytest.approx(
        math.log(32), abs=0.1
    )


def test_the_loss_of_a_step_is_that_of_its_parts_and_falls() -> None:
    """At once or in two parts, a step's loss is that of all its answers together; six steps take off a tenth."""
    examples = [colour_example_of(lit_from_above("video", n), SETTINGS, np.random.default_rng(n)) for n in range(4)]
    images, targets = zip(*(example for example in examples if example is not None), strict=True)
    batch = Batch(torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2), torch.from_numpy(np.stack(targets)), 0)
    for limit in (0, 2):
        settings = SETTINGS.model_copy(update={"max_device_batch": limit, "colour_learning_rate": 1.0})
        network = ColourNetwork(new_trunk(settings), torch.Generator().manual_seed(0))
        answers: list[torch.Tensor] = []
        network.register_forward_hook(lambda _, __, logits, answers=answers: answers.append(logits.detach()))
        stepper = Stepper(network, settings, Ranks(torch.device("cpu")))
        first = stepper.step(batch, 0)
        expected = float(colour_loss(torch.cat(answers), batch.targets))
        last = [stepper.step(batch, iteration) for iteration in range(1, 6)][-1]

        assert first == pytest.approx(expected, rel=1e-5)
        assert last < 0.9 * first


def test_changed_colours_are_refused() -> None:
    """Random changes of hue would be what the network has to predict."""
    with pytest.raises(ValidationError, match="changes what objective colour predicts; set it to 0"):
        PretrainingSettings(objective="colour", colour_jitter=0.1)
