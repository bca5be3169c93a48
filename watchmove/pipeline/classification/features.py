"""Features of every layer of a frozen trunk, for linear classifiers.

The protocol is that of the benchmark of Goyal et al. (ICCV 2019, section 6.1): one centre crop of an image whose
shorter side is 256 pixels, each convolution's output averaged over a grid that leaves about 9,000 values, all of unit
length.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.files.weights import name_of_not_finite
from watchmove.pipeline.networks.alexnet import INPUT_PIXELS, AlexNet, normalise_image
from watchmove.pipeline.voc.annotations import read_image

SHORTER_SIDE_PIXELS = 256
"""Shorter side before the centre crop (Goyal et al., ICCV 2019, section 6.1)."""
GRIDS = {"conv1": 10, "conv2": 6, "conv3": 5, "conv4": 5, "conv5": 6}
"""Cells on a side over which a convolution's output is averaged: 9,600, 9,216, 9,600, 9,600 and 9,216 values."""

_BATCH = 32
"""Images in one forward pass: a bound on memory, set by hand."""


def centre_crop(image: NDArray[np.uint8]) -> Tensor:
    """The middle of an image uint8 RGB (H, W, 3), scaled to a shorter side of 256, as float32 (3, 227, 227)."""
    height, width = image.shape[:2]
    scale = SHORTER_SIDE_PIXELS / min(height, width)
    size = max(round(width * scale), INPUT_PIXELS), max(round(height * scale), INPUT_PIXELS)
    # averaging over areas avoids aliasing; enlarging by it would repeat pixels
    scaled = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    left, top = (size[0] - INPUT_PIXELS) // 2, (size[1] - INPUT_PIXELS) // 2
    return normalise_image(np.asarray(scaled[top : top + INPUT_PIXELS, left : left + INPUT_PIXELS], np.uint8))


@torch.inference_mode()
def layer_features(trunk: AlexNet, images: Tensor) -> dict[str, Tensor]:
    """Features float32 (N, D) of unit length by layer, of normalised images (N, 3, 227, 227)."""
    features = {}
    for name, output in trunk.layer_outputs(images):
        pooled = functional.adaptive_avg_pool2d(output, GRIDS[name]) if name in GRIDS else output
        features[name] = functional.normalize(pooled.flatten(1).float())
    return features


def write_features(
    trunk: AlexNet, layers: Sequence[str], images: Sequence[Path], folder: Path, between: Callable[[int], None]
) -> dict[str, Path]:
    """Write features of all images, float32 (N, D), one `.npy` file a layer; `between` receives the number
    of finished images.

    Each batch is written at once, so that memory does not grow with the number of images. Runs on the trunk's device.

    Raises:
        InvalidInput: an image is missing or cannot be decoded, or a feature is not finite.
    """
    trunk.eval()
    device = trunk.conv1.weight.device
    paths = {name: folder / f"{name}.npy" for name in layers}
    files: dict[str, NDArray[np.float32]] = {}
    for first in range(0, len(images), _BATCH):
        between(first)
        crops = torch.stack([centre_crop(read_image(path)) for path in images[first : first + _BATCH]])
        found = layer_features(trunk, crops.to(device))
        not_finite = name_of_not_finite(found)
        if not_finite is not None:
            raise InvalidInput(
                f"features of {not_finite} are not finite for {images[first]} or one of the {len(crops) - 1} images "
                "after it; the trunk's training diverged: train it with a lower learning rate"
            )
        for name in layers:
            rows = found[name].cpu().numpy()
            if name not in files:
                shape = (len(images), rows.shape[1])
                files[name] = np.lib.format.open_memmap(paths[name], "w+", np.float32, shape)
            files[name][first : first + len(rows)] = rows
    for file in files.values():
        file.flush()  # type: ignore[attr-defined]
    return paths
