"""Image files that were cut off or are damaged are not images."""

import cv2
import numpy as np
import pytest

from watchmove.pipeline.files.images import decoded_image

IMAGE = np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".tif", ".webp", ".ppm", ".jp2"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_truncated_image_is_none(suffix: str, share: float) -> None:
    """OpenCV's reader of files, in contrast, would fill what a JPEG lacks with grey."""
    content = cv2.imencode(suffix, IMAGE)[1].tobytes()
    whole = decoded_image(content)

    assert whole is not None
    assert whole.shape == IMAGE.shape
    assert decoded_image(content[: int(len(content) * share)]) is None
