"""A known camera motion is found in the presence of an object with another motion."""

import numpy as np
import pytest
from numpy.typing import NDArray

from watchmove.pipeline.masks.cpu.camera import (
    camera_flow,
    fit_camera_motion,
    motion_length,
    motion_saliency,
    residual_motion,
)

HEIGHT, WIDTH = 120, 160


def generator() -> np.random.Generator:
    """The same random numbers for every test."""
    return np.random.default_rng(0)


def zoom_and_pan() -> NDArray[np.float32]:
    """A field that grows by 4 pixels over the width, rotates a little and pans by (5, -3)."""
    parameters = np.array([[4.0, 0.5], [-0.5, 4.0], [5.0, -3.0]])
    return camera_flow(parameters, HEIGHT, WIDTH)


def test_an_affine_field_is_fitted_exactly() -> None:
    """Where the whole frame moves with the camera, the residual is zero."""
    assert motion_length(residual_motion(zoom_and_pan(), generator())).max() < 1e-3


@pytest.mark.parametrize("share", [0.1, 0.35])
def test_the_residual_is_the_objects_motion(share: float) -> None:
    """The residual of a square that moves by 3 pixels is 3 pixels, and 0 elsewhere."""
    field = zoom_and_pan()
    side = int(np.sqrt(share * HEIGHT * WIDTH))
    top, left = (HEIGHT - side) // 2, (WIDTH - side) // 2
    inside = np.zeros((HEIGHT, WIDTH), bool)
    inside[top : top + side, left : left + side] = True
    field[inside] += np.array([3, 0], np.float32)
    length = motion_length(residual_motion(field, generator()))

    assert length[inside] == pytest.approx(3, abs=0.15)
    assert length[~inside].max() < 0.15


def test_the_fit_is_robust_to_noise() -> None:
    """Half a pixel of noise on every vector changes the fitted field by less than a tenth of a pixel."""
    noisy = zoom_and_pan() + generator().normal(0, 0.5, (HEIGHT, WIDTH, 2)).astype(np.float32)
    fitted = camera_flow(fit_camera_motion(noisy, generator()), HEIGHT, WIDTH)

    assert np.abs(fitted - zoom_and_pan()).max() < 0.1


def test_a_still_field_has_no_saliency() -> None:
    """Saliency is 0 without motion, although there is no noise to compare with, and small for a tenth of a pixel."""
    still, hardly = (motion_saliency(np.full((HEIGHT, WIDTH), length, np.float32)) for length in (0, 0.1))

    assert max(cue.max() for cue in still) == 0
    assert max(cue.max() for cue in hardly) < 0.1


def test_independent_motion_is_salient() -> None:
    """A region that moves by 4 pixels while the rest is still has a saliency close to 1."""
    length = np.zeros((HEIGHT, WIDTH), np.float32)
    length[40:80, 60:100] = 4
    for cue in motion_saliency(length):
        assert cue[40:80, 60:100].min() > 0.9
        assert cue[0, 0] == 0
