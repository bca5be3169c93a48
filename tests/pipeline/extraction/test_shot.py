"""The examination of a shot: verdicts, black bars, repeated frames, fades, and shots without motion."""

import numpy as np
import pytest

from watchmove.pipeline.extraction.shot import ExaminedFrame, WindowToExamine, examine_shot
from watchmove.pipeline.masks.choice import shot_segmenter
from watchmove.pipeline.settings.extraction import ExtractionSettings
from watchmove.pipeline.video.fades import fade_thumbnail, fading_frames
from watchmove.pipeline.world.video import moving_square

SETTINGS = ExtractionSettings()
SEGMENT = shot_segmenter(SETTINGS)


def examine(*windows: WindowToExamine) -> list[ExaminedFrame]:
    """The chosen frames of the windows of a shot, with the settings' defaults."""
    return examine_shot(windows, SETTINGS, SEGMENT)


def test_windows_of_a_shot_are_examined_together() -> None:
    """Two windows with one chosen frame each: both frames have the square's mask and are kept."""
    video = moving_square((3.0, 0.0), 24)
    frames = list(video.frames)
    found = examine(WindowToExamine(frames[:12], [5]), WindowToExamine(frames[12:], [6]))

    assert [frame.reject_reason for frame in found] == [None, None]
    for frame, truth in zip(found, video.masks[[5, 18]], strict=True):
        mask = frame.soft_mask >= 0.5
        assert (mask & truth).sum() / (mask | truth).sum() > 0.85


def test_frames_come_in_order_of_windows_and_a_short_window_has_no_mask() -> None:
    """A window of three frames between two longer ones: its frame is rejected, those of the others are not."""
    frames = list(moving_square((3.0, 0.0), 27).frames)
    windows = [(frames[:12], [5, 6]), (frames[12:15], [1]), (frames[15:], [6])]
    found = examine(*(WindowToExamine(images, positions) for images, positions in windows))

    assert [frame.reject_reason for frame in found] == [None, None, "short-shot", None]
    assert [frame.soft_mask.max() > 0.5 for frame in found] == [True, True, False, True]


@pytest.mark.parametrize("level", [0, 120])
def test_identical_frames_have_no_mask(level: int) -> None:
    """Black or grey: no motion, a mask of zeros, no NaN."""
    frames = [np.full((240, 320, 3), level, np.uint8)] * 8
    found = examine(WindowToExamine(frames, range(8)))

    assert {frame.reject_reason for frame in found} == {"no-motion"}
    assert all(frame.soft_mask.max() == 0 for frame in found)


def test_an_object_that_stops_keeps_its_mask() -> None:
    """A square moves, then rests while the camera pans: its resting frames show no motion and still have its mask."""
    video = moving_square((3.0, 0.0), 12)
    resting = [np.roll(video.frames[-1], 2 * t, axis=1) for t in range(1, 9)]
    _, rests = examine(WindowToExamine([*video.frames, *resting], [6, 16]))
    mask, truth = rests.soft_mask >= 0.5, np.roll(video.masks[-1], 10, axis=1)

    assert rests.reject_reason == "no-motion"
    assert (mask & truth).sum() / (mask | truth).sum() > 0.85


def test_too_few_frames_are_not_segmented() -> None:
    """Three frames are fewer than motion needs."""
    video = moving_square((3.0, 0.0), 3)
    found = examine(WindowToExamine(list(video.frames), [1]))

    assert [(frame.reject_reason, frame.soft_mask.max()) for frame in found] == [("short-shot", 0)]


def test_bars_are_empty_and_the_square_is_found() -> None:
    """A square in letterboxed frames has its mask, and the bars have none."""
    video = moving_square((3.0, 0.0), 12)
    frames = [frame.copy() for frame in video.frames]
    for frame in frames:
        frame[:24], frame[-24:] = 0, 0
    truth = video.masks[6].copy()
    truth[:24], truth[-24:] = False, False
    (frame,) = examine(WindowToExamine(frames, [6]))
    mask = frame.soft_mask >= 0.5

    assert frame.conditions == ("borders",)
    assert frame.soft_mask[:24].max() == frame.soft_mask[-24:].max() == 0
    assert (mask & truth).sum() / (mask | truth).sum() > 0.85


def test_doubled_frames_keep_their_motion() -> None:
    """A square that moves 3 pixels every second frame is found as one that moves 3 pixels every frame."""
    video = moving_square((3.0, 0.0), 8)
    doubled = [frame for frame in video.frames for _ in range(2)]
    first, second = examine(WindowToExamine(doubled, [8, 9]))

    assert first.conditions == ("duplicates",)
    assert np.array_equal(first.soft_mask, second.soft_mask)
    assert first.reject_reason is None


def test_frames_inside_a_fade_are_rejected_and_those_before_are_not() -> None:
    """A moving square is shown for 14 frames and then fades to black."""
    video = moving_square((3.0, 0.0), 26)
    brightness = np.concatenate([np.ones(14), np.linspace(1, 0.0, 12)])
    frames = [(frame * factor).astype(np.uint8) for frame, factor in zip(video.frames, brightness, strict=True)]
    fading = fading_frames([fade_thumbnail(frame) for frame in frames])
    window = WindowToExamine(frames, [5, 18, 20], fading.tolist())
    never_trusted = SETTINGS.model_copy(update={"trusted_confidence": 1.0})
    found = examine_shot([window], never_trusted, shot_segmenter(never_trusted))

    assert [frame.reject_reason for frame in found] == [None, "fade", "fade"]
    assert ["fade" in frame.conditions for frame in found] == [False, True, True]

    # the square is so clear that its masks are right in the fade too
    least = min(frame.confidence for frame in found)
    trusted = SETTINGS.model_copy(update={"trusted_confidence": least})
    found = examine_shot([window], trusted, shot_segmenter(trusted))

    assert [frame.reject_reason for frame in found] == [None, None, None]
    assert ["fade" in frame.conditions for frame in found] == [False, True, True]


def test_parallax_is_named() -> None:
    """Near stripes pass five pixels faster than the far background, so that no single camera motion fits both."""
    generator = np.random.default_rng(0)
    near, far = (np.kron(generator.integers(0, 255, (60, 120), np.uint8), np.ones((4, 4), np.uint8)) for _ in range(2))
    stripes = np.arange(240) // 30 % 2 == 0
    frames = []
    for t in range(10):
        grey = far[:, t : t + 320].copy()
        grey[stripes] = near[stripes, 6 * t : 6 * t + 320]
        frames.append(np.dstack([grey] * 3))
    panned = [np.dstack([far[:, 6 * t : 6 * t + 320]] * 3) for t in range(10)]

    assert "parallax" in examine(WindowToExamine(frames, [5]))[0].conditions
    assert examine(WindowToExamine(panned, [5]))[0].conditions == ()
