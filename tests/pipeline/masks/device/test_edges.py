"""The fast global smoother in torch compared with OpenCV's."""

import cv2
import numpy as np
import pytest
import torch

from watchmove.pipeline.masks.device.edges import fast_global_smoother

TOLERANCE = 1e-3
"""Greatest difference of maps in [0, 1]: both solve in float32 equations with links of up to 40,000."""


@pytest.mark.parametrize(("smoothing", "colour_sigma"), [(20_000.0, 3.5), (400.0, 8.0)])
def test_a_batch_is_smoothed_as_opencv_smooths_each(smoothing: float, colour_sigma: float) -> None:
    """Images with regions, edges and noise, and maps that do not fit them: equal to a thousandth of the range."""
    generator = np.random.default_rng(0)
    guides = np.full((3, 60, 84, 3), 90, np.float32) + generator.normal(0, 3, (3, 60, 84, 3))
    guides[:, 15:45, 20:60] += 60
    guides = np.clip(guides, 0, 255).astype(np.uint8)
    maps = generator.random((3, 60, 84), np.float32)
    expected = [
        cv2.ximgproc.fastGlobalSmootherFilter(guide, values, smoothing, colour_sigma)
        for guide, values in zip(guides, maps, strict=True)
    ]
    tensors = torch.from_numpy(maps), torch.from_numpy(guides).permute(0, 3, 1, 2).float()
    found = fast_global_smoother(*tensors, smoothing, colour_sigma).numpy()

    assert np.abs(found - maps).mean() > 0.1
    assert np.abs(found - np.stack(expected)).max() < TOLERANCE


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 1)])
def test_thin_maps_are_smoothed(size: tuple[int, int]) -> None:
    """A flat map is unchanged, down to one pixel."""
    found = fast_global_smoother(torch.full((1, *size), 0.5), torch.zeros(1, 3, *size), 20_000.0, 3.5)

    assert found.numpy() == pytest.approx(np.full((1, *size), 0.5), abs=TOLERANCE)
