"""The detection set of the drawn world, in the layout of PASCAL VOC.

Its images show the six shapes of the videos, or six others with textures and backgrounds that no video has.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from watchmove.pipeline.voc.annotations import VocObject, write_voc_image
from watchmove.pipeline.world.scene import Layer, Scene, box_of_mask_xyxy, poses_from_path, render
from watchmove.pipeline.world.shapes import SHAPES, outline_coverage
from watchmove.pipeline.world.shots import SHADED_SHARE, TILT_RADIANS, contrasting_hue, draw_object
from watchmove.pipeline.world.textures import background, object_texture
from watchmove.pipeline.world.unseen import (
    UNSEEN_OUTLINES,
    UNSEEN_SHAPES,
    UNSEEN_TEXTURES,
    unseen_background,
    unseen_pattern,
)

_SIDE_FRACTION = (0.2, 0.45)
"""Range of the sides of objects, as fractions of the shorter side of the image."""

_DIFFICULT_SIDE_FRACTION = (0.09, 0.13)
"""Range of the sides of difficult objects."""

_DIFFICULT_SHARE = 0.04
"""Share of the objects that are difficult."""

_MOST_OBJECTS = 3
"""Largest number of objects in an image."""

_CUT_OFF_SHARE = 0.12
"""Share of the objects that may be cut off by the border of the image."""

_INSET, _CUT_OFF_INSET = 0.52, 0.2
"""Least distance of an object's centre from the border, in sides of the object: just inside, or cut off by a third."""

_SPACING = 0.46
"""Least distance of two centres along one axis, relative to the sum of their sides; 0.5 would allow no overlap."""

_SIZE_RANGE = (0.88, 1.12)
"""Range of the width and of the height of an image, relative to those in the settings."""

_TRIES = 30
"""Random positions that are tried for an object before it is left out."""


def _clear_of(centre: NDArray[np.float64], side: int, taken: list[tuple[NDArray[np.float64], int]]) -> bool:
    """Whether an object is far enough from those in `taken`, given as centres and sides, that they hardly overlap."""
    return all(np.abs(centre - other).max() > _SPACING * (side + other_side) for other, other_side in taken)


def _place(
    rng: np.random.Generator, side: int, size: tuple[int, int], taken: list[tuple[NDArray[np.float64], int]]
) -> NDArray[np.float64] | None:
    """A free centre (x, y) in an image of (width, height) `size`, or None where none was found."""
    inset = side * (_CUT_OFF_INSET if rng.random() < _CUT_OFF_SHARE else _INSET)
    for _ in range(_TRIES):
        centre = rng.uniform(inset, np.array(size) - inset)
        if _clear_of(centre, side, taken):
            return np.asarray(centre)
    return None


class _Motifs(NamedTuple):
    """What images show: names of shapes, and functions that draw an object's texture and coverage, and a background."""

    shapes: tuple[str, ...]
    draw_object: Callable[[np.random.Generator, str, int, float], tuple[NDArray[np.uint8], NDArray[np.float32]]]
    background: Callable[[np.random.Generator, int, int, float], NDArray[np.uint8]]


def _draw_unseen_object(
    rng: np.random.Generator, class_name: str, side_pixels: int, hue: float
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """As `shots.draw_object`, of a shape and a texture that no video has."""
    kind = UNSEEN_TEXTURES[rng.integers(len(UNSEEN_TEXTURES))]
    shaded = bool(rng.random() < SHADED_SHARE)
    texture = object_texture(rng, kind, side_pixels, hue, shaded=shaded, pattern=unseen_pattern)
    return texture, outline_coverage(UNSEEN_OUTLINES[class_name], side_pixels)


_MOTIFS = {
    "same": _Motifs(SHAPES, draw_object, background),
    "unseen": _Motifs(UNSEEN_SHAPES, _draw_unseen_object, unseen_background),
}


def draw_image(
    rng: np.random.Generator, size: tuple[int, int], motifs: str = "same"
) -> tuple[NDArray[np.uint8], tuple[VocObject, ...]]:
    """Draw one image of (width, height) `size`, uint8 RGB (H, W, 3), with 1 to 3 objects.

    `motifs`: `same` as in the videos, or `unseen` there. Boxes enclose the visible part of an object. A few objects are
    tiny and marked difficult.
    """
    shown = _MOTIFS[motifs]
    hue, layers, difficult = rng.uniform(), [], []
    taken: list[tuple[NDArray[np.float64], int]] = []
    for _ in range(int(rng.integers(1, _MOST_OBJECTS + 1))):
        tiny = bool(rng.random() < _DIFFICULT_SHARE)
        side = int(rng.uniform(*(_DIFFICULT_SIDE_FRACTION if tiny else _SIDE_FRACTION)) * min(size))
        name = shown.shapes[rng.integers(len(shown.shapes))]
        centre = _place(rng, side, size, taken)
        if centre is None:
            continue
        taken.append((centre, side))
        texture, coverage = shown.draw_object(rng, name, side, contrasting_hue(rng, hue))
        pose = poses_from_path(centre[None], rng.uniform(-TILT_RADIANS, TILT_RADIANS, 1), np.ones(1), (side, side))
        layers.append(Layer(name, texture, coverage, pose))
        difficult.append(tiny)
    scene = Scene(shown.background(rng, size[1], size[0], hue), np.eye(2, 3)[None], tuple(layers))
    image, owner = render(scene, 0, *size)
    objects = []
    for number, (layer, hard) in enumerate(zip(layers, difficult, strict=True), start=1):
        # not NaN, because `_clear_of` keeps objects from covering each other completely
        x0, y0, x1, y1 = box_of_mask_xyxy(owner == number).tolist()
        objects.append(VocObject(layer.class_name, (x0, y0, x1, y1), hard))
    return image, tuple(objects)


def draw_voc_image(
    root: Path, image_id: str, rng: np.random.Generator, size: tuple[int, int], motifs: str = "same"
) -> None:
    """Draw one image of roughly (width, height) `size` into a VOC folder, unless its annotation exists."""
    if (root / "Annotations" / f"{image_id}.xml").is_file():
        return
    width, height = (round(extent * rng.uniform(*_SIZE_RANGE)) for extent in size)
    write_voc_image(root, image_id, *draw_image(rng, (width, height), motifs))
