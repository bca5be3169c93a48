"""Flow of a square that moves by a known step, and maps that are carried along it."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from watchmove.pipeline.flow.dis import dense_flow
from watchmove.pipeline.masks.chain import shrink
from watchmove.pipeline.masks.cpu.windows import (
    WindowFlow,
    best_consistency,
    compose_fields,
    forward_backward_consistency,
    smooth_along_flow,
    warp_along_flow,
    window_consistency,
    window_flow,
)
from watchmove.pipeline.world.video import moving_square


def greys(frames: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """Frames (T, H, W, 3) as grey frames (H, W)."""
    return [np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), np.uint8) for frame in frames]


def test_flow_of_a_square_is_its_step() -> None:
    """Inside the square 3 pixels to the right, outside the camera's motion, to a fifth of a pixel."""
    video = moving_square((3.0, 0.0), 2, camera_step_pixels=(-2.0, 0.0))
    field = dense_flow(*greys(video.frames))
    inner = cv2.erode(video.masks[0].astype(np.uint8), np.ones((17, 17), np.uint8)) > 0
    outer = cv2.dilate(video.masks[0].astype(np.uint8), np.ones((33, 33), np.uint8)) == 0

    assert np.abs(np.median(field[inner], axis=0) - (3, 0)).max() < 0.2
    assert np.abs(np.median(field[outer], axis=0) - (-2, 0)).max() < 0.2


def test_flow_of_a_real_pair(test_data: Path) -> None:
    """The mean end-point error on Middlebury's RubberWhale is below 0.3 pixels."""
    folder = test_data / "flow"
    truth_path = next(path for path in sorted(folder.rglob("*.flo")) if re.search("whale", str(path), re.I))
    pictures = sorted(path for path in truth_path.parent.iterdir() if path.suffix in (".png", ".ppm", ".jpg"))[:2]
    first, second = (np.asarray(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), np.uint8) for path in pictures)
    width, height = np.fromfile(truth_path, np.int32, 2, offset=4)
    truth = np.fromfile(truth_path, np.float32, offset=12).reshape(height, width, 2)
    known = np.abs(truth).max(axis=-1) < 1e6
    error = np.linalg.norm(dense_flow(first, second) - truth, axis=-1)[known].mean()

    assert error < 0.3


def test_working_size_rounds_up() -> None:
    """A width that is no multiple of four keeps its last columns."""
    assert shrink(np.zeros((240, 427), np.float32)).shape == (60, 107)


def test_window_flow_has_every_step_inside_the_window() -> None:
    """Four frames have three steps forward and three backward, none beyond the window's ends."""
    flow = window_flow([np.zeros((48, 64), np.uint8)] * 4)
    forward = {(0, 1), (1, 1), (2, 1)}

    assert set(flow.fields) == forward | {(t + 1, -1) for t, _ in forward}
    assert flow.steps(0) == [1]


def test_composed_fields_add_up() -> None:
    """Two steps of 4 pixels are a field of 8; from the middle of three frames no field over two exists."""
    step = np.tile(np.array([4, 0], np.float32), (8, 12, 1))
    flow = WindowFlow(3, {(0, 1): step, (1, 1): step, (1, -1): -step, (2, -1): -step})

    assert [(gap, field[4, 4, 0]) for gap, field in compose_fields(flow, 0, (1, 2))] == [(1, 4), (2, 8)]
    assert [(gap, field[4, 4, 0]) for gap, field in compose_fields(flow, 2, (2,))] == [(-2, -8)]
    assert compose_fields(flow, 1, (2,)) == []


def test_a_warp_follows_the_field() -> None:
    """A field of 8 full-size pixels is 2 at the working size: a column at 7 is seen at 5."""
    source = np.zeros((4, 12), np.float32)
    source[:, 7] = 1
    field = np.tile(np.array([8, 0], np.float32), (4, 12, 1))

    assert np.flatnonzero(warp_along_flow(source, field)[0]).tolist() == [5]


@pytest.mark.parametrize(("back", "expected"), [(-4.0, 1.0), (-2.5, np.exp(-0.5)), (20.0, 0.0)])
def test_consistency_falls_with_the_error(back: float, expected: float) -> None:
    """A way back that ends at the start gives 1; an error of 1.5 pixels gives exp(-1/2)."""
    forward, backward = np.zeros((4, 12, 2), np.float32), np.zeros((4, 12, 2), np.float32)
    forward[..., 0], backward[..., 0] = 4, back

    assert forward_backward_consistency(forward, backward) == pytest.approx(expected, abs=1e-5)


def test_consistency_is_high_for_motion_and_low_for_noise() -> None:
    """Forward and backward flow of a moving square agree; those between unrelated frames do not."""
    square = window_flow(greys(moving_square((3.0, 0.0), 3).frames))
    noise = window_flow(list(np.random.default_rng(0).integers(0, 255, (3, 240, 320), dtype=np.uint8)))

    assert best_consistency(window_consistency(square), 1).mean() > 0.9
    assert best_consistency(window_consistency(noise), 1).mean() < 0.5


def test_smoothing_averages_where_nothing_moves() -> None:
    """Without motion, maps 0, 1, 0 are averaged with weights that fall by a factor of 0.9 per frame."""
    still = np.zeros((2, 2, 2), np.float32)
    flow = WindowFlow(3, {(0, 1): still, (1, -1): still, (1, 1): still, (2, -1): still})
    maps = [np.full((2, 2), value, np.float32) for value in (0, 1, 0)]
    smooth = smooth_along_flow(maps, flow, window_consistency(flow))

    assert smooth[1] == pytest.approx(1 / 2.8)
    assert smooth[0] == pytest.approx(0.9 / (1 + 0.9 + 0.81))
