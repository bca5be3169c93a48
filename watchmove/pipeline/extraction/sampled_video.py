"""Extraction from one video file: it is decoded, divided into shots, sampled in windows, segmented and pruned.

The video is read once, from start to end. Only the windows of the current shot and the examined frames are in memory;
settings bound both, so that memory does not grow with the length of the video.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby, tee
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from watchmove.pipeline.arrays import Image
from watchmove.pipeline.errors import UnreadableVideo
from watchmove.pipeline.extraction.pruning import REJECT_REASONS, MaskFacts, prune_shot
from watchmove.pipeline.extraction.shot import ExaminedFrame, WindowToExamine, damaged_frame, examine_shot, in_order
from watchmove.pipeline.masks.chain import StageMaps
from watchmove.pipeline.masks.choice import ShotSegmenter, shot_segmenter
from watchmove.pipeline.settings.extraction import ExtractionSettings
from watchmove.pipeline.video.decoder_log import UNREADABLE_REASONS, DecoderLog
from watchmove.pipeline.video.ffmpeg import InterlacedVideo, VideoReader
from watchmove.pipeline.video.ffmpeg_commands import Fields
from watchmove.pipeline.video.fingerprint import Fingerprinter
from watchmove.pipeline.video.frames import open_video
from watchmove.pipeline.video.repeats import StreamFrame
from watchmove.pipeline.video.shots import Window, WindowSampler, detect_cuts

__all__ = ["ENDED_EARLY", "REJECT_REASONS", "UNREADABLE_REASONS", "Extraction", "Frame", "extract_video"]

ENDED_EARLY = ("decoder-timeout", "time-limit", "max-frames")
"""Why a video was not decoded to its end although frames of it were examined: a closed list."""

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

    frames_seen: number of decoded frames; shots: number of shots; frames: the examined frames, kept and rejected, in
    order of time; stream: index of the decoded stream in the file; ended_early: why the video was not decoded to its
    end, one of ENDED_EARLY, empty if it was; fingerprint: hashes of what changes (`video/fingerprint.py`).
    """

    frames_seen: int
    shots: int
    frames: tuple[Frame, ...]
    stream: int = 0
    ended_early: str = ""
    fingerprint: str = ""


@dataclass
class _Progress:
    """What has been read so far: counts of frames, shots and windows, the frames that are damaged, and the hashes."""

    frames_seen: int = 0
    shots: int = 1
    windows: int = 0
    damaged: list[Frame] = field(default_factory=list)
    fingerprinter: Fingerprinter = field(default_factory=Fingerprinter)


def extract_video(
    path: Path, settings: ExtractionSettings, segment: ShotSegmenter | None = None, deadline: float | None = None
) -> Extraction:
    """Find moving objects in a video, in frames sampled over all its shots. The result is deterministic.

    `segment` computes the masks of a shot; without it, the method that the settings choose runs in this process.
    Reading ends at `deadline`, in seconds of `time.monotonic`, or when the decoder exceeds its time limit; what was
    found by then is the result. OpenCV is set to one thread for the whole process: callers use the cores by running one
    process on each.

    Raises:
        UnreadableVideo: fewer than two frames decode; `reason` is one of UNREADABLE_REASONS.
        Unavailable: ffmpeg cannot be started.
    """
    cv2.setNumThreads(1)
    segment = segment or shot_segmenter(settings)
    try:
        return _extract(path, settings, segment, deadline, "")
    except InterlacedVideo as found:  # its first frames did not show it
        return _extract(path, settings, segment, deadline, found.fields)


def _extract(
    path: Path, settings: ExtractionSettings, segment: ShotSegmenter, deadline: float | None, fields: Fields
) -> Extraction:
    """Extract a video whose frames are divided into `fields`."""
    progress = _Progress()
    with open_video(path, settings, max_frames=settings.max_frames, deadline=deadline, fields=fields) as reader:
        frames = [
            frame
            for windows in _shots(reader, progress, settings)
            for frame in _examine_windows(windows, settings, segment, reader.log)
        ]
    if progress.frames_seen < _FEWEST_FRAMES:
        raise UnreadableVideo("too-short", f"{path}: {progress.frames_seen} frame; motion needs at least two")
    # frames are in order of shots, which groupby needs
    kept = [
        frame for _, shot in groupby(frames, key=lambda frame: frame.shot) for frame in _prune(list(shot), settings)
    ]
    in_order = sorted([*kept, *progress.damaged], key=lambda frame: frame.index)
    ended_early = reader.ended_early or ("max-frames" if progress.frames_seen == settings.max_frames else "")
    return Extraction(
        progress.frames_seen,
        progress.shots,
        tuple(in_order),
        reader.log.stream or 0,
        ended_early,
        progress.fingerprinter.fingerprint(),
    )


def _shots(reader: VideoReader, progress: _Progress, settings: ExtractionSettings) -> Iterator[tuple[Window, ...]]:
    """The windows of each shot as soon as the shot has ended; a shot shorter than a window gives one short window.

    Damaged frames end a shot and are in no window; one in every `window_frames` is reported.
    """
    sampler = WindowSampler(settings.window_frames, settings.min_window_frames, settings.windows_per_shot)
    images, ahead = tee(reader)  # verdicts on cuts come two frames late: tee holds the frames between
    sound = (None if reader.log.is_damaged(index) else image for index, image in enumerate(ahead))
    damaged_run = 0
    for image, mark in zip(images, detect_cuts(sound, settings.cut_difference), strict=True):
        index, damaged = progress.frames_seen, reader.log.is_damaged(progress.frames_seen)
        if mark.begins_shot or (index and damaged != (damaged_run > 0)):
            yield _finish_shot(sampler, progress)
            # checked where a shot has ended, because only then its windows are known
            if progress.windows >= settings.windows_per_video:
                return
            progress.shots += 1
        if damaged:
            if damaged_run % settings.window_frames == 0:
                progress.damaged.append(_frame(index, sampler.shot, image, damaged_frame(image), reader.log))
        else:
            sampler.add(StreamFrame(index, image, mark.thumbnail))
            progress.fingerprinter.add(reader.log.time_of_frame(index), mark.thumbnail)
        damaged_run = damaged_run + 1 if damaged else 0
        progress.frames_seen += 1
    yield _finish_shot(sampler, progress)


def _finish_shot(sampler: WindowSampler, progress: _Progress) -> tuple[Window, ...]:
    """The windows of the shot that has ended, which are counted."""
    windows = sampler.finish(progress.shots)
    progress.windows += len(windows)
    return windows


def _sampled(window: Window, settings: ExtractionSettings) -> Sequence[int]:
    """Positions that are spread evenly inside a window, the ends excluded; the middle of a window that is too short."""
    count = len(window.frames)
    wanted = min(settings.frames_per_window, count) if count >= settings.min_window_frames else 1
    # the middle of each of `wanted` equal parts
    return sorted({round((k + 0.5) * count / wanted - 0.5) for k in range(wanted)})


def _examine_windows(
    windows: Sequence[Window], settings: ExtractionSettings, segment: ShotSegmenter, log: DecoderLog
) -> list[Frame]:
    """Sampled frames of one shot, its windows segmented together, each with the reason that its own mask gives."""
    if not windows:
        return []
    requests = [_request(window, settings) for window in windows]
    examined = examine_shot(requests, settings, segment)
    places = [(window, pos) for window, request in zip(windows, requests, strict=True) for pos in request.positions]
    return [
        _frame(window.frames[position].number, window.shot, window.frames[position].image, found, log)
        for (window, position), found in zip(places, examined, strict=True)
    ]


def _request(window: Window, settings: ExtractionSettings) -> WindowToExamine:
    """A window with the positions to examine."""
    conditions = ("duplicates",) if any(frame.follows_repeats for frame in window.frames) else ()
    images = tuple(frame.image for frame in window.frames)
    return WindowToExamine(images, _sampled(window, settings), window.fading, conditions)


def _frame(index: int, shot: int, image: Image, found: ExaminedFrame, log: DecoderLog) -> Frame:
    """An examined frame, with the facts that the decoder knows: when it is shown, and how it was converted."""
    return Frame(
        index=index,
        time_seconds=log.time_of_frame(index),
        shot=shot,
        image=image,
        soft_mask=found.soft_mask,
        confidence=found.confidence,
        reject_reason=found.reject_reason,
        conditions=in_order([*found.conditions, *log.conditions_of_frame(index)]),
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
