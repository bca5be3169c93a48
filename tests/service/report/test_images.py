"""Figures of the report."""

import cv2
import numpy as np
import pytest

from watchmove.pipeline.dataset.shard import Sample
from watchmove.service.report.images import detection_image, drawn_mask, frame_of, image_of, overlay, soft_mask_of


def _sample(image: np.ndarray, mask: np.ndarray) -> Sample:
    """A frame as extraction writes it: OpenCV's JPEG of an RGB image, and the PNG of an 8-bit mask."""
    jpeg, png = cv2.imencode(".jpg", image[..., ::-1])[1], cv2.imencode(".png", mask)[1]
    return Sample("frame", jpeg.tobytes(), png.tobytes(), {"video": "v", "time_seconds": 1.0, "confidence": 0.5})


def test_a_frame_and_its_mask_are_read_as_they_were_written() -> None:
    """Colours in the order red, green, blue, and each level of the mask."""
    mask = np.arange(64 * 48, dtype=np.uint32).reshape(48, 64).astype(np.uint8)
    sample = _sample(np.full((48, 64, 3), (200, 100, 20), np.uint8), mask)
    frame, soft_mask = frame_of(sample), soft_mask_of(sample)

    assert frame is not None
    assert np.abs(frame.mean(axis=(0, 1)) - (200, 100, 20)).max() < 3
    assert soft_mask is not None
    np.testing.assert_array_equal(np.round(soft_mask * 255).astype(np.uint8), mask)


def test_a_mask_is_a_tint_with_an_outline() -> None:
    """A square: red inside, yellow on its outermost pixels, also at the edge of the image, and nothing outside."""
    mask = np.zeros((12, 16), np.float32)
    mask[4:12, 5:11] = 1
    drawn = overlay(np.full((12, 16, 3), 100, np.uint8), mask)
    outline = (drawn == (255, 255, 0)).all(axis=2)
    inside = np.zeros_like(outline)
    inside[5:11, 6:10] = True

    np.testing.assert_array_equal(outline, (mask == 1) & ~inside)
    assert (drawn[inside] == drawn[6, 7]).all()
    assert drawn[6, 7, 0] > 150 > 100 > drawn[6, 7, 1]
    assert (drawn[mask == 0] == 100).all()


@pytest.mark.parametrize("broken", ["truncated", "empty", "not an image"])
def test_a_frame_that_cannot_be_decoded_has_no_picture(broken: str) -> None:
    """The report goes on without it."""
    whole = _sample(np.zeros((48, 64, 3), np.uint8), np.zeros((48, 64), np.uint8))
    content = {"truncated": whole.jpeg[: len(whole.jpeg) // 2], "empty": b"", "not an image": b"x" * 500}[broken]
    sample = Sample("frame", content, whole.mask_png, whole.metadata)

    assert image_of(whole) is not None
    assert image_of(sample) is None
    assert drawn_mask(sample) is None


@pytest.mark.parametrize("values", [[], [0.0, 0.0], [0.4, 0.6]])
def test_a_bar_chart_of_any_values(values: list[float]) -> None:
    """A test set without objects has no mAP, and a detector that finds nothing has zero: both have a chart."""
    chart = detection_image([f"random, seed {number}" for number in range(len(values))], values)

    assert b"<svg" in chart
