"""Frames with soft masks to training examples: a crop around what moved, and what is certain of it.

Pathak et al. (CVPR 2017, sections 4 and 5): a pixel is certain foreground, certain background or ignored.
The crop is centred on the object and jittered in place and scale as DeepMask does (Pinheiro et al., NIPS 2015, section
4), so that the network cannot answer with an average box. The object is 128 of 224 pixels long there and here. DeepMask
shifts by up to 16 of 224 pixels (0.07; 16 of 160, 0.10, in the released sampler) and scales by up to a quarter of an
octave, half a step of the grid on which it looks for objects afterwards. Here nothing is looked for, and jitter serves
against the average mask alone: at its best threshold that has an IoU of 0.63 in DeepMask's ranges and of 0.51 in these,
0.12 and half an octave (0.78 without jitter), on held-out videos of the drawn world.
"""

from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from watchmove.pipeline.dataset.shard import Sample
from watchmove.pipeline.networks.alexnet import INPUT_PIXELS
from watchmove.pipeline.pretraining.colour_jitter import ColourChange, changed, drawn_change
from watchmove.pipeline.settings.pretraining import PretrainingSettings

TARGET_PIXELS = 56
FOREGROUND, BACKGROUND, IGNORED = 1, 0, -1
FINE = 4
"""Places per target pixel and axis at which a soft mask is read."""


class MaskExample(NamedTuple):
    """`image` (227, 227, 3) uint8 RGB; `trimap` (56, 56) int8: 1 certainly moves, 0 certainly does not, -1 ignored."""

    image: NDArray[np.uint8]
    trimap: NDArray[np.int8]


class Square(NamedTuple):
    """A square crop in pixels of the frame; it may reach beyond the frame."""

    centre_x: float
    centre_y: float
    side: float


class UncutExample(NamedTuple):
    """A frame (H, W, 3) uint8 RGB and its mask (H, W) uint8, 255 for 1, with what has been drawn for its example."""

    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    square: Square
    flip: bool
    colours: ColourChange | None


def trimap_of(soft_mask: NDArray[np.float32], foreground: float, background: float) -> NDArray[np.int8]:
    """`soft_mask` (H, W) in [0, 1] to 1 at or above `foreground`, 0 at or below `background`, else -1."""
    trimap = np.full(soft_mask.shape, IGNORED, np.int8)
    trimap[soft_mask >= foreground] = FOREGROUND
    trimap[soft_mask <= background] = BACKGROUND
    return trimap


def object_box_xyxy(soft_mask: NDArray[np.float32], foreground: float) -> tuple[float, float, float, float] | None:
    """Box of the largest connected piece of certain foreground, 0-based, max exclusive; None where there is none."""
    certain = (soft_mask >= foreground).astype(np.uint8)
    left, top, width, height = cv2.boundingRect(certain)
    if not width:
        return None
    # Pieces are looked for where there are any: that takes a quarter of the time.
    inside = np.ascontiguousarray(certain[top : top + height, left : left + width])
    _, _, facts, _ = cv2.connectedComponentsWithStats(inside, connectivity=8)
    x, y, width, height, _ = facts[1 + int(np.argmax(facts[1:, cv2.CC_STAT_AREA]))]
    return float(left + x), float(top + y), float(left + x + width), float(top + y + height)


def jittered_square(
    box_xyxy: tuple[float, float, float, float], settings: PretrainingSettings, rng: np.random.Generator | None
) -> Square:
    """The crop around a box; without `rng` it is exactly centred and scaled."""
    x0, y0, x1, y1 = box_xyxy
    side = max(x1 - x0, y1 - y0) / settings.object_fraction
    if rng is None:
        return Square((x0 + x1) / 2, (y0 + y1) / 2, side)
    side *= 2.0 ** rng.uniform(-settings.scale_octaves, settings.scale_octaves)
    shift = side * rng.uniform(-settings.shift_fraction, settings.shift_fraction, size=2)
    return Square((x0 + x1) / 2 + shift[0], (y0 + y1) / 2 + shift[1], side)


def moved_inside(square: Square, height: int, width: int) -> Square:
    """The nearest square of at most its side that lies within a frame."""
    side = min(square.side, height, width)
    x = min(max(square.centre_x, side / 2), width - side / 2)
    y = min(max(square.centre_y, side / 2), height - side / 2)
    return Square(x, y, side)


def cut(
    image: NDArray[np.uint8],
    soft_mask: NDArray[np.float32],
    square: Square,
    settings: PretrainingSettings,
    *,
    flip: bool,
) -> MaskExample:
    """One example from a frame, (H, W, 3) uint8 RGB and its mask (H, W) in [0, 1]. Beyond the frame all is ignored."""
    picture = cv2.warpAffine(
        image,
        into_square(square, INPUT_PIXELS),
        (INPUT_PIXELS, INPUT_PIXELS),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    # The mask is cut four times finer and averaged, so that a target pixel stands for all of its area.
    fine = TARGET_PIXELS * FINE
    unsure = (settings.foreground_threshold + settings.background_threshold) / 2
    mask = cv2.warpAffine(
        soft_mask,
        into_square(square, fine),
        (fine, fine),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=unsure,
    )
    small = cv2.resize(mask, (TARGET_PIXELS, TARGET_PIXELS), interpolation=cv2.INTER_AREA).astype(np.float32)
    trimap = trimap_of(small, settings.foreground_threshold, settings.background_threshold)
    if flip:
        # OpenCV mirrors ten times as fast as a copy of a view with negative steps.
        picture, trimap = cv2.flip(picture, 1), np.ascontiguousarray(trimap[:, ::-1])
    return MaskExample(np.asarray(picture, np.uint8), trimap)


def example_of(
    sample: Sample, settings: PretrainingSettings, rng: np.random.Generator | None, *, inside_frame: bool = False
) -> MaskExample | None:
    """The example of a dataset frame, jittered by `rng` (None: centred, not flipped); None where it cannot be used.

    `inside_frame`: a crop that would reach beyond the frame is moved, and made smaller where it must be, so that none
    of it does.
    """
    uncut = uncut_example_of(sample, settings, rng)
    if uncut is None:
        return None
    square = moved_inside(uncut.square, *uncut.mask.shape) if inside_frame else uncut.square
    soft_mask = uncut.mask.astype(np.float32) / np.float32(255)
    example = cut(uncut.image, soft_mask, square, settings, flip=uncut.flip)
    return example if uncut.colours is None else example._replace(image=_coloured(example.image, uncut.colours))


def uncut_example_of(
    sample: Sample, settings: PretrainingSettings, rng: np.random.Generator | None
) -> UncutExample | None:
    """The same before any pixel is touched, for whoever cuts examples elsewhere."""
    image = _decoded(sample.jpeg, cv2.IMREAD_COLOR)
    mask = _decoded(sample.mask_png, cv2.IMREAD_GRAYSCALE)
    if image is None or mask is None or image.shape[:2] != mask.shape:
        return None
    soft_mask = mask.astype(np.float32) / np.float32(255)
    box = object_box_xyxy(soft_mask, settings.foreground_threshold)
    if box is None:
        return None
    square = jittered_square(box, settings, rng)
    flip = rng is not None and bool(rng.random() < 0.5)
    colours = None if rng is None else drawn_change(settings.colour_jitter, rng)
    return UncutExample(np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8), mask, square, flip, colours)


def _coloured(image: NDArray[np.uint8], change: ColourChange) -> NDArray[np.uint8]:
    # axes: (H, W, C) -> (C, H, W) and back
    pixels = changed(torch.from_numpy(image).permute(2, 0, 1), change)
    return np.ascontiguousarray(pixels.permute(1, 2, 0).numpy())


def _decoded(content: bytes, kind: int) -> NDArray[np.uint8] | None:
    """A picture of uint8, BGR or grey; None where OpenCV cannot or will not decode it."""
    try:
        picture = cv2.imdecode(np.frombuffer(content, np.uint8), kind)
    except cv2.error:  # nothing there, or more pixels than it allows
        return None
    return None if picture is None else np.asarray(picture, np.uint8)


def into_square(square: Square, pixels: int) -> NDArray[np.float64]:
    """The 2x3 matrix that maps the frame so that `square` fills `pixels` x `pixels`."""
    scale = pixels / square.side
    # pixel centres are at half-integers of the square's continuous coordinates
    left, top = square.centre_x - square.side / 2, square.centre_y - square.side / 2
    return np.array([[scale, 0.0, (0.5 - left) * scale - 0.5], [0.0, scale, (0.5 - top) * scale - 0.5]])
