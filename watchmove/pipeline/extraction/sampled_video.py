"""Extraction from one video file: it is read, divided into shots, sampled in windows, segmented and pruned.

Only the windows of the current shot and the examined frames are in memory; settings bound both, so that memory does not
grow with the length of the video.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from watchmove.pipeline.errors import UNREADABLE_REASONS, UnreadableVideo
from watchmove.pipeline.extraction.complete_reading import Reading, ReadingLimits, read_completely
from watchmove.pipeline.extraction.pruning import REJECT_REASONS, MaskFacts, prune_shot
from watchmove.pipeline.extraction.shot import ExaminedFrame, WindowToExamine, damaged_frame, examine_shot, in_order
from watchmove.pipeline.extraction.sparse_reading import NotAsSurveyed, read_sparsely
from watchmove.pipeline.extraction.stretches import plan_stretches
from watchmove.pipeline.extraction.survey import survey_video
from watchmove.pipeline.masks.chain import StageMaps
from watchmove.pipeline.masks.choice import ShotSegmenter, shot_segmenter
from watchmove.pipeline.settings.extraction import ExtractionSettings
from watchmove.pipeline.video.ffmpeg_commands import Fields
from watchmove.pipeline.video.frames import read_again
from watchmove.pipeline.video.repeats import StreamFrame
from watchmove.pipeline.video.shots import Window

__all__ = ["ENDED_EARLY", "REJECT_REASONS", "UNREADABLE_REASONS", "Extraction", "Frame", "extract_video"]

ENDED_EARLY = ("decoder-timeout", "time-limit", "max-frames")
"""Why a video was not read to its end although frames of it were examined: a closed list."""

_FEWEST_FRAMES = 2
"""Fewest frames in which there can be motion."""


@dataclass(frozen=True)
class Frame:
    """One examined frame.

    index: its number in the video; time_seconds: when it is shown, from the start of the video; shot: the number of
    its shot, from 0; image: (H, W, 3) uint8 RGB; soft_mask: (H, W) float32 in [0, 1]; confidence: in [0, 1];
    reject_reason: one of REJECT_REASONS, None for a kept frame; conditions: names from CONDITIONS; facts, window_frames
    and stages: see ExaminedFrame; change: see Pruned.
    """

    index: int
    time_seconds: float
    shot: int
    image: NDArray[np.uint8]
    soft_mask: NDArray[np.float32]
    confidence: float
    reject_reason: str | None
    conditions: tuple[str, ...]
    facts: MaskFacts | None = None
    window_frames: int = 0
    change: float | None = None
    stages: tuple[StageMaps, slice, slice] | None = None


@dataclass(frozen=True)
class Extraction:
    """The result for one video.

    frames_seen: number of its frames, decoded or passed over; shots: number of shots; frames: the examined frames, kept
    and rejected, in order of time; stream: index of the decoded stream in the file; ended_early: why the video was not
    read to its end, one of ENDED_EARLY, empty if it was; fingerprint: hashes of what changes (`video/fingerprint.py`).
    """

    frames_seen: int
    shots: int
    frames: tuple[Frame, ...]
    stream: int = 0
    ended_early: str = ""
    fingerprint: str = ""


def extract_video(
    path: Path, settings: ExtractionSettings, segment: ShotSegmenter | None = None, deadline: float | None = None
) -> Extraction:
    """Find moving objects in a video, in frames sampled over all its shots.

    The result is the same each time, except that of a damaged file that is read completely, a few more or fewer frames
    may be called damaged. `segment` computes the masks of a shot; without it, the method that the settings choose runs
    in this process. Reading ends at `deadline`, in seconds of `time.monotonic`, or when the decoder exceeds its time
    limit; what was found by then is the result. OpenCV is set to one thread for the whole process: callers use the
    cores by running one process on each.

    Raises:
        UnreadableVideo: fewer than two frames decode; `reason` is one of UNREADABLE_REASONS.
        Unavailable: ffmpeg cannot be started.
    """
    cv2.setNumThreads(1)
    segmenter = segment or shot_segmenter(settings)
    return read_again(lambda settings, fields: _extract(path, settings, segmenter, deadline, fields), settings)


def _extract(
    path: Path, settings: ExtractionSettings, segment: ShotSegmenter, deadline: float | None, fields: Fields
) -> Extraction:
    """Extract a video whose frames are divided into `fields`."""
    limits = ReadingLimits(deadline, fields)
    survey = None
    if settings.reading == "sparse":
        survey = survey_video(path, settings, deadline=deadline, fields=fields)
    stretches = plan_stretches(survey, settings) if survey is not None else None
    if survey is not None and stretches is not None:
        try:
            reading = Reading()
            windows_by_shot = read_sparsely(path, survey, stretches, settings, reading, limits)
            return _examined(path, windows_by_shot, reading, settings, segment)
        except NotAsSurveyed:
            pass  # the complete reading relies on nothing that the file says of itself
    reading = Reading()
    return _examined(path, read_completely(path, settings, reading, limits), reading, settings, segment)


def _examined(
    path: Path,
    windows_by_shot: Iterable[tuple[Window, ...]],
    reading: Reading,
    settings: ExtractionSettings,
    segment: ShotSegmenter,
) -> Extraction:
    """Examine the windows of a video as they are read, and prune its frames."""
    frames = [frame for windows in windows_by_shot for frame in _examine_windows(windows, settings, segment)]
    if reading.frames_seen < _FEWEST_FRAMES:
        raise UnreadableVideo("too-short", f"{path}: {reading.frames_seen} frame; motion needs at least two")
    # frames are in order of shots, which groupby needs
    kept = [
        frame for _, shot in groupby(frames, key=lambda frame: frame.shot) for frame in _prune(list(shot), settings)
    ]
    damaged = [_frame(frame, shot, damaged_frame(frame.image)) for frame, shot in reading.damaged]
    return Extraction(
        reading.frames_seen,
        reading.shots,
        tuple(sorted([*kept, *damaged], key=lambda frame: frame.index)),
        reading.stream,
        reading.ended_early,
        reading.fingerprinter.fingerprint(),
    )


def sampled_positions(count: int, settings: ExtractionSettings) -> Sequence[int]:
    """Positions of the frames that are examined in a window of `count` frames, in order.

    They are spread evenly, the ends excluded; of a window that is too short, it is the middle.
    """
    wanted = min(settings.frames_per_window, count) if count >= settings.min_window_frames else 1
    # the middle of each of `wanted` equal parts
    return sorted({round((k + 0.5) * count / wanted - 0.5) for k in range(wanted)})


def _examine_windows(windows: Sequence[Window], settings: ExtractionSettings, segment: ShotSegmenter) -> list[Frame]:
    """Sampled frames of one shot, its windows segmented together, each with the reason that its own mask gives."""
    if not windows:
        return []
    requests = [_request(window, settings) for window in windows]
    examined = examine_shot(requests, settings, segment)
    places = [(window, pos) for window, request in zip(windows, requests, strict=True) for pos in request.positions]
    return [
        _frame(window.frames[position], window.shot, found)
        for (window, position), found in zip(places, examined, strict=True)
    ]


def _request(window: Window, settings: ExtractionSettings) -> WindowToExamine:
    """A window with the positions to examine."""
    conditions = ("duplicates",) if any(frame.follows_repeats for frame in window.frames) else ()
    images = tuple(frame.image for frame in window.frames)
    return WindowToExamine(images, sampled_positions(len(window.frames), settings), window.fading, conditions)


def _frame(frame: StreamFrame, shot: int, found: ExaminedFrame) -> Frame:
    """An examined frame, with the facts that the decoder knows: when it is shown, and how it was converted."""
    return Frame(
        index=frame.number,
        time_seconds=frame.seconds,
        shot=shot,
        image=frame.image,
        soft_mask=found.soft_mask,
        confidence=found.confidence,
        reject_reason=found.reject_reason,
        conditions=in_order([*found.conditions, *frame.conditions]),
        facts=found.facts,
        window_frames=found.window_frames,
        stages=found.stages,
    )


def _prune(shot: list[Frame], settings: ExtractionSettings) -> list[Frame]:
    """The frames of one shot, with near duplicates and those over the quota rejected too."""
    good = [frame for frame in shot if frame.reject_reason is None]
    pruned = prune_shot([f.image for f in good], [f.soft_mask for f in good], [f.confidence for f in good], settings)
    decided = {frame.index: decision for frame, decision in zip(good, pruned, strict=True)}
    return [
        replace(frame, reject_reason=decided[frame.index].reason, change=decided[frame.index].change)
        if frame.index in decided
        else frame
        for frame in shot
    ]
