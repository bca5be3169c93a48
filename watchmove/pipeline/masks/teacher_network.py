"""A second watch: what a pretrained mask network says of frames in which motion has been looked at.

The network was trained on crops around single objects (Pathak et al., CVPR 2017, section 5), so it is asked about such
crops alone: around each thing that motion points at, in several sizes. Torch is loaded with this module.
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
from watchmove.pipeline.networks.alexnet import INPUT_PIXELS, normalised
from watchmove.pipeline.pretraining.examples import TARGET_PIXELS, Square, into_square
from watchmove.pipeline.pretraining.mask_network_file import load_mask_network

_OBJECT_FRACTION = 0.57
_SIZES = (0.8, 1.0, 1.25)
_LEAST_PEAK = 0.3
_SHARE_OF_PEAK = 0.5
_LEAST_AREA_FRACTION = 0.005
_MOST_THINGS = 3
_CROPS_AT_ONCE = 16


class Teacher:
    """A mask network that is asked about frames."""

    def __init__(self, network: nn.Module, device: torch.device) -> None:
        """`network` gives logits (N, 56, 56) of normalised images (N, 3, 227, 227); it is moved to `device`."""
        self._network = network.eval().to(device)
        self._device = device

    def votes(self, images: Sequence[Image], moving: Sequence[FloatArray]) -> list[FloatArray]:
        """For each frame, how likely its pixels belong to what moves: (h, w) in [0, 1]; NaN where nothing was asked.

        Images are (H, W, 3) uint8 RGB; `moving` (h, w) in [0, 1] is evidence of motion at the working size.
        """
        squares = [list(things(evidence)) for evidence in moving]
        crops = [
            _cropped(image, _enlarged(square)) for image, some in zip(images, squares, strict=True) for square in some
        ]
        answers = iter(self._answers(crops))
        return [
            _pasted([(square, next(answers)) for square in some], evidence.shape)
            for some, evidence in zip(squares, moving, strict=True)
        ]

    @torch.inference_mode()
    def _answers(self, crops: Sequence[Image]) -> Iterator[FloatArray]:
        """Probabilities (56, 56) of each crop."""
        for start in range(0, len(crops), _CROPS_AT_ONCE):
            pixels = torch.from_numpy(np.stack(crops[start : start + _CROPS_AT_ONCE])).to(self._device)
            # axes: (N, rows, columns, 3) -> (N, 3, rows, columns)
            yield from torch.sigmoid(self._network(normalised(pixels.permute(0, 3, 1, 2)))).cpu().numpy()


def load_teacher(weights: Path, device: torch.device) -> Teacher:
    """The teacher of a mask network's file. Raises InvalidInput where there is none, or it does not fit."""
    try:
        return Teacher(load_mask_network(weights), device)
    except InvalidInput as error:
        raise InvalidInput(f"extract.teacher: {error}") from error


def things(evidence: FloatArray) -> Iterator[Square]:
    """Squares, in pixels of the evidence (h, w), around what stands out in it, largest first, each in several sizes."""
    peak = max(_LEAST_PEAK, float(cv2.blur(evidence, (3, 3)).max()))
    standing = (evidence >= _SHARE_OF_PEAK * peak).astype(np.uint8)
    _, _, facts, _ = cv2.connectedComponentsWithStats(standing, connectivity=8)
    pieces = sorted(facts[1:].tolist(), key=lambda piece: -piece[cv2.CC_STAT_AREA])
    for left, top, width, height, area in pieces[:_MOST_THINGS]:
        if area >= _LEAST_AREA_FRACTION * evidence.size:
            for size in _SIZES:
                side = size * max(width, height) / _OBJECT_FRACTION
                yield Square(left + width / 2, top + height / 2, side)


def _enlarged(square: Square) -> Square:
    return Square(*(WORKING_SCALE * number for number in square))


def _cropped(image: Image, square: Square) -> Image:
    size = (INPUT_PIXELS, INPUT_PIXELS)
    crop = cv2.warpAffine(
        image, into_square(square, INPUT_PIXELS), size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(crop, np.uint8)


def _pasted(answers: Sequence[tuple[Square, FloatArray]], shape: tuple[int, ...]) -> FloatArray:
    """Mean of answers where they lie in a map (h, w); NaN where there is none."""
    total, count = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    for square, answer in answers:
        for sums, values in ((total, answer), (count, np.ones_like(answer))):
            sums += cv2.warpAffine(
                values,
                into_square(square, TARGET_PIXELS),
                (shape[1], shape[0]),
                flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            )
    with np.errstate(invalid="ignore"):
        return np.where(count > 0, total / count, np.nan).astype(np.float32)
