"""Labels of regions, and which of them a step sees."""

import numpy as np
import pytest
import torch

from watchmove.pipeline.detection.regions import BACKGROUND, IGNORED, Objects, Regions, label_regions, sample_regions
from watchmove.pipeline.settings.evaluation import EvaluationSettings

SETTINGS = EvaluationSettings(rois_per_image=8)
NONE = torch.zeros(0, 4)
OBJECT = torch.tensor([[0.0, 0.0, 100.0, 100.0]])


def objects_with(difficult: torch.Tensor = NONE) -> Objects:
    """One object of class 3, and difficult ones."""
    return Objects(OBJECT, torch.tensor([3]), difficult)


def height_of_100(*widths: float) -> torch.Tensor:
    """Boxes as high as the object; a width of 60 overlaps it by 0.6."""
    return torch.tensor([[0.0, 0.0, width, 100.0] for width in widths])


def test_labels_follow_the_overlap() -> None:
    """IoU 0.6 and exactly 0.5 show the object; 0.49, 0.1 and 0 are background; the object's own box comes first."""
    proposals = torch.cat([height_of_100(60, 50, 49, 10), torch.tensor([[200.0, 0.0, 300.0, 100.0]])])
    regions = label_regions(proposals, objects_with(), SETTINGS)

    assert regions.labels.tolist() == [3, 3, 3, BACKGROUND, BACKGROUND, BACKGROUND]
    torch.testing.assert_close(regions.overlaps, torch.tensor([1.0, 0.6, 0.5, 0.49, 0.1, 0.0]))
    assert regions.deltas[0].tolist() == [0, 0, 0, 0]
    torch.testing.assert_close(regions.deltas[2], torch.tensor([0.5, 0, np.log(2), 0], dtype=torch.float32))


def test_between_the_two_thresholds_nothing_is_learned() -> None:
    """With foreground from 0.7 and background below 0.3, a region of 0.5 is left out."""
    settings = EvaluationSettings(foreground_iou=0.7, background_max_iou=0.3)

    assert label_regions(height_of_100(50), objects_with(), settings).labels.tolist() == [3, IGNORED]


def test_regions_on_difficult_objects_are_left_out() -> None:
    """A difficult object is neither learned nor called background, and its own box is no region."""
    far = torch.tensor([[200.0, 0.0, 300.0, 100.0]])
    regions = label_regions(torch.cat([far, far + 500]), objects_with(difficult=far), SETTINGS)

    assert regions.labels.tolist() == [3, IGNORED, BACKGROUND]


def test_a_region_without_area_does_no_harm() -> None:
    """Published proposals hold such boxes; no delta may become NaN."""
    regions = label_regions(height_of_100(0), objects_with(), SETTINGS)

    assert torch.isfinite(regions.deltas).all()
    assert regions.labels.tolist() == [3, BACKGROUND]


def regions_of(labels: list[int], overlaps: list[float]) -> Regions:
    """Regions of which only labels and overlaps matter."""
    count = len(labels)
    return Regions(torch.zeros(count, 4), torch.tensor(labels), torch.zeros(count, 4), torch.tensor(overlaps))


def test_a_quarter_shows_objects_and_the_rest_is_hard_background() -> None:
    """Of 8 regions 2 show objects, 6 are background that overlaps an object by 0.1 or more."""
    regions = regions_of([1] * 10 + [0] * 20, [0.8] * 10 + [0.2] * 10 + [0.05] * 10)
    sample = sample_regions(regions, SETTINGS, np.random.default_rng(0))

    assert sample.labels.tolist() == [1, 1, 0, 0, 0, 0, 0, 0]
    torch.testing.assert_close(sample.overlaps, torch.tensor([0.8] * 2 + [0.2] * 6))


@pytest.mark.parametrize(
    ("labels", "overlaps", "expected"),
    [
        ([0, 0, 0], [0.0, 0.0, 0.0], [0, 0, 0]),
        ([2, -1, -1], [0.9, 0.5, 0.5], [2]),
        ([1, 0], [1.0, 0.3], [1, 0]),
    ],
    ids=["no object", "no background", "few of both"],
)
def test_an_image_with_less_gives_less(labels: list[int], overlaps: list[float], expected: list[int]) -> None:
    """Nothing is repeated and nothing that is left out is taken, where there are fewer regions than asked for."""
    sample = sample_regions(regions_of(labels, overlaps), SETTINGS, np.random.default_rng(0))

    assert sample.labels.tolist() == expected
