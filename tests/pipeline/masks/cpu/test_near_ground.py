"""Near ground in a corner gets a motion of its own; objects keep their residual."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from watchmove.pipeline.masks.cpu.camera import camera_flow, fit_camera_motion, motion_length
from watchmove.pipeline.masks.cpu.near_ground import corner_region, without_near_ground
from watchmove.pipeline.masks.device import near_ground as device

HEIGHT, WIDTH = 60, 107


def travelling_camera() -> NDArray[np.float32]:
    """The flow of far background: a pan by (4, 1) pixels and a slight zoom, with a tenth of a pixel of noise."""
    far = camera_flow(np.array([[1.0, 0.0], [0.0, 1.0], [4.0, 1.0]]), HEIGHT, WIDTH)
    return far + np.random.default_rng(0).normal(0, 0.1, far.shape).astype(np.float32)


def with_near_ground(field: NDArray[np.float32]) -> NDArray[np.float32]:
    """The field with ground along the lower border that moves 5 pixels further and grows."""
    near = field.copy()
    near[48:] += camera_flow(np.array([[2.0, 0.0], [0.0, 2.0], [5.0, 0.0]]), HEIGHT, WIDTH)[48:]
    return near


def with_object(field: NDArray[np.float32]) -> NDArray[np.float32]:
    """The field with an object in the middle that moves by (-3, 2) relative to the far background."""
    moved = field.copy()
    moved[15:35, 40:70] += np.array([-3, 2], np.float32)
    return moved


def lengths(field: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Lengths (h, w) of the residual without the camera's motion, and of that without near ground as well."""
    residual = field - camera_flow(fit_camera_motion(field, np.random.default_rng(1)), HEIGHT, WIDTH)
    return motion_length(residual), motion_length(without_near_ground(field, residual))


def test_near_ground_in_a_corner_is_background() -> None:
    """Ground along the lower border has a residual of 5 pixels before and of noise after; the object keeps its own."""
    before, after = lengths(with_object(with_near_ground(travelling_camera())))

    assert before[48:].min() > 3
    assert np.percentile(after[48:], 99) < 0.5
    assert after[15:35, 40:70] == pytest.approx(before[15:35, 40:70])
    assert after[15:35, 40:70].mean() == pytest.approx(np.hypot(3, 2), abs=0.2)


def test_two_corners_get_two_motions() -> None:
    """Rocks in two corners that move differently are both background."""
    field = travelling_camera()
    field[25:, :25] += np.array([6, 0], np.float32)
    field[30:, -25:] += np.array([-3, -3], np.float32)
    _, after = lengths(field)

    assert np.percentile(after, 99) < 0.5


def test_an_object_that_is_cut_by_the_border_stays() -> None:
    """A large object at the lower border that covers no corner keeps its residual."""
    field = travelling_camera()
    field[20:, 30:75] += np.array([-3, 0], np.float32)
    before, after = lengths(field)

    assert np.array_equal(before, after)


def test_a_resting_camera_sees_no_near_ground() -> None:
    """An object in a corner of a still scene keeps its residual."""
    field = np.zeros((HEIGHT, WIDTH, 2), np.float32)
    field[30:, :30] = (3, 0)
    before, after = lengths(field)

    assert np.array_equal(before, after)
    assert after[30:, :30].min() > 2.9


@pytest.mark.parametrize(
    ("rows", "columns", "found"), [(30, 30, True), (8, 8, False)], ids=["a large corner", "a tiny corner"]
)
def test_a_region_has_a_least_size(rows: int, columns: int, *, found: bool) -> None:
    """A region that covers a few pixels of the band is none."""
    length = np.zeros((HEIGHT, WIDTH), np.float32)
    length[-rows:, -columns:] = 3

    assert (corner_region(length) is not None) == found


def test_torch_gives_the_same() -> None:
    """A batch of fields in torch has the residuals of the CPU, whether or not there is near ground."""
    far = travelling_camera()
    fields = np.stack([far, with_near_ground(far), with_object(far), with_object(with_near_ground(far)), far * 0])
    residuals = np.stack(
        [field - camera_flow(fit_camera_motion(field, np.random.default_rng(1)), HEIGHT, WIDTH) for field in fields]
    )
    expected = np.stack([without_near_ground(*pair) for pair in zip(fields, residuals, strict=True)])
    tensors = (torch.from_numpy(part).permute(0, 3, 1, 2).contiguous() for part in (fields, residuals))
    found = device.without_near_ground(*tensors).permute(0, 2, 3, 1).numpy()

    assert np.abs(expected - residuals).max() > 3
    assert found == pytest.approx(expected, abs=1e-4)
