"""The places of shots, windows and frames on a line, of verdicts whose places are known."""

import pytest

from watchmove.pipeline.settings.extraction import ExtractionSettings
from watchmove.service.explanation.video_page.time_line import seconds_of, time_line
from watchmove.service.records.frame_verdicts import FrameVerdict

SETTINGS = ExtractionSettings(window_frames=16, frames_per_window=4)


def verdict(frame: int, shot: int = 0, reason: str | None = None) -> FrameVerdict:
    """A verdict on a frame of a video of 20 frames per second."""
    return FrameVerdict(
        frame=frame, time_seconds=frame / 20, shot=shot, confidence=0.9, reject_reason=reason, window_frames=16
    )


TWO_SHOTS = [
    *(verdict(frame) for frame in (2, 6, 10, 14, 34, 38, 42, 46)),
    *(verdict(frame, 1, "no-motion") for frame in (52, 56, 60, 64)),
]
"""Windows of the frames 0 to 15, 32 to 47, and, in the second shot, 50 to 65, of 100."""


def test_windows_follow_from_their_samples() -> None:
    """Samples are in the middles of equal parts of a window, which tells where it begins and ends to half a frame."""
    line = time_line(TWO_SHOTS, 100, SETTINGS)
    assert line is not None
    ends = [(bar.start, bar.start + bar.length) for bar in line.windows]

    assert [end for pair in ends for end in pair] == pytest.approx([0.5, 16.5, 32.5, 48.5, 50.5, 66.5])
    assert [(bar.start, bar.length) for bar in line.shots] == [(0.5, 48.0), (50.5, 16.0)]
    assert line.end_seconds == pytest.approx(5)
    assert (line.frames, line.exact) == (100, False)
    assert [mark.at for mark in line.marks[:2]] == [2.5, 6.5]
    assert [mark.kept for mark in line.marks] == [True] * 8 + [False] * 4
    assert line.marks[-1].name == "frame 64 at 3.2 s: no-motion"


def test_cuts_are_exact() -> None:
    """Shots that were found again reach from cut to cut, and the last one to the end."""
    line = time_line(TWO_SHOTS, 100, SETTINGS, [0, 49])
    assert line is not None

    assert [(bar.start, bar.length) for bar in line.shots] == [(0, 49), (49, 51)]
    assert line.shots[1].name == "shot 1, frames 49 to 99"
    assert line.exact


def test_damaged_frames_and_short_shots() -> None:
    """A damaged frame is in no window; a shot of one sample has a window of the recorded number of frames."""
    short = verdict(3, 1, "short-shot").model_copy(update={"window_frames": 4})
    line = time_line([verdict(0, 0, "damaged"), short], 5, SETTINGS)
    assert line is not None

    assert len(line.marks) == 2
    assert [(bar.start, round(bar.start + bar.length)) for bar in line.windows] == [(30.0, 100)]


def test_without_frames_there_is_no_line() -> None:
    """One frame gives a line without a rate, and a line is never too short for its frames."""
    one = time_line([verdict(7)], 0, SETTINGS)
    assert one is not None

    assert time_line([], 100, SETTINGS) is None
    assert (one.frames, one.end_seconds) == (8, 0.35)
    assert seconds_of(40, [verdict(0), verdict(10)]) == pytest.approx(2)
