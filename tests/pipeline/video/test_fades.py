"""Frames inside drawn fades and dissolves are detected, and no others."""

import numpy as np
import pytest
from numpy.typing import NDArray

from watchmove.pipeline.arrays import Image
from watchmove.pipeline.video.fades import fade_thumbnail, fading_frames
from watchmove.pipeline.world.video import moving_square


def panned(frames: int, seed: int = 0, step: float = -2.0) -> NDArray[np.float32]:
    """A square in front of a panning camera, (T, H, W, 3)."""
    video = moving_square((3.0, 0.0), frames, camera_step_pixels=(step, 1.0), seed=seed)
    return video.frames.astype(np.float32)


def small(frames: NDArray[np.floating]) -> list[Image]:
    """Whether each of the frames (T, H, W, 3) is part of a fade."""
    return [fade_thumbnail(np.rint(frame).astype(np.uint8)) for frame in frames]


def noise(count: int, columns: int = 64) -> NDArray[np.float32]:
    """Images of coarse noise, (count, 48, columns, 3)."""
    blocks = np.random.default_rng(0).uniform(0, 255, (count, 6, columns // 8, 3))
    return blocks.repeat(8, axis=1).repeat(8, axis=2).astype(np.float32)


@pytest.mark.parametrize("length", [8, 12, 24])
@pytest.mark.parametrize("upwards", [False, True])
def test_a_fade_to_or_from_black_is_found_in_a_moving_scene(length: int, upwards: bool) -> None:
    """The inner frames of a fade are named, and frames well before it are not."""
    brightness = np.concatenate([np.ones(12), np.linspace(1, 0, length), np.zeros(4)])
    frames = panned(len(brightness)) * brightness[:, None, None, None]
    fading = fading_frames(small(frames[::-1] if upwards else frames))
    fading = fading[::-1] if upwards else fading

    assert fading[14 : 12 + length - 2].mean() > 0.8
    assert not fading[:6].any()


@pytest.mark.parametrize("length", [8, 16, 24])
def test_a_dissolve_between_moving_scenes_is_found(length: int) -> None:
    """A dissolve between two moving squares with panning cameras: thumbnails are too small to show the motion."""
    share = np.concatenate([np.zeros(5), np.arange(1, length + 1) / (length + 1), np.ones(5)])[:, None, None, None]
    first, second = panned(len(share), 0), panned(len(share), 5, 3.0)
    fading = fading_frames(small((1 - share) * first + share * second))
    middle = 5 + length // 4

    assert fading[middle:-middle].all()
    assert not fading[:3].any()
    assert not fading[-3:].any()


def test_a_dissolve_between_still_images_is_found() -> None:
    """A dissolve of ten frames between two still images, each of which is shown for five frames."""
    first, second = noise(2)
    shares = np.concatenate([np.zeros(5), np.arange(1, 11) / 11, np.ones(5)])
    fading = fading_frames(small(np.stack([(1 - share) * first + share * second for share in shares])))

    assert fading[6:14].all()
    assert not fading[:5].any()
    assert not fading[15:].any()


def test_motion_is_no_fade() -> None:
    """A pan over a wide image, a moving square, noise, and a still image have no fading frames."""
    wide = noise(1, 256)[0]
    pan = np.stack([wide[:, 4 * t : 4 * t + 64] for t in range(40)])

    assert not fading_frames(small(pan)).any()
    assert not fading_frames(small(panned(30))).any()
    assert not fading_frames(small(noise(20))).any()
    assert not fading_frames(small(np.zeros((20, 48, 64, 3)))).any()


def test_a_cut_is_no_fade() -> None:
    """A change from one image to another within one frame is no fade."""
    first, second = noise(2)

    assert not fading_frames(small(np.stack([first] * 10 + [second] * 10))).any()
