"""The drawn world's detection set: pictures of the same six shapes, in PASCAL VOC's layout."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from watchmove.pipeline.voc.annotations import VocObject, write_voc_image
from watchmove.pipeline.world.scene import Layer, Scene, box_of_mask_xyxy, poses_from_path, render
from watchmove.pipeline.world.shapes import SHAPES
from watchmove.pipeline.world.shots import contrasting_hue, draw_object
from watchmove.pipeline.world.textures import background

_SIDE_FRACTION = (0.2, 0.45)
_DIFFICULT_SIDE_FRACTION = (0.09, 0.13)
_DIFFICULT_SHARE = 0.04
_CUT_OFF_SHARE = 0.12
_TRIES = 30


def _clear_of(centre: NDArray[np.float64], side: int, taken: list[tuple[NDArray[np.float64], int]]) -> bool:
    """Whether a place keeps its distance from those taken, so that objects hardly cover each other."""
    return all(np.abs(centre - other).max() > 0.46 * (side + other_side) for other, other_side in taken)


def _place(
    rng: np.random.Generator, side: int, size: tuple[int, int], taken: list[tuple[NDArray[np.float64], int]]
) -> NDArray[np.float64] | None:
    """A free centre, x then y, or None; few objects are cut off by the picture's border, by a third at most."""
    inset = side * (0.2 if rng.random() < _CUT_OFF_SHARE else 0.52)
    for _ in range(_TRIES):
        centre = rng.uniform(inset, np.array(size) - inset)
        if _clear_of(centre, side, taken):
            return np.asarray(centre)
    return None


def draw_picture(rng: np.random.Generator, size: tuple[int, int]) -> tuple[NDArray[np.uint8], tuple[VocObject, ...]]:
    """One picture of (width, height) `size`, uint8 RGB (H, W, 3), and its 1 to 3 objects with boxes of what is seen.

    A few objects are tiny; those are marked difficult.
    """
    hue, layers, difficult = rng.uniform(), [], []
    taken: list[tuple[NDArray[np.float64], int]] = []
    for _ in range(int(rng.integers(1, 4))):
        tiny = bool(rng.random() < _DIFFICULT_SHARE)
        side = int(rng.uniform(*(_DIFFICULT_SIDE_FRACTION if tiny else _SIDE_FRACTION)) * min(size))
        name = SHAPES[rng.integers(len(SHAPES))]
        centre = _place(rng, side, size, taken)
        if centre is None:
            continue
        taken.append((centre, side))
        texture, coverage = draw_object(rng, name, side, contrasting_hue(rng, hue))
        pose = poses_from_path(centre[None], rng.uniform(-0.4, 0.4, 1), np.ones(1), (side, side))
        layers.append(Layer(name, texture, coverage, pose))
        difficult.append(tiny)
    scene = Scene(background(rng, size[1], size[0], hue), np.eye(2, 3)[None], tuple(layers))
    image, owner = render(scene, 0, *size)
    objects = []
    for number, (layer, hard) in enumerate(zip(layers, difficult, strict=True), start=1):
        x0, y0, x1, y1 = box_of_mask_xyxy(owner == number).tolist()
        objects.append(VocObject(layer.class_name, (x0, y0, x1, y1), hard))
    return image, tuple(objects)


def draw_voc_image(root: Path, image_id: str, rng: np.random.Generator, size: tuple[int, int]) -> None:
    """Draw one picture of roughly (width, height) `size` into a VOC folder, unless its annotation is there already."""
    if (root / "Annotations" / f"{image_id}.xml").is_file():
        return
    width, height = (round(extent * rng.uniform(0.88, 1.12)) for extent in size)
    write_voc_image(root, image_id, *draw_picture(rng, (width, height)))
