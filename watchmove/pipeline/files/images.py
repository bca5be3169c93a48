"""Image files, decoded with OpenCV from memory: its reader of files fills what a truncated JPEG lacks with grey."""

import cv2
import numpy as np
from numpy.typing import NDArray


def decoded_image(content: bytes) -> NDArray[np.uint8] | None:
    """Decode an image file as uint8 BGR (H, W, 3), grey ones too; EXIF does not rotate it.

    Returns None where it cannot be decoded, is truncated, or has more pixels than OpenCV allows.
    """
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:  # no bytes, or too many pixels
        return None
    return None if image is None else np.asarray(image, np.uint8)
