"""Pixels that move like the object are distinguished from those that move with the camera."""

import numpy as np
import pytest
import torch

from watchmove.pipeline.masks.cpu.common_fate import (
    MOTION_NOISE_PIXELS,
    object_motion_likelihood,
    pixel_weights,
    with_common_fate,
)
from watchmove.pipeline.masks.device import common_fate as device

HEIGHT, WIDTH = 60, 107


def turning_object() -> tuple[np.ndarray, np.ndarray]:
    """A residual (h, w, 2) of an object that rotates and drifts, and its mask (h, w)."""
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    part = np.zeros((HEIGHT, WIDTH), bool)
    part[15:45, 30:60] = True
    motion = np.dstack([4 - 0.05 * (y - 30), 1 + 0.05 * (x - 45)])
    return np.where(part[..., None], motion, 0).astype(np.float32), part


def test_the_rest_of_the_object_is_found_from_a_part_of_it() -> None:
    """From the left half of the object: nearly 1 on all of it, and 0 where the residual is 0."""
    residual, part = turning_object()
    known = np.zeros((HEIGHT, WIDTH), np.float32)
    known[15:45, 30:45] = 1
    likelihood = object_motion_likelihood([(1, residual), (3, 3 * residual)], pixel_weights(known))

    assert likelihood.dtype == np.float32
    assert likelihood[part].min() > 0.9
    assert likelihood[~part].max() == 0


def test_another_motion_is_not_the_objects() -> None:
    """A region that moves as fast in the opposite direction has a quarter or less."""
    residual, part = turning_object()
    residual[15:45, 75:90] = [-4, -1]
    likelihood = object_motion_likelihood([(1, residual)], pixel_weights(part.astype(np.float32)))

    assert likelihood[15:45, 75:90].max() < 0.25
    assert likelihood[part].min() > 0.9


@pytest.mark.parametrize("found", [0.0, 1.0])
def test_noise_is_not_motion(found: float) -> None:
    """A tenth of a pixel of noise has a small and finite likelihood, whether all of the frame is confident or none."""
    noise = np.random.default_rng(0).normal(0, 0.1, (HEIGHT, WIDTH, 2)).astype(np.float32)
    likelihood = object_motion_likelihood([(1, noise)], pixel_weights(np.full((HEIGHT, WIDTH), found, np.float32)))

    assert likelihood.mean() < 0.1**2 * 2 / MOTION_NOISE_PIXELS**2
    assert np.isfinite(likelihood).all()


def test_without_fields_the_likelihood_is_zero() -> None:
    """The window ends before the shortest gap on both sides."""
    weights = pixel_weights(np.ones((HEIGHT, WIDTH), np.float32))

    assert object_motion_likelihood([], weights).max() == 0
    assert with_common_fate(np.full((2, 2), 0.8, np.float32), np.zeros((2, 2), np.float32)) == pytest.approx(0.4)


def test_a_batch_in_torch_gives_the_same() -> None:
    """Two fields over one and three frames, with weights of two frames, to a thousandth."""
    residual, part = turning_object()
    noisy = residual + np.random.default_rng(1).normal(0, 0.3, residual.shape).astype(np.float32)
    levelled = [part.astype(np.float32), np.roll(part, 10, axis=1).astype(np.float32) * np.float32(0.7)]
    expected = [
        object_motion_likelihood([(gap, field)], pixel_weights(level))
        for gap, field, level in zip((1, 3), (residual, noisy), levelled, strict=True)
    ]
    weights = device.pixel_weights(torch.from_numpy(np.stack(levelled)))
    residuals = torch.from_numpy(np.stack([residual, noisy])).permute(0, 3, 1, 2)
    found = device.object_motion_likelihood(residuals, torch.tensor([1, 3]), weights).numpy()

    assert np.abs(found - np.stack(expected)).max() < 1e-3
