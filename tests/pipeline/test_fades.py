"""Frames inside drawn fades and dissolves are found, and no others."""

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.drawn_video import moving_square
from pipeline.fades import fading_frames
from pipeline.flow import shrink

FloatArray = NDArray[np.float32]


def panned_means(frames: int, brightness: NDArray[np.floating]) -> FloatArray:
    """Block means of a square before a camera that pans, each frame as bright as its factor says."""
    video = moving_square((3.0, 0.0), frames, camera_step_pixels=(-2.0, 1.0)).frames
    greys = [frame.mean(axis=2) * factor for frame, factor in zip(video, brightness, strict=True)]
    return np.stack([shrink(grey.astype(np.float32), 8) for grey in greys])


def pictures(count: int, columns: int) -> FloatArray:
    """Pictures of noise, (count, 30, columns)."""
    return np.random.default_rng(0).uniform(0, 255, (count, 30, columns)).astype(np.float32)


@pytest.mark.parametrize("length", [8, 12, 24])
@pytest.mark.parametrize("upwards", [False, True])
def test_a_fade_to_or_from_black_is_found_in_a_moving_picture(length: int, upwards: bool) -> None:
    """Its inner frames are named; frames well before it are not."""
    brightness = np.concatenate([np.ones(12), np.linspace(1, 0, length), np.zeros(4)])
    means = panned_means(len(brightness), brightness)
    fading = fading_frames(means[::-1].copy() if upwards else means)
    fading = fading[::-1] if upwards else fading

    assert fading[14 : 12 + length - 2].mean() > 0.8
    assert not fading[:9].any()


def test_a_dissolve_between_still_pictures_is_found() -> None:
    """Ten frames from one picture to another, five of each around them."""
    first, second = pictures(2, 40)
    shares = np.concatenate([np.zeros(5), np.arange(1, 11) / 11, np.ones(5)])
    fading = fading_frames(np.stack([(1 - share) * first + share * second for share in shares]).astype(np.float32))

    assert fading[5:15].all()
    assert not fading[:5].any()
    assert not fading[15:].any()


def test_motion_is_no_fade() -> None:
    """A wide picture that is panned over, a square that moves, noise, and nothing at all."""
    wide = pictures(1, 80)[0]
    pan = np.stack([wide[:, t : t + 40] for t in range(30)])

    assert not fading_frames(pan).any()
    assert not fading_frames(panned_means(30, np.ones(30))).any()
    assert not fading_frames(pictures(20, 40)).any()
    assert not fading_frames(np.zeros((20, 30, 40), np.float32)).any()


def test_a_cut_is_no_fade() -> None:
    """One picture, then another, at once."""
    first, second = pictures(2, 40)

    assert not fading_frames(np.stack([first] * 10 + [second] * 10)).any()
