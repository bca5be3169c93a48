"""Selective search."""

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torchvision.ops import box_iou

from watchmove.pipeline.detection.proposals import selective_search
from watchmove.pipeline.settings.evaluation import ProposalSettings

SQUARE_XYXY = (90.0, 60.0, 170.0, 140.0)


def drawn_square(height: int = 200, width: int = 260) -> NDArray[np.uint8]:
    """A red square of 80 pixels on blurred noise."""
    generator = np.random.default_rng(0)
    noise = cv2.GaussianBlur(generator.uniform(0, 255, (height, width, 3)).astype(np.float32), (0, 0), 5)
    image = np.asarray(noise, np.float32)
    image[60:140, 90:170] = (220, 40, 40)
    return np.clip(image + generator.normal(0, 4, image.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("longer_side_pixels", [500, 160])
def test_a_drawn_square_is_among_the_proposals(longer_side_pixels: int) -> None:
    """Some box overlaps the square by 0.7 or more, also when the search runs on a smaller picture."""
    boxes = selective_search(drawn_square(), ProposalSettings(longer_side_pixels=longer_side_pixels))

    assert box_iou(torch.tensor([SQUARE_XYXY]), torch.from_numpy(boxes)).max() >= 0.7


def test_the_same_image_gives_the_same_boxes_in_the_same_order() -> None:
    """OpenCV's own order changes from call to call; ours comes from the seed."""
    settings = ProposalSettings(seed=3, max_boxes=20)
    first, second = (selective_search(drawn_square(), settings) for _ in range(2))

    np.testing.assert_array_equal(first, second)


def test_boxes_are_distinct_large_enough_few_enough_and_inside() -> None:
    """What the settings promise of the boxes holds for each of them."""
    settings = ProposalSettings(min_side_pixels=24, max_boxes=15)
    boxes = selective_search(drawn_square(), settings)
    sides = boxes[:, 2:] - boxes[:, :2]

    assert boxes.dtype == np.float32
    assert 1 <= len(boxes) <= 15
    assert len(np.unique(boxes, axis=0)) == len(boxes)
    assert sides.min() >= 24
    assert boxes.min() >= 0
    assert (boxes[:, 2:] <= [260, 200]).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (7, 5)])
def test_tiny_images_are_searched_too(shape: tuple[int, int]) -> None:
    """A picture smaller than any object gives boxes of the right form, mostly none."""
    boxes = selective_search(np.full((*shape, 3), 90, np.uint8), ProposalSettings())

    assert boxes.shape[1] == 4
