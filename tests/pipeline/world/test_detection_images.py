"""The detection set: images whose boxes enclose the visible objects, which are large enough to be detected."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from watchmove.pipeline.voc.annotations import VocObject, read_voc
from watchmove.pipeline.world.detection_images import draw_image, draw_voc_image
from watchmove.pipeline.world.shapes import SHAPES
from watchmove.pipeline.world.textures import TEXTURES
from watchmove.pipeline.world.unseen import UNSEEN_SHAPES, UNSEEN_TEXTURES, unseen_background


@dataclass(frozen=True)
class DrawnImage:
    """A drawn image and its objects."""

    image: NDArray[np.uint8]
    objects: tuple[VocObject, ...]


@pytest.fixture(scope="module")
def images() -> list[DrawnImage]:
    """120 images of 320 x 240 pixels."""
    return [DrawnImage(*draw_image(np.random.default_rng([7, number]), (320, 240))) for number in range(120)]


def test_images_hold_one_to_three_objects_within_them(images: list[DrawnImage]) -> None:
    """Boxes are inside the image; those that are not difficult have sides of 15 to 55 % of its shorter side."""
    objects = [voc_object for drawn in images for voc_object in drawn.objects]
    boxes = np.array([voc_object.box_xyxy for voc_object in objects])
    sides = (boxes[:, 2:] - boxes[:, :2]).max(axis=1)[[not voc_object.difficult for voc_object in objects]]

    assert {len(drawn.objects) for drawn in images} == {1, 2, 3}
    assert boxes[:, :2].min() >= 0
    assert (boxes[:, 2:] <= (320, 240)).all()
    assert sides.min() > 0.15 * 240
    assert sides.max() < 0.55 * 240


@pytest.fixture(scope="module")
def unseen_images() -> list[DrawnImage]:
    """120 images of what no video shows."""
    return [DrawnImage(*draw_image(np.random.default_rng([7, n]), (320, 240), "unseen")) for n in range(120)]


def test_unseen_images_share_no_class_and_no_texture_with_the_videos(unseen_images: list[DrawnImage]) -> None:
    """Each of the six other shapes occurs, none rarely, so that features have to transfer."""
    names = [voc_object.name for drawn in unseen_images for voc_object in drawn.objects]

    assert set(names) == set(UNSEEN_SHAPES)
    assert min(names.count(name) for name in UNSEEN_SHAPES) > 0.09 * len(names)
    assert not set(UNSEEN_SHAPES) & set(SHAPES)
    assert not set(UNSEEN_TEXTURES) & set(TEXTURES)


def test_an_unseen_background_has_edges_and_no_saturated_colour() -> None:
    """Cells and lines have edges where no object is, and objects stay more colourful than they are."""
    image = unseen_background(np.random.default_rng(3), 240, 320, 0.3).astype(int)

    assert (np.abs(np.diff(image.mean(axis=2), axis=1)) > 20).sum() > 500
    assert np.median(np.ptp(image, axis=2)) < 80


def test_every_class_is_drawn_and_few_objects_are_difficult(images: list[DrawnImage]) -> None:
    """All six shapes occur, none rarely; some objects are difficult, most are not."""
    objects = [voc_object for drawn in images for voc_object in drawn.objects]
    counts = [sum(voc_object.name == shape for voc_object in objects) for shape in SHAPES]

    assert min(counts) > 0.09 * len(objects)
    assert 0 < sum(voc_object.difficult for voc_object in objects) < 0.12 * len(objects)


def test_objects_stand_out_from_what_is_round_them(images: list[DrawnImage]) -> None:
    """The middle half of a box is more colourful than the whole image, for nearly all objects except rings."""
    more_colourful = []
    for drawn in images:
        colour = np.ptp(drawn.image.astype(int), axis=2)
        for voc_object in drawn.objects:
            box = np.array(voc_object.box_xyxy).reshape(2, 2)
            (x0, y0), (x1, y1) = (np.array([[3, 1], [1, 3]]) @ box / 4).astype(int)
            if voc_object.name != "ring":
                more_colourful.append(colour[y0:y1, x0:x1].mean() > 1.5 * np.median(colour))

    assert np.mean(more_colourful) > 0.9


def test_image_is_drawn_once(tmp_path: Path) -> None:
    """An image that has an annotation is not drawn again, whatever the random generator."""
    draw_voc_image(tmp_path, "a", np.random.default_rng(0), (160, 120))
    first = read_voc(tmp_path, None)
    draw_voc_image(tmp_path, "a", np.random.default_rng(1), (160, 120))

    assert read_voc(tmp_path, None) == first
    assert first[0].objects
    assert abs(first[0].width - 160) <= 20
