"""A shot looked at as a whole: verdicts, bars, repeated frames, and nothing made of nothing."""

import numpy as np
import pytest

from watchmove.pipeline.extraction.shot import look_at_shot
from watchmove.pipeline.masks.choice import shot_segmenter
from watchmove.pipeline.settings.extraction import ExtractionSettings
from watchmove.pipeline.video.fades import fading_frames, small_picture
from watchmove.pipeline.world.video import moving_square

SETTINGS = ExtractionSettings()
SEGMENT = shot_segmenter(SETTINGS)


def test_windows_of_a_shot_are_looked_at_together() -> None:
    """Two windows, one frame of each wanted: each has the square's mask and is kept."""
    video = moving_square((3.0, 0.0), 24)
    frames = list(video.frames)
    found = look_at_shot([frames[:12], frames[12:]], [[5], [6]], SETTINGS, SEGMENT)
    masks = [(found[0][0], video.masks[5]), (found[1][0], video.masks[18])]

    assert [one.reject_reason for window in found for one in window] == [None, None]
    for one, truth in masks:
        assert ((one.soft_mask >= 0.5) & truth).sum() / ((one.soft_mask >= 0.5) | truth).sum() > 0.85


@pytest.mark.parametrize("level", [0, 120])
def test_identical_frames_have_no_mask(level: int) -> None:
    """Black or grey: no motion, a mask of zeros, no NaN."""
    frames = [np.full((240, 320, 3), level, np.uint8)] * 8
    found = look_at_shot([frames], [range(8)], SETTINGS, SEGMENT)[0]

    assert {one.reject_reason for one in found} == {"no-motion"}
    assert all(one.soft_mask.max() == 0 for one in found)


def test_what_stops_keeps_its_mask() -> None:
    """A square that moves, then rests in a picture that the camera pans: no motion while it rests, and still a mask."""
    video = moving_square((3.0, 0.0), 12)
    resting = [np.roll(video.frames[-1], 2 * t, axis=1) for t in range(1, 9)]
    one = look_at_shot([[*video.frames, *resting]], [[6, 16]], SETTINGS, SEGMENT)[0][1]
    mask, truth = one.soft_mask >= 0.5, np.roll(video.masks[-1], 10, axis=1)

    assert one.reject_reason == "no-motion"
    assert (mask & truth).sum() / (mask | truth).sum() > 0.85


def test_too_few_frames_are_not_segmented() -> None:
    """In three frames motion cannot be told."""
    video = moving_square((3.0, 0.0), 3)
    found = look_at_shot([list(video.frames)], [[1]], SETTINGS, SEGMENT)[0]

    assert (found[0].reject_reason, found[0].soft_mask.max()) == ("short-shot", 0)


def test_bars_are_empty_and_the_square_is_found() -> None:
    """A letterboxed square has the mask it has without the bars."""
    video = moving_square((3.0, 0.0), 12)
    frames = [frame.copy() for frame in video.frames]
    for frame in frames:
        frame[:24], frame[-24:] = 0, 0
    truth = video.masks[6].copy()
    truth[:24], truth[-24:] = False, False
    one = look_at_shot([frames], [[6]], SETTINGS, SEGMENT)[0][0]
    mask = one.soft_mask >= 0.5

    assert one.conditions == ("borders",)
    assert one.soft_mask[:24].max() == one.soft_mask[-24:].max() == 0
    assert (mask & truth).sum() / (mask | truth).sum() > 0.85


def test_doubled_frames_keep_their_motion() -> None:
    """A square that moves 3 pixels every second frame is found as one that moves 3 pixels every frame."""
    video = moving_square((3.0, 0.0), 8)
    doubled = [frame for frame in video.frames for _ in range(2)]
    one, same = look_at_shot([doubled], [[8, 9]], SETTINGS, SEGMENT)[0]

    assert one.conditions == ("duplicates",)
    assert np.array_equal(one.soft_mask, same.soft_mask)
    assert one.reject_reason is None


def test_frames_inside_a_fade_are_dropped_and_those_before_are_not() -> None:
    """A square that is filmed well for 14 frames, and then fades to black."""
    video = moving_square((3.0, 0.0), 26)
    brightness = np.concatenate([np.ones(14), np.linspace(1, 0.0, 12)])
    frames = [(frame * factor).astype(np.uint8) for frame, factor in zip(video.frames, brightness, strict=True)]
    fading = fading_frames([small_picture(frame) for frame in frames])
    found = look_at_shot([frames], [[5, 18, 20]], SETTINGS, SEGMENT, fading=[fading.tolist()])[0]

    assert [one.reject_reason for one in found] == [None, "fade", "fade"]
    assert ["fade" in one.conditions for one in found] == [False, True, True]


def test_parallax_is_named() -> None:
    """A near half of the picture that passes five pixels faster than the far half: no one camera motion fits."""
    generator = np.random.default_rng(0)
    near, far = (np.kron(generator.integers(0, 255, (60, 120), np.uint8), np.ones((4, 4), np.uint8)) for _ in range(2))
    stripes = np.arange(240) // 30 % 2 == 0
    frames = []
    for t in range(10):
        grey = far[:, t : t + 320].copy()
        grey[stripes] = near[stripes, 6 * t : 6 * t + 320]
        frames.append(np.dstack([grey] * 3))
    panned = [np.dstack([far[:, 6 * t : 6 * t + 320]] * 3) for t in range(10)]

    assert "parallax" in look_at_shot([frames], [[5]], SETTINGS, SEGMENT)[0][0].conditions
    assert look_at_shot([panned], [[5]], SETTINGS, SEGMENT)[0][0].conditions == ()
