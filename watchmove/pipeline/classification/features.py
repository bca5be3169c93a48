"""Features of every layer of a frozen trunk, for linear classifiers.

The protocol is that of the benchmark of Goyal et al. (ICCV 2019, section 6.1), as its code extracts features of
CaffeNet (facebookresearch/fair_self_supervision_benchmark: configs/benchmark_tasks/image_classification/voc07 and
modeling/supervised/caffenet_bvlc_supervised_finetune_linear.py): the whole image squeezed to 227 pixels a side, each
convolution's output after the ReLU averaged by overlapping windows, which leave about 9,000 values, all of unit length.
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
from watchmove.pipeline.files.atomic import unwritten
from watchmove.pipeline.files.weights import name_of_not_finite
from watchmove.pipeline.networks.alexnet import AlexNet, normalise_image
from watchmove.pipeline.networks.alexnet_shape import ALEXNET
from watchmove.pipeline.voc.annotations import read_image

SHORTER_SIDE_PIXELS = 256
"""Shorter side to which an image is scaled before it is squeezed (the benchmark's transform `scale`)."""
POOLING_WINDOWS = {"conv1": (19, 4), "conv2": (12, 3), "conv3": (9, 1), "conv4": (9, 1), "conv5": (8, 1)}
"""Side and stride, in cells, of the windows that average a convolution's output, from the benchmark's CaffeNet.

They leave 10, 6, 5, 5 and 6 values a side: 9,600, 9,216, 9,600, 9,600 and 9,216 values in all.
"""

_BATCH = 32
"""Images in one forward pass: a bound on memory, set by hand."""


def squeezed_image(image: NDArray[np.uint8]) -> Tensor:
    """The whole of an image uint8 RGB (H, W, 3), squeezed to a square, as normalised float32 (3, 227, 227).

    It is scaled twice, as in the benchmark: to a shorter side of 256, then to the square, both times bilinearly.
    """
    height, width = image.shape[:2]
    shorter = min(height, width)
    # in integers, as the benchmark rounds the longer side down
    size = width * SHORTER_SIDE_PIXELS // shorter, height * SHORTER_SIDE_PIXELS // shorter
    scaled = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
    square = cv2.resize(scaled, (ALEXNET.input_pixels, ALEXNET.input_pixels), interpolation=cv2.INTER_LINEAR)
    return normalise_image(np.asarray(square, np.uint8))


@torch.inference_mode()
def layer_features(trunk: AlexNet, images: Tensor) -> dict[str, Tensor]:
    """Features float32 (N, D) of unit length by layer, of normalised images (N, 3, 227, 227).

    fc6 and fc7, which the benchmark does not measure on AlexNet, are taken as they are.
    """
    features = {}
    for name, output in trunk.layer_outputs(images):
        pooled = functional.avg_pool2d(output, *POOLING_WINDOWS[name]) if name in POOLING_WINDOWS else output
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
        Unavailable: a file cannot be written, as on a full disk.
    """
    trunk.eval()
    device = trunk.conv1.weight.device
    paths = {name: folder / f"{name}.npy" for name in layers}
    for first in range(0, len(images), _BATCH):
        between(first)
        squares = torch.stack([squeezed_image(read_image(path)) for path in images[first : first + _BATCH]])
        found = layer_features(trunk, squares.to(device))
        not_finite = name_of_not_finite(found)
        if not_finite is not None:
            raise InvalidInput(
                f"features of {not_finite} are not finite for {images[first]} or one of the {len(squares) - 1} images "
                "after it; the trunk's training diverged: train it with a lower learning rate"
            )
        for name in layers:
            _append(paths[name], found[name].cpu().numpy(), first, len(images))
    return paths


def _append(path: Path, rows: NDArray[np.float32], first: int, count: int) -> None:
    """Write the rows (n, D) of an `.npy` file of shape (count, D) that follow its `first` ones.

    The file is no memory map: where the disk is full, writing to one ends the process by a signal. Raises Unavailable.
    """
    try:
        with path.open("ab" if first else "wb") as file:
            if not first:
                header = {"descr": rows.dtype.str, "fortran_order": False, "shape": (count, rows.shape[1])}
                np.lib.format.write_array_header_1_0(file, header)
            file.write(rows.tobytes())
    except OSError as error:
        raise unwritten(path, error) from error
