"""Images as the detector's network takes them: scaled, normalised, several in one padded batch."""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from watchmove.pipeline.networks.alexnet import normalise_image
from watchmove.pipeline.settings.evaluation import EvaluationSettings


def scaled_size(height: int, width: int, settings: EvaluationSettings) -> tuple[int, int]:
    """Height and width of an image scaled to the set shorter side, or less, to keep within the limit of the longer."""
    scale = min(settings.shorter_side_pixels / min(height, width), settings.longer_side_pixels / max(height, width))
    return max(round(height * scale), 1), max(round(width * scale), 1)


def network_image(image: NDArray[np.uint8], settings: EvaluationSettings) -> tuple[Tensor, Tensor]:
    """An image uint8 RGB (H, W, 3) as float32 (3, h, w), normalised, and the scale float32 (4,) of boxes xyxy in it."""
    height, width = image.shape[:2]
    new_height, new_width = scaled_size(height, width, settings)
    scaled = cv2.resize(image, (new_width, new_height), interpolation=cv2.INTER_LINEAR)
    # from the rounded size, so that boxes fit the pixels: the two axes can differ slightly
    scale = torch.tensor([new_width / width, new_height / height] * 2, dtype=torch.float32)
    return normalise_image(np.asarray(scaled, np.uint8)), scale


def padded_batch(images: Sequence[Tensor]) -> Tensor:
    """Images (3, h, w) of several sizes as one (N, 3, H, W), filled with the mean colour on the right and below."""
    height, width = max(image.shape[1] for image in images), max(image.shape[2] for image in images)
    batch = torch.zeros(len(images), 3, height, width)
    for index, image in enumerate(images):
        batch[index, :, : image.shape[1], : image.shape[2]] = image
    return batch
