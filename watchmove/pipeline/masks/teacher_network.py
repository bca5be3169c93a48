"""A pretrained mask network as the teacher: it predicts a mask for crops around every object that motion indicates.

The network was trained on crops around single objects (Pathak et al., CVPR 2017, section 5), so it is only applied to
such crops, several sizes for each object. Torch is loaded with this module.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn

from watchmove.pipeline.arrays import FloatArray, Image
from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.masks.chain import WORKING_SCALE
from watchmove.pipeline.networks.alexnet import normalise_images
from watchmove.pipeline.networks.alexnet_shape import ALEXNET
from watchmove.pipeline.networks.choice import input_pixels_of, kind_of
from watchmove.pipeline.pretraining.examples import TARGET_PIXELS, Square, into_square
from watchmove.pipeline.pretraining.mask_network_file import load_mask_network

_OBJECT_FRACTION = 0.57
"""Length of the object relative to its crop: that of the crops in training, 128 of 224 pixels as in DeepMask."""

_RELATIVE_SIZES = (0.8, 1.0, 1.25)
"""Sizes of the crops around one object; they lie within the range of training's jitter. Set by hand; not tuned."""

_MIN_PEAK = 0.3
"""Peak of the motion evidence below which a frame is treated as if it were this high. Set by hand; not tuned."""

_PEAK_FRACTION = 0.5
"""Evidence of at least this part of the peak is taken for an object. Set by hand; not tuned."""

_PEAK_BOX_PIXELS = 3
"""The peak is that of a mean over so many pixels squared, so that a single outlier does not set it."""

_MIN_AREA_FRACTION = 0.005
"""Smallest object, as a fraction of the frame: half of the default of `extract.min_area_fraction`."""

_MAX_OBJECTS = 3
"""A bound on time, not a tuned value: the network runs on this many objects of a frame at most, in every size."""

_CROPS_PER_BATCH = 16
"""A bound on memory, not a tuned value."""


class TeacherNetwork:
    """A mask network on one device, applied to crops of frames."""

    def __init__(self, network: nn.Module, device: torch.device, pixels: int = ALEXNET.input_pixels) -> None:
        """`network` gives logits (N, 56, 56) of normalised images (N, 3, pixels, pixels); it is moved to `device`."""
        # evaluation mode turns dropout off: the same frames must give the same masks
        self._network = network.eval().to(device)
        self._device = device
        self._pixels = pixels

    def predict(self, images: Sequence[Image], motion_evidence: Sequence[FloatArray]) -> list[FloatArray]:
        """For each frame, the probability that a pixel belongs to a moving object: float32 (h, w) in [0, 1], or NaN.

        images: (H, W, 3) uint8 RGB; motion_evidence: for each image, (h, w) float32 in [0, 1] at the working size. The
        prediction is the mean over the crops that hold a pixel, and NaN where there is no crop.
        """
        squares_of_frames = [list(object_squares(evidence)) for evidence in motion_evidence]
        # crops of all frames in one list, so that batches are full although each frame has only a few
        crops = [
            _crop(image, _at_full_size(square), self._pixels)
            for image, squares in zip(images, squares_of_frames, strict=True)
            for square in squares
        ]
        probabilities = iter(self._probabilities(crops))
        return [
            _mean_of_crops([(square, next(probabilities)) for square in squares], evidence.shape)
            for squares, evidence in zip(squares_of_frames, motion_evidence, strict=True)
        ]

    @torch.inference_mode()
    def _probabilities(self, crops: Sequence[Image]) -> Iterator[FloatArray]:
        """Yield a mask (56, 56) in [0, 1] for each crop (S, S, 3) of the size of the network's input."""
        for start in range(0, len(crops), _CROPS_PER_BATCH):
            pixels = torch.from_numpy(np.stack(crops[start : start + _CROPS_PER_BATCH])).to(self._device)
            # axes: (N, rows, columns, 3) -> (N, 3, rows, columns)
            yield from torch.sigmoid(self._network(normalise_images(pixels.permute(0, 3, 1, 2)))).cpu().numpy()


def load_teacher_network(weights: Path, device: torch.device) -> TeacherNetwork:
    """Load a teacher from a mask network's file. Raises InvalidInput where the file is missing or does not fit."""
    try:
        network = load_mask_network(weights)
        return TeacherNetwork(network, device, input_pixels_of(kind_of(network.trunk)))
    except InvalidInput as error:
        raise InvalidInput(f"extract.teacher: {error}") from error


def object_squares(evidence: FloatArray) -> Iterator[Square]:
    """Yield squares, in pixels of the motion evidence (h, w), around its connected parts, the largest part first.

    Each part of sufficient size has one square for each of the relative sizes.
    """
    box = (_PEAK_BOX_PIXELS, _PEAK_BOX_PIXELS)
    peak = max(_MIN_PEAK, float(cv2.blur(evidence, box).max()))
    foreground = (evidence >= _PEAK_FRACTION * peak).astype(np.uint8)
    _, _, statistics, _ = cv2.connectedComponentsWithStats(foreground, connectivity=8)
    # the first component is the background
    parts = sorted(statistics[1:].tolist(), key=lambda part: -part[cv2.CC_STAT_AREA])
    for left, top, width, height, area in parts[:_MAX_OBJECTS]:
        if area >= _MIN_AREA_FRACTION * evidence.size:
            for size in _RELATIVE_SIZES:
                # as in training, the longer side of the object decides the size of its crop
                side = size * max(width, height) / _OBJECT_FRACTION
                yield Square(left + width / 2, top + height / 2, side)


def _at_full_size(square: Square) -> Square:
    # no half-pixel offset: the coordinates of a square are continuous and start at the edge of the image
    return Square(*(WORKING_SCALE * number for number in square))


def _crop(image: Image, square: Square, pixels: int) -> Image:
    """The part of an image (H, W, 3) inside a square, (`pixels`, `pixels`, 3); beyond the image its border repeats."""
    crop = cv2.warpAffine(
        image, into_square(square, pixels), (pixels, pixels), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(crop, np.uint8)


def _mean_of_crops(predictions: Sequence[tuple[Square, FloatArray]], shape: tuple[int, ...]) -> FloatArray:
    """Mean, over the squares that hold a pixel, of their predictions (56, 56) as a map (h, w); NaN outside of all."""
    total, weight = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    for square, prediction in predictions:
        # a map of ones is warped in the same way, so that interpolation at a square's border divides out
        for sums, values in ((total, prediction), (weight, np.ones_like(prediction))):
            # the matrix leads from the frame to the square, which is the inverse of this warp
            sums += cv2.warpAffine(
                values,
                into_square(square, TARGET_PIXELS),
                (shape[1], shape[0]),
                flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            )
    # outside of all crops 0 / 0 is computed, which `where` discards
    with np.errstate(invalid="ignore"):
        return np.where(weight > 0, total / weight, np.nan).astype(np.float32)
