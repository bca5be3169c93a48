"""From scores and boxes to detections."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from pydantic import ValidationError

from watchmove.pipeline.detection.fast_rcnn import FastRCNN
from watchmove.pipeline.detection.images import scaled_size
from watchmove.pipeline.detection.testing import best_detections, best_scales, detect_in_image, detect_objects
from watchmove.pipeline.errors import InvalidInput, Stopped
from watchmove.pipeline.networks.alexnet import random_backbone
from watchmove.pipeline.settings.evaluation import EvaluationSettings
from watchmove.pipeline.voc.annotations import VocImage, read_image

SETTINGS = EvaluationSettings(shorter_side_pixels=64, longer_side_pixels=128, rois_per_forward=2)


@pytest.fixture(scope="module")
def model() -> FastRCNN:
    """An untrained detector of two classes."""
    return FastRCNN(random_backbone(0), ["cat", "dog"], dropout=0.5, seed=0)


def two_images(folder: Path) -> list[VocImage]:
    """Two pictures of odd sizes without objects."""
    images = []
    for name, (height, width) in {"a": (31, 47), "b": (77, 20)}.items():
        cv2.imwrite(str(folder / f"{name}.png"), np.random.default_rng(0).integers(0, 255, (height, width, 3)))
        images.append(VocImage(name, folder / f"{name}.png", width, height, ()))
    return images


def test_of_overlapping_boxes_the_likelier_stays_in_each_class() -> None:
    """Boxes that overlap by 0.6 are one detection of a class; those of another class, far ones and 0.29 stay."""
    boxes = torch.tensor([[0.0, 0, 100, 100], [0, 0, 60, 100], [0, 0, 29, 100], [500, 0, 600, 100]])
    probabilities = torch.tensor([[0.9, 0.0], [0.8, 0.7], [0.6, 0.0], [0.5, 0.005]])
    kept, scores, classes = best_detections(boxes[:, None].expand(-1, 2, 4), probabilities, EvaluationSettings())

    torch.testing.assert_close(scores, torch.tensor([0.9, 0.7, 0.6, 0.5]))
    assert classes.tolist() == [0, 1, 0, 0]
    torch.testing.assert_close(kept, boxes[[0, 1, 2, 3]])


def test_an_image_gives_so_many_detections_at_most() -> None:
    """The most probable ones of all classes together are kept."""
    boxes = torch.tensor([[0.0, 0, 9, 9], [20, 0, 29, 9], [40, 0, 49, 9]])[:, None]
    settings = EvaluationSettings(max_detections_per_image=2)
    _, scores, _ = best_detections(boxes, torch.tensor([[0.2], [0.9], [0.5]]), settings)

    torch.testing.assert_close(scores, torch.tensor([0.9, 0.5]))


def test_detections_of_every_class_lie_in_their_images(model: FastRCNN, tmp_path: Path) -> None:
    """Classes without detections are there too; boxes are in pixels of each image; one without proposals has none."""
    images = two_images(tmp_path)
    proposals = {
        "a": np.array([[0, 0, 20, 20], [10, 5, 47, 31], [3, 3, 9, 9]], np.float32),
        "b": np.zeros((0, 4), np.float32),
    }
    done: list[int] = []
    detections = detect_objects(model, images, proposals, SETTINGS, on_image=done.append)
    found = [one for of_class in detections.values() for one in of_class]

    assert list(detections) == ["cat", "dog"]
    assert {one.image_id for one in found} == {"a"}
    assert all(0 <= x0 <= x1 <= 47 and 0 <= y0 <= y1 <= 31 for x0, y0, x1, y1 in (one.box_xyxy for one in found))
    assert done == [1, 2]


def test_an_image_that_was_not_searched_is_named(model: FastRCNN, tmp_path: Path) -> None:
    """Proposals are computed before; a missing image is InvalidInput, not an image without objects."""
    with pytest.raises(InvalidInput, match="image a"):
        detect_objects(model, two_images(tmp_path), {}, SETTINGS)


def test_proposals_of_another_image_are_named(model: FastRCNN, tmp_path: Path) -> None:
    """As of a file with the axes in another order: they would be tested as they are, and find nothing."""
    images = two_images(tmp_path)
    height, width = read_image(images[0].path).shape[:2]
    sound = {image.image_id: np.array([[0, 0, 8, 8]], np.float32) for image in images}
    for box in ([0, 0, width + 2, 8], [0, 0, 8, height + 2]):
        proposals = {**sound, images[0].image_id: np.array([box], np.float32)}
        with pytest.raises(InvalidInput, match=rf"{images[0].path.name}: a proposal ends outside"):
            detect_objects(model, images, proposals, SETTINGS)


def test_testing_can_be_stopped(model: FastRCNN, tmp_path: Path) -> None:
    """Told to stop before the first image, it raises Stopped."""
    with pytest.raises(Stopped, match="0 of 2"):
        detect_objects(model, two_images(tmp_path), {}, SETTINGS, should_stop=lambda: True)


def test_each_region_is_seen_at_the_scale_that_suits_it() -> None:
    """At sides 480 and 960 of a 480-pixel picture, a small box takes the larger, one of 224 pixels the smaller."""
    scales = EvaluationSettings(scales_pixels=(480, 960)).at_testing_scales()
    boxes = torch.tensor([[0.0, 0, 112, 112], [0, 0, 224, 224], [0, 0, 400, 400]])

    assert best_scales(boxes, (480, 640), scales).tolist() == [1, 0, 0]


def test_several_scales_of_one_size_are_that_size(model: FastRCNN, tmp_path: Path) -> None:
    """The same size under two numbers detects what one size does; another size does not."""
    image, boxes = two_images(tmp_path)[0], torch.tensor([[5.0, 5, 25, 25], [10, 3, 47, 31], [0, 0, 30, 12]])
    picture = read_image(image.path)
    settings = EvaluationSettings(shorter_side_pixels=128, min_score=0.0)
    one = detect_in_image(model, picture, boxes, settings)
    same = detect_in_image(model, picture, boxes, settings.model_copy(update={"scales_pixels": (128, 128)}))
    other = detect_in_image(model, picture, boxes, settings.model_copy(update={"scales_pixels": (192,)}))

    torch.testing.assert_close(one[1], same[1])
    assert not torch.equal(one[1], other[1])


@pytest.mark.parametrize("layer", ["class_scores", "box_deltas"])
def test_outputs_that_are_not_finite_are_an_error(layer: str, tmp_path: Path) -> None:
    """A network with a NaN in its scores or its deltas does not count as one that finds nothing."""
    model = FastRCNN(random_backbone(0), ["cat", "dog"], dropout=0.5, seed=0)
    getattr(model, layer).bias.data.fill_(torch.nan)
    proposals = {name: np.array([[0, 0, 20, 20]], np.float32) for name in "ab"}

    with pytest.raises(InvalidInput, match=r"a\.png: the detector's output is not finite; lower"):
        detect_objects(model, two_images(tmp_path), proposals, SETTINGS)


def test_testing_can_have_one_scale_after_training_with_several(model: FastRCNN, tmp_path: Path) -> None:
    """Without `scales_in_testing` detections are those of `shorter_side_pixels`; training keeps its scales."""
    image, boxes = two_images(tmp_path)[0], torch.tensor([[5.0, 5, 25, 25], [10, 3, 47, 31]])
    one = EvaluationSettings(shorter_side_pixels=128, min_score=0.0)
    several = one.model_copy(update={"scales_pixels": (192, 256), "scales_in_testing": False})
    found = [detect_in_image(model, read_image(image.path), boxes, settings) for settings in (one, several)]

    torch.testing.assert_close(found[0], found[1])
    assert [at.shorter_side_pixels for at in several.at_training_scales()] == [192, 256]


def test_published_scales_have_their_published_size() -> None:
    """A VOC image of 375 by 500 is enlarged to each of the five scales, also to 1200, which one scale's limit cuts."""
    settings = EvaluationSettings(scales_pixels=(480, 576, 688, 864, 1200))
    sizes = [scaled_size(375, 500, at) for at in settings.at_training_scales()]

    assert sizes == [(480, 640), (576, 768), (688, 917), (864, 1152), (1200, 1600)]
    assert scaled_size(375, 500, EvaluationSettings(shorter_side_pixels=1200)) == (750, 1000)


def test_a_limit_that_would_shrink_the_scales_is_refused() -> None:
    """The message names the limit, the scale and the least limit that fits it."""
    with pytest.raises(ValidationError, match=r"scales_longer_side_pixels \(1000\) .* scale 1200; set it to 2000"):
        EvaluationSettings(scales_pixels=(480, 1200), scales_longer_side_pixels=1000)
