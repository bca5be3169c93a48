"""Batches for training the detector."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from watchmove.pipeline.detection.training_set import TrainingSet
from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.settings.evaluation import EvaluationSettings
from watchmove.pipeline.voc.annotations import VocImage, VocObject

CAT = VocObject("cat", (40.0, 20.0, 80.0, 60.0))
SETTINGS = EvaluationSettings(shorter_side_pixels=96, longer_side_pixels=192, rois_per_image=8)
BOXES = np.array([[42, 20, 80, 60], [30, 20, 60, 60], [0, 0, 20, 20]], np.float32)


def image_with(folder: Path, image_id: str, objects: Sequence[VocObject] = (CAT,)) -> VocImage:
    """A picture 120 wide and 96 high: white where the cat of these tests sits, black elsewhere."""
    pixels = np.zeros((96, 120, 3), np.uint8)
    pixels[20:60, 40:80] = 255
    path = folder / f"{image_id}.png"
    cv2.imwrite(str(path), pixels)
    return VocImage(image_id, path, 120, 96, tuple(objects))


def proposals_for(images: Sequence[VocImage]) -> dict[str, NDArray[np.float32]]:
    """The same proposals for every image: on the cat, beside it, far from it."""
    return {image.image_id: BOXES for image in images}


def training_set(images: Sequence[VocImage], settings: EvaluationSettings = SETTINGS) -> TrainingSet:
    """A set of one class."""
    return TrainingSet(images, proposals_for(images), ["cat"], settings)


def test_boxes_follow_the_picture_when_it_is_mirrored(tmp_path: Path) -> None:
    """In each of 16 samples the object's own box is white inside, and both directions occur."""
    data = training_set([image_with(tmp_path, "a")], SETTINGS.model_copy(update={"images_per_batch": 16}))
    batch = data.batch(0)
    lefts = set()
    for pixels, regions in zip(batch.images, batch.regions, strict=True):
        own = regions.boxes_xyxy[regions.overlaps == 1][:1]
        for x0, y0, x1, y1 in own.round().int().tolist():
            lefts.add(x0)
            assert pixels[0, y0 + 2 : y1 - 2, x0 + 2 : x1 - 2].min() == pixels[0].max()

    assert lefts == {40, 120 - 80}


def test_a_batch_depends_on_seed_and_iteration_alone(tmp_path: Path) -> None:
    """Batch 7 is the same whichever came before it, and another one than batch 8."""
    images = [image_with(tmp_path, name) for name in "abc"]
    first, second = training_set(images), training_set(images)
    first.batch(3)
    one, same, other = first.batch(7), second.batch(7), second.batch(8)

    assert torch.equal(one.images, same.images)
    assert all(torch.equal(a.boxes_xyxy, b.boxes_xyxy) for a, b in zip(one.regions, same.regions, strict=True))
    assert not all(torch.equal(a.boxes_xyxy, b.boxes_xyxy) for a, b in zip(one.regions, other.regions, strict=True))


@pytest.mark.parametrize("flips", [False, True])
def test_statistics_are_of_each_class_s_own_regions(tmp_path: Path, flips: bool) -> None:
    """The cat's own box has deltas 0, one of 38 x 40 on it -1/38 in x and log(40/38) in width; mirrored, x is 1/38.

    The dog has its own box alone, the cow none at all.
    """
    images = [image_with(tmp_path, "a"), image_with(tmp_path, "b", [VocObject("dog", (90.0, 60.0, 110.0, 90.0))])]
    settings = SETTINGS.model_copy(update={"flips": flips})
    mean, deviation = TrainingSet(images, proposals_for(images), ["cat", "cow", "dog"], settings).target_statistics()
    cat = np.array([[0, 0, 0, 0], [-1 / 38, 0, np.log(40 / 38), 0]])
    cat = np.concatenate([cat, cat * [-1, 1, 1, 1]]) if flips else cat

    np.testing.assert_allclose(mean, [cat.mean(axis=0), [0] * 4, [0] * 4], atol=1e-6)
    np.testing.assert_allclose(deviation, [np.maximum(cat.std(axis=0), 1e-3), [1] * 4, [1e-3] * 4], atol=1e-6)


def test_images_without_objects_serve_as_background(tmp_path: Path) -> None:
    """They are no special case, as long as some image shows an object."""
    images = [image_with(tmp_path, "a"), image_with(tmp_path, "empty", objects=())]
    batch = training_set(images).batch(0)
    shows_object = {bool((regions.labels > 0).any()) for regions in batch.regions}

    assert shows_object == {True, False}


def test_an_image_with_nothing_to_learn_is_left_out(tmp_path: Path) -> None:
    """Neither an object nor a proposal: there would be no region to look at."""
    images = [image_with(tmp_path, "a"), image_with(tmp_path, "bare", objects=())]
    proposals = {**proposals_for(images[:1]), "bare": np.zeros((0, 4), np.float32)}
    data = TrainingSet(images, proposals, ["cat"], SETTINGS)

    assert [image.image_id for image in data.images] == ["a"]


def test_a_class_that_was_not_named_is_refused(tmp_path: Path) -> None:
    """It would otherwise be learned as background."""
    with pytest.raises(InvalidInput, match="'dog'"):
        training_set([image_with(tmp_path, "a", [VocObject("dog", CAT.box_xyxy)])])


@pytest.mark.parametrize("objects", [(), (VocObject("cat", CAT.box_xyxy, difficult=True),)])
def test_a_set_without_objects_to_learn_is_refused(tmp_path: Path, objects: Sequence[VocObject]) -> None:
    """No object, or difficult ones only: nothing can be trained, and the message counts the images."""
    with pytest.raises(InvalidInput, match="none of 1"):
        training_set([image_with(tmp_path, "a", objects)])


def test_an_image_without_proposals_is_named(tmp_path: Path) -> None:
    """An image that was not searched is a mistake of the caller."""
    with pytest.raises(InvalidInput, match="image a"):
        TrainingSet([image_with(tmp_path, "a")], {}, ["cat"], SETTINGS)


@pytest.mark.parametrize(
    "box", [(120.0, 20.0, 140.0, 60.0), (-30.0, 20.0, 0.0, 60.0), (40.0, 96.0, 80.0, 99.0), (40.0, -9.0, 80.0, 0.0)]
)
def test_an_object_outside_of_its_image_is_named(tmp_path: Path, box: tuple[float, float, float, float]) -> None:
    """As of annotations of another image: its region would be trained on what is not there. A part of it is enough."""
    x0, y0, x1, y1 = box
    image = image_with(tmp_path, "a", (CAT, VocObject("cat", box)))
    with pytest.raises(InvalidInput, match=r"a\.png: cat at .* is outside of the image of 120x96 pixels; correct"):
        training_set([image]).batch(0)
    training_set([image_with(tmp_path, "a", (VocObject("cat", (x0 - 1, y0 - 1, x1 + 1, y1 + 1)),))]).batch(0)
