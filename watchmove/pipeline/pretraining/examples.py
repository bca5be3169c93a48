"""Training examples of masks: a crop around the moving object of a frame, and its soft mask cut to certain pixels.

As in Pathak et al. (CVPR 2017, sections 4 and 5), a pixel is certain foreground, certain background or ignored. The
crop is centred on the object and jittered in place and scale as in DeepMask (Pinheiro et al., NIPS 2015, section 4), so
that the network cannot predict an average mask. As there, the object is 128 of 224 pixels long. DeepMask shifts by up
to 16 of 224 pixels (0.07; in the released sampler 16 of 160, 0.10) and scales by up to a quarter of an octave, half a
step of the grid on which it searches for objects. Nothing is searched for here, so the ranges serve only to make the
average mask a bad prediction: at its best threshold that has an IoU of 0.63 in DeepMask's ranges and of 0.51 in the
default ranges, 0.12 and half an octave (0.78 without jitter), on held-out videos of the drawn world.
"""

from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from watchmove.pipeline.dataset.shard import Sample
from watchmove.pipeline.dataset.trimap import trimap_of
from watchmove.pipeline.networks.choice import input_pixels_of
from watchmove.pipeline.pretraining.colour_jitter import ColourChange, changed, drawn_change
from watchmove.pipeline.settings.pretraining import PretrainingSettings

TARGET_PIXELS = 56
"""Side of the predicted mask (Pathak et al., section 5)."""
FINE = 4
"""Number of samples of a soft mask per target pixel and axis. Set by hand; not tuned."""
_FLIP_PROBABILITY = 0.5
"""Probability of mirroring a crop, as for AlexNet (Krizhevsky et al., NIPS 2012, section 4.1)."""


class MaskExample(NamedTuple):
    """A crop of a frame and its training target."""

    image: NDArray[np.uint8]
    """RGB (227, 227, 3), or as large as the trunk's input is."""
    trimap: NDArray[np.int8]
    """(56, 56): 1 certainly the moving object, 0 certainly not, -1 ignored."""


class Square(NamedTuple):
    """A square crop in pixels of the frame, in continuous coordinates; it may extend beyond the frame."""

    centre_x: float
    centre_y: float
    side: float


class UncutExample(NamedTuple):
    """A frame with its mask, and the random choices of its example."""

    image: NDArray[np.uint8]
    """RGB (H, W, 3)."""
    mask: NDArray[np.uint8]
    """Soft mask (H, W), 255 for 1."""
    square: Square
    flip: bool
    """Whether the crop is mirrored."""
    colours: ColourChange | None
    """Change of the crop's colours; None: no change."""


def object_box_xyxy(soft_mask: NDArray[np.float32], foreground: float) -> tuple[float, float, float, float] | None:
    """Return the box of the largest connected region of certain foreground; None if there is none.

    The box is in pixels, 0-based, maximum exclusive.
    """
    certain = (soft_mask >= foreground).astype(np.uint8)
    left, top, width, height = cv2.boundingRect(certain)
    if not width:
        return None
    # Regions are searched for only inside the box of all of them, which takes a quarter of the time.
    inside = np.ascontiguousarray(certain[top : top + height, left : left + width])
    _, _, statistics, _ = cv2.connectedComponentsWithStats(inside, connectivity=8)
    # Row 0 is the background.
    x, y, width, height, _ = statistics[1 + int(np.argmax(statistics[1:, cv2.CC_STAT_AREA]))]
    return float(left + x), float(top + y), float(left + x + width), float(top + y + height)


def jittered_square(
    box_xyxy: tuple[float, float, float, float], settings: PretrainingSettings, rng: np.random.Generator | None
) -> Square:
    """Return the crop around a box, jittered as the settings say; without `rng` it is exactly centred and scaled."""
    x0, y0, x1, y1 = box_xyxy
    side = max(x1 - x0, y1 - y0) / settings.object_fraction
    if rng is None:
        return Square((x0 + x1) / 2, (y0 + y1) / 2, side)
    side *= 2.0 ** rng.uniform(-settings.scale_octaves, settings.scale_octaves)
    shift = side * rng.uniform(-settings.shift_fraction, settings.shift_fraction, size=2)
    return Square((x0 + x1) / 2 + shift[0], (y0 + y1) / 2 + shift[1], side)


def move_inside_frame(square: Square, height: int, width: int) -> Square:
    """Return the square moved into a frame, and made smaller if it is larger than the frame."""
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
    """Cut one example from a frame (H, W, 3) uint8 RGB and its mask (H, W) in [0, 1].

    Beyond the frame the image repeats its border and the target is ignored.
    """
    pixels = input_pixels_of(settings.trunk)
    crop = cv2.warpAffine(
        image,
        into_square(square, pixels),
        (pixels, pixels),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    # The mask is cut four times finer and averaged, so that a target pixel represents all of its area.
    fine = TARGET_PIXELS * FINE
    # between the thresholds, so that what is beyond the frame is ignored
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
        # cv2.flip takes a tenth of the time of copying a view with a negative step.
        crop, trimap = cv2.flip(crop, 1), np.ascontiguousarray(trimap[:, ::-1])
    return MaskExample(np.asarray(crop, np.uint8), trimap)


def example_of(
    sample: Sample, settings: PretrainingSettings, rng: np.random.Generator | None, *, inside_frame: bool = False
) -> MaskExample | None:
    """Make the example of a dataset's frame; None if the frame cannot be used.

    `rng` jitters, mirrors and colours the crop; with None it is centred and unchanged. With `inside_frame` a crop that
    would extend beyond the frame is moved inside, and made smaller if it is larger than the frame.
    """
    uncut = uncut_example_of(sample, settings, rng)
    if uncut is None:
        return None
    square = move_inside_frame(uncut.square, *uncut.mask.shape) if inside_frame else uncut.square
    soft_mask = uncut.mask.astype(np.float32) / np.float32(255)
    example = cut(uncut.image, soft_mask, square, settings, flip=uncut.flip)
    return example if uncut.colours is None else example._replace(image=_coloured(example.image, uncut.colours))


def uncut_example_of(
    sample: Sample, settings: PretrainingSettings, rng: np.random.Generator | None
) -> UncutExample | None:
    """Decode a dataset's frame and draw its example's random choices, without cutting; None if it cannot be used.

    A frame cannot be used if its image or mask cannot be decoded, their sizes differ, or no pixel is certain
    foreground.
    """
    image = _decoded(sample.jpeg, cv2.IMREAD_COLOR)
    mask = _decoded(sample.mask_png, cv2.IMREAD_GRAYSCALE)
    if image is None or mask is None or image.shape[:2] != mask.shape:
        return None
    soft_mask = mask.astype(np.float32) / np.float32(255)
    box = object_box_xyxy(soft_mask, settings.foreground_threshold)
    if box is None:
        return None
    # The order of these draws is part of what a seed means: another order gives other weights.
    square = jittered_square(box, settings, rng)
    flip = rng is not None and bool(rng.random() < _FLIP_PROBABILITY)
    colours = None if rng is None else drawn_change(settings.colour_jitter, rng)
    return UncutExample(np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8), mask, square, flip, colours)


def _coloured(image: NDArray[np.uint8], change: ColourChange) -> NDArray[np.uint8]:
    # axes: (H, W, C) -> (C, H, W) and back
    pixels = changed(torch.from_numpy(image).permute(2, 0, 1), change)
    return np.ascontiguousarray(pixels.permute(1, 2, 0).numpy())


def _decoded(content: bytes, kind: int) -> NDArray[np.uint8] | None:
    """Decode an image as uint8, BGR or grey; None if OpenCV cannot decode it."""
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), kind)
    except cv2.error:  # no bytes, or more pixels than OpenCV allows
        return None
    return None if image is None else np.asarray(image, np.uint8)


def into_square(square: Square, pixels: int) -> NDArray[np.float64]:
    """Return the matrix (2, 3) that maps the frame so that `square` fills an image of `pixels` x `pixels`."""
    scale = pixels / square.side
    # pixel centres are at half-integers of the square's continuous coordinates
    left, top = square.centre_x - square.side / 2, square.centre_y - square.side / 2
    return np.array([[scale, 0.0, (0.5 - left) * scale - 0.5], [0.0, scale, (0.5 - top) * scale - 0.5]])
