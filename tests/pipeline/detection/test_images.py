"""Pictures as the detector's network sees them."""

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from watchmove.pipeline.detection.images import network_image, padded_batch, scaled_size
from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.networks.alexnet import CHANNEL_MEAN, CHANNEL_STD
from watchmove.pipeline.settings.evaluation import EvaluationSettings
from watchmove.pipeline.voc.annotations import read_image


def test_a_grey_jpeg_has_three_equal_channels(tmp_path: Path) -> None:
    """VOC-like sets hold grey pictures; they come as RGB."""
    path = tmp_path / "grey.jpg"
    cv2.imwrite(str(path), np.full((20, 31), 77, np.uint8))
    image = read_image(path)

    assert image.shape == (20, 31, 3)
    assert (image == image[..., :1]).all()


def test_colours_come_as_red_green_blue(tmp_path: Path) -> None:
    """OpenCV writes blue first; red is the first channel here."""
    path = tmp_path / "red.png"
    cv2.imwrite(str(path), np.full((4, 4, 3), (0, 10, 200), np.uint8))

    assert read_image(path)[0, 0].tolist() == [200, 10, 0]


def png_header(width: int, height: int) -> bytes:
    """A PNG that says its size and holds nothing."""
    size = b"IHDR" + struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + size + struct.pack(">I", zlib.crc32(size))


@pytest.mark.parametrize("content", [None, b"no picture", png_header(9, 9), png_header(100_000, 100_000)])
def test_a_picture_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    """Missing, broken or of more pixels than OpenCV allows: InvalidInput with the path."""
    path = tmp_path / "gone.jpg"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(InvalidInput, match=r"gone\.jpg"):
        read_image(path)


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [
        (375, 500, (600, 800)),
        (500, 375, (800, 600)),
        (300, 600, (500, 1000)),
        (600, 600, (600, 600)),
        (1, 4000, (1, 1000)),
    ],
)
def test_the_shorter_side_is_600_and_the_longer_at_most_1000(
    height: int, width: int, expected: tuple[int, int]
) -> None:
    """The published scale, and an image too long for it."""
    assert scaled_size(height, width, EvaluationSettings()) == expected


def test_normalising_a_plain_image() -> None:
    """White becomes (1 - mean) / deviation in each channel, and the scale is that of both sides."""
    settings = EvaluationSettings(shorter_side_pixels=64, longer_side_pixels=128)
    pixels, scale = network_image(np.full((32, 48, 3), 255, np.uint8), settings)
    expected = (1 - torch.tensor(CHANNEL_MEAN)) / torch.tensor(CHANNEL_STD)

    assert pixels.shape == (3, 64, 96)
    torch.testing.assert_close(pixels[:, 10, 10], expected)
    assert scale.tolist() == [2, 2, 2, 2]


def test_images_of_several_sizes_share_a_batch() -> None:
    """The smaller one stands top left, and zeros, which are the mean colour, fill the rest."""
    batch = padded_batch([torch.ones(3, 2, 5), torch.ones(3, 4, 3)])

    assert batch.shape == (2, 3, 4, 5)
    assert batch[0].sum() == 3 * 2 * 5
    assert batch[1, :, :, 3:].sum() == 0
