"""What moves as the object moves is told from what stays with the camera, wherever it lies."""

import numpy as np
import pytest
import torch

from watchmove.pipeline.masks.cpu.common_fate import STILL_PIXELS, like_the_object, pixel_weights, with_common_fate
from watchmove.pipeline.masks.device.common_fate import like_objects, pixel_weight_maps

HEIGHT, WIDTH = 60, 107


def turning_object() -> tuple[np.ndarray, np.ndarray]:
    """A residual (h, w, 2) of a part of the picture that turns and drifts, and that part (h, w)."""
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    part = np.zeros((HEIGHT, WIDTH), bool)
    part[15:45, 30:60] = True
    motion = np.dstack([4 - 0.05 * (y - 30), 1 + 0.05 * (x - 45)])
    return np.where(part[..., None], motion, 0).astype(np.float32), part


def test_the_rest_of_the_object_is_found_from_a_part_of_it() -> None:
    """Known by its left half, the object is whole: nearly 1 on all of it, 0 where nothing is left of the flow."""
    residual, part = turning_object()
    known = np.zeros((HEIGHT, WIDTH), np.float32)
    known[15:45, 30:45] = 1
    fate = like_the_object([(1, residual), (3, 3 * residual)], pixel_weights(known))

    assert fate.dtype == np.float32
    assert fate[part].min() > 0.9
    assert fate[~part].max() == 0


def test_what_moves_otherwise_is_not_the_object() -> None:
    """Something else that moves as fast the other way is a fifth or less."""
    residual, part = turning_object()
    residual[15:45, 75:90] = [-4, -1]
    fate = like_the_object([(1, residual)], pixel_weights(part.astype(np.float32)))

    assert fate[15:45, 75:90].max() < 0.25
    assert fate[part].min() > 0.9


@pytest.mark.parametrize("found", [0.0, 1.0])
def test_noise_is_no_motion(found: float) -> None:
    """Where nothing is known, or all of the picture is, a tenth of a pixel of noise stays dark, and finite."""
    noise = np.random.default_rng(0).normal(0, 0.1, (HEIGHT, WIDTH, 2)).astype(np.float32)
    fate = like_the_object([(1, noise)], pixel_weights(np.full((HEIGHT, WIDTH), found, np.float32)))

    assert fate.mean() < 0.1**2 * 2 / STILL_PIXELS**2
    assert np.isfinite(fate).all()


def test_without_fields_there_is_no_fate() -> None:
    """A window that ends before the shortest gap on both sides."""
    weights = pixel_weights(np.ones((HEIGHT, WIDTH), np.float32))

    assert like_the_object([], weights).max() == 0
    assert with_common_fate(np.full((2, 2), 0.8, np.float32), np.zeros((2, 2), np.float32)) == pytest.approx(0.4)


def test_a_batch_in_torch_gives_the_same() -> None:
    """Two fields over one and three frames, with weights of two frames, to a thousandth."""
    residual, part = turning_object()
    noisy = residual + np.random.default_rng(1).normal(0, 0.3, residual.shape).astype(np.float32)
    levelled = [part.astype(np.float32), np.roll(part, 10, axis=1).astype(np.float32) * np.float32(0.7)]
    expected = [
        like_the_object([(gap, field)], pixel_weights(level))
        for gap, field, level in zip((1, 3), (residual, noisy), levelled, strict=True)
    ]
    weights = pixel_weight_maps(torch.from_numpy(np.stack(levelled)))
    residuals = torch.from_numpy(np.stack([residual, noisy])).permute(0, 3, 1, 2)
    found = like_objects(residuals, torch.tensor([1, 3]), weights).numpy()

    assert np.abs(found - np.stack(expected)).max() < 1e-3
