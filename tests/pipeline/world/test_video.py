"""A square that moves by a known step has a known flow, mask and box."""

import numpy as np
import pytest

from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.world.video import moving_square


def test_box_moves_by_the_step() -> None:
    """The box of the square starts at the given position and moves 3 pixels per frame."""
    video = moving_square((3.0, 0.0), 5, side_pixels=50, start_pixels=(40, 90))

    assert video.boxes_xyxy[:, 0].tolist() == [[40 + 3 * t, 90, 90 + 3 * t, 140] for t in range(5)]


def test_mask_is_the_square() -> None:
    """The mask consists of exactly the pixels of the square in every frame."""
    video = moving_square((3.0, 0.0), 3, side_pixels=50, start_pixels=(40, 90))
    expected = np.zeros((3, 240, 320), bool)
    for t in range(3):
        expected[t, 90:140, 40 + 3 * t : 90 + 3 * t] = True

    assert np.array_equal(video.masks, expected)


@pytest.mark.parametrize("step", [(3.0, 0.0), (-2.0, 1.0), (0.5, 2.25)])
@pytest.mark.parametrize("camera_step", [(0.0, 0.0), (1.0, -1.5)])
def test_flow_is_the_step_inside_and_the_camera_outside(
    step: tuple[float, float], camera_step: tuple[float, float]
) -> None:
    """The flow is the step of the square inside it and that of the camera outside, to float precision."""
    video = moving_square(step, 4, camera_step_pixels=camera_step)
    inside = video.masks[:-1]

    assert np.abs(video.flows[inside] - np.array(step)).max() < 1e-4
    assert np.abs(video.flows[~inside] - np.array(camera_step)).max() < 1e-4


def test_pixels_follow_the_flow() -> None:
    """An integer step moves the pixels of the square unchanged, and a still background stays the same."""
    video = moving_square((3.0, -2.0), 2, start_pixels=(40, 90), side_pixels=50)
    outside = ~(video.masks[0] | video.masks[1])

    assert np.array_equal(video.frames[1, 88:138, 43:93], video.frames[0, 90:140, 40:90])
    assert np.array_equal(video.frames[1][outside], video.frames[0][outside])


def test_panned_background_follows_the_flow() -> None:
    """A step of the camera moves the pixels of the background exactly, up to the border of the frame."""
    video = moving_square((3.0, 0.0), 2, camera_step_pixels=(-4.0, 2.0))

    assert np.array_equal(video.frames[1, 2:40, :-4], video.frames[0, :38, 4:])


def test_square_stands_out_and_background_has_texture() -> None:
    """Both have enough contrast for flow, and the colour of the square differs from that of the background."""
    video = moving_square()
    image, mask = video.frames[0].astype(float), video.masks[0]

    assert image[mask].std() > 15
    assert image[~mask].std() > 15
    assert np.abs(image[mask].mean(axis=0) - image[~mask].mean(axis=0)).max() > 25


def test_square_that_leaves_the_frame_is_refused() -> None:
    """A path that leaves the frame is an error, not a clipped box."""
    with pytest.raises(InvalidInput, match="leaves 320x240"):
        moving_square((9.0, 0.0), 60)
