"""Examples: box, crop, jitter, each against known answers."""

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.pipeline.dataset.mask_samples import drawn_sample, encoded
from watchmove.pipeline.dataset.shard import Sample
from watchmove.pipeline.pretraining.examples import Square, cut, example_of, jittered_square, object_box_xyxy
from watchmove.pipeline.settings.pretraining import PretrainingSettings

SETTINGS = PretrainingSettings(object_fraction=0.5)


def square_mask(x: int, y: int, side: int, width: int = 200, height: int = 160) -> NDArray[np.float32]:
    """1 in a square, 0 elsewhere."""
    mask = np.zeros((height, width), np.float32)
    mask[y : y + side, x : x + side] = 1
    return mask


def test_box_of_a_known_square() -> None:
    """Exclusive at its far sides."""
    assert object_box_xyxy(square_mask(30, 40, 20), 0.7) == (30, 40, 50, 60)


def test_box_is_of_the_largest_piece() -> None:
    """A speck far away does not stretch the box; what is not certain does not count."""
    mask = square_mask(30, 40, 20) + square_mask(120, 90, 4) + 0.6 * square_mask(130, 100, 50)

    assert object_box_xyxy(mask.astype(np.float32), 0.7) == (30, 40, 50, 60)


def test_no_certain_foreground_has_no_box() -> None:
    """Everything below the threshold is nothing to look at."""
    assert object_box_xyxy(np.float32(0.6) * square_mask(30, 40, 20), 0.7) is None


def test_crop_of_a_known_square() -> None:
    """The crop is centred, and its size follows the setting: an object of 20 pixels fills half of 40."""
    assert jittered_square((30, 40, 50, 60), SETTINGS, None) == Square(40, 50, 40)


def test_jitter_stays_in_its_bounds_and_fills_them() -> None:
    """Over many draws, scale spans half an octave each way, and shift the given part of the crop's side."""
    rng = np.random.default_rng(0)
    squares = [jittered_square((30, 40, 50, 60), SETTINGS, rng) for _ in range(2000)]
    octaves = np.log2([square.side / 40 for square in squares])
    shifts = np.array([((s.centre_x - 40) / s.side, (s.centre_y - 50) / s.side) for s in squares])

    assert np.abs(octaves).max() <= SETTINGS.scale_octaves
    assert np.abs(shifts).max() <= SETTINGS.shift_fraction
    assert np.ptp(octaves) > 1.9 * SETTINGS.scale_octaves
    assert (np.ptp(shifts, axis=0) > 1.9 * SETTINGS.shift_fraction).all()


def test_target_lies_where_the_object_is() -> None:
    """A centred square of half the crop's side fills the middle 28 of 56 rows and columns, and the image's middle."""
    mask = square_mask(60, 40, 56)
    image = (np.repeat(mask[..., None], 3, axis=2) * 255).astype(np.uint8)

    example = cut(image, mask, Square(88, 68, 112), SETTINGS, flip=False)

    expected = np.zeros((56, 56), np.int8)
    expected[14:42, 14:42] = 1
    np.testing.assert_array_equal(example.trimap, expected)
    assert example.image[113, 113].tolist() == [255, 255, 255]
    assert example.image[20, 20].tolist() == [0, 0, 0]
    assert np.abs(np.argmax(example.image[113, :, 0] > 127) - 227 / 4) <= 1


def test_beyond_the_frame_all_is_ignored() -> None:
    """A crop of which the left half is outside: there, nothing is certain."""
    mask = square_mask(0, 40, 56)

    trimap = cut(np.zeros((160, 200, 3), np.uint8), mask, Square(0, 68, 112), SETTINGS, flip=False).trimap

    assert set(np.unique(trimap[:, :27])) == {-1}
    assert set(np.unique(trimap[:, 29:])) == {0, 1}


def test_flip_mirrors_image_and_target_alike() -> None:
    """A flipped example is the mirror of the other, to the pixel."""
    image = np.random.default_rng(0).integers(0, 256, (160, 200, 3), dtype=np.uint8)
    plain, flipped = (cut(image, square_mask(60, 40, 30), Square(70, 60, 100), SETTINGS, flip=f) for f in (False, True))

    np.testing.assert_array_equal(flipped.image, plain.image[:, ::-1])
    np.testing.assert_array_equal(flipped.trimap, plain.trimap[:, ::-1])


def test_same_seed_same_example() -> None:
    """All that is random comes from the generator: crop and flip repeat with it and change without."""
    sample = drawn_sample("video", 0)
    first, again, other = (example_of(sample, SETTINGS, np.random.default_rng(seed)) for seed in (1, 1, 2))

    assert first is not None
    assert again is not None
    assert other is not None
    np.testing.assert_array_equal(first.image, again.image)
    assert not np.array_equal(first.trimap, other.trimap)


def test_colours_stay_in_their_order() -> None:
    """What is red in the file is red for the network."""
    red = np.zeros((160, 200, 3), np.uint8)
    red[..., 0] = 200

    example = example_of(encoded(red, square_mask(60, 40, 56), "red-0"), SETTINGS, None)

    assert example is not None
    assert example.image[113, 113].tolist() == [200, 0, 0]


WHOLE = drawn_sample("video", 0)


@pytest.mark.parametrize(
    "sample",
    [
        Sample("k", b"", WHOLE.mask_png, {}),
        Sample("k", b"no picture", WHOLE.mask_png, {}),
        Sample("k", WHOLE.jpeg[:3000], WHOLE.mask_png, {}),
        Sample("k", WHOLE.jpeg, b"no mask", {}),
        encoded(np.zeros((72, 96, 3), np.uint8), np.ones((10, 10), np.float32), "k"),
        encoded(np.zeros((72, 96, 3), np.uint8), np.zeros((72, 96), np.float32), "k"),
    ],
    ids=["empty", "text", "truncated", "mask is text", "sizes differ", "no foreground"],
)
def test_unusable_samples_give_no_example(sample: Sample) -> None:
    """Whoever reads counts them; none of them raises or slips through."""
    assert example_of(sample, SETTINGS, None) is None


def test_thresholds_that_cross_are_refused() -> None:
    """Settings in which a pixel would be both cannot be made."""
    with pytest.raises(ValueError, match="background_threshold"):
        PretrainingSettings(foreground_threshold=0.3, background_threshold=0.4)
