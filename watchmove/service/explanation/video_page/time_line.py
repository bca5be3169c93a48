"""Where the shots, windows and sampled frames of a video are on a line from its start to its end."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from watchmove.pipeline.settings.extraction import ExtractionSettings
from watchmove.service.records.frame_verdicts import FrameVerdict

_LEAST_PERCENT = 0.25
"""Least length of a bar, so that one of a single frame is seen. Set by hand."""


class Bar(NamedTuple):
    """A part of the line, in percent of its length, and its frames or its shot in words."""

    start: float
    length: float
    name: str


class Mark(NamedTuple):
    """A sampled frame on the line, in percent of its length."""

    at: float
    frame: int
    kept: bool
    name: str


class TimeLine(NamedTuple):
    """A video's shots, windows and sampled frames; `frames` is the number of frames that its length stands for."""

    frames: int
    end_seconds: float
    shots: tuple[Bar, ...]
    windows: tuple[Bar, ...]
    marks: tuple[Mark, ...]
    exact: bool


def time_line(
    verdicts: Sequence[FrameVerdict], frames_seen: int, settings: ExtractionSettings, cuts: Sequence[int] = ()
) -> TimeLine | None:
    """Return the line of a video of `frames_seen` decoded frames, or None if no frame was sampled.

    `cuts` are the first frames of all shots, if the video was read again. Without them a shot has the extent of its
    windows, as the record does not say where a shot begins.
    """
    if not verdicts:
        return None
    frames = max(frames_seen, verdicts[-1].frame + 1)
    spans = [(shot, *_extent(window)) for shot, window in _windows(verdicts, settings)]
    exact = bool(cuts)
    if exact:
        ends = [*cuts[1:], frames]
        shots = [(number, float(begin), float(end)) for number, (begin, end) in enumerate(zip(cuts, ends, strict=True))]
    else:
        shots = [
            (shot, min(begin for _, begin, _ in group), max(end for _, _, end in group))
            for shot, group in ((shot, list(group)) for shot, group in groupby(spans, key=lambda span: span[0]))
        ]
    return TimeLine(
        frames=frames,
        end_seconds=seconds_of(frames, verdicts),
        shots=tuple(_bar(begin, end, frames, f"shot {shot}") for shot, begin, end in shots),
        windows=tuple(_bar(begin, end, frames, f"window of shot {shot}") for shot, begin, end in spans),
        marks=tuple(
            Mark(
                round(100 * (one.frame + 0.5) / frames, 3),
                one.frame,
                one.reject_reason is None,
                f"frame {one.frame} at {one.time_seconds:g} s: {one.reject_reason or 'kept'}",
            )
            for one in verdicts
        ),
        exact=exact,
    )


def seconds_of(frame: int, verdicts: Sequence[FrameVerdict]) -> float:
    """The time at which a frame begins, by the frame rate between the first and the last sampled frame."""
    first, last = verdicts[0], verdicts[-1]
    if last.frame == first.frame or last.time_seconds <= first.time_seconds:
        return last.time_seconds
    rate = (last.time_seconds - first.time_seconds) / (last.frame - first.frame)
    return first.time_seconds + rate * (frame - first.frame)


def _windows(
    verdicts: Sequence[FrameVerdict], settings: ExtractionSettings
) -> Iterator[tuple[int, list[FrameVerdict]]]:
    """The sampled frames of each window with the number of their shot; damaged frames are in no window."""
    whole = [one for one in verdicts if one.reject_reason != "damaged"]
    for shot, group in groupby(whole, key=lambda one: one.shot):
        frames = list(group)
        # each window of a shot has as many samples, but for one that has fewer frames than that
        for first in range(0, len(frames), settings.frames_per_window):
            yield shot, frames[first : first + settings.frames_per_window]


def _extent(window: Sequence[FrameVerdict]) -> tuple[float, float]:
    """The frames from which to which a window goes: its samples are in the middles of equal parts of it."""
    first, last = window[0].frame, window[-1].frame
    part = (last - first) / (len(window) - 1) if len(window) > 1 else max(window[0].window_frames, 1)
    middle = first + 0.5
    return max(0.0, middle - part / 2), last + 0.5 + part / 2


def _bar(begin: float, end: float, frames: int, name: str) -> Bar:
    begin, end = min(begin, frames), min(end, frames)
    start = round(100 * begin / frames, 3)
    text = f"{name}, frames {begin:.0f} to {max(end - 1, begin):.0f}"
    return Bar(start, max(round(100 * (end - begin) / frames, 3), _LEAST_PERCENT), text)
