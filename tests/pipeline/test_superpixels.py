"""Superpixels follow colour edges, and carry means to regions and back."""

import numpy as np
import pytest

from pipeline.superpixels import Superpixels, segment_superpixels

QUARTERS = Superpixels(np.array([[0, 0, 1], [0, 0, 1]], np.int32), np.array([4, 2], np.float32))


def test_mean_of_a_map_and_of_channels() -> None:
    """By hand: 4 pixels of region 0 and 2 of region 1."""
    values = np.array([[1, 2, 10], [3, 6, 20]], np.float32)

    assert QUARTERS.mean(values).tolist() == [3, 15]
    assert QUARTERS.mean(np.dstack([values, -values])).tolist() == [[3, -3], [15, -15]]


def test_paint_gives_each_region_its_value() -> None:
    """Every pixel has the value of its region."""
    painted = QUARTERS.paint(np.array([0.25, 0.5], np.float32))

    assert painted.tolist() == [[0.25, 0.25, 0.5], [0.25, 0.25, 0.5]]


@pytest.mark.parametrize("region_pixels", [6, 9, 14])
def test_regions_do_not_cross_an_edge(region_pixels: int) -> None:
    """No region has pixels on both sides of a sharp edge, and their number fits their size."""
    lab = np.full((60, 90, 3), 60, np.uint8)
    lab[:, 41:] = 200
    regions = segment_superpixels(lab, region_pixels)
    shares = regions.mean((lab[..., 0] > 100).astype(np.float32))

    assert np.minimum(shares, 1 - shares).max() < 0.05
    assert regions.count == pytest.approx(60 * 90 / region_pixels**2, rel=0.6)


def test_labels_leave_no_gap() -> None:
    """Labels are 0..count-1, each with at least one pixel."""
    lab = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)
    regions = segment_superpixels(lab, 8)

    assert np.unique(regions.labels).tolist() == list(range(regions.count))
    assert regions.sizes.sum() == 60 * 80
