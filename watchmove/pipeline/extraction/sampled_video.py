"""Extraction from one video file: it is decoded, divided into shots, sampled in windows, segmented and pruned.

The video is read once, from start to end. Only the windows of the current shot and the examined frames are in memory;
settings bound both, so that memory does not grow with the length of the video.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, tee
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from watchmove.pipeline.errors import UnreadableVideo
from watchmove.pipeline.extraction.pruning import REJECT_REASONS, prune_shot
from watchmove.pipeline.extraction.shot import WindowToExamine, examine_shot
from watchmove.pipeline.masks.choice import ShotSegmenter, shot_segmenter
from watchmove.pipeline.settings.extraction import ExtractionSettings
from watchmove.pipeline.video.decoder_log import UNREADABLE_REASONS, DecoderLog
from watchmove.pipeline.video.ffmpeg import VideoReader
from watchmove.pipeline.video.shots import Window, WindowSampler, detect_cuts

__all__ = ["REJECT_REASONS", "UNREADABLE_REASONS", "Extraction", "Frame", "extract_video"]


@dataclass(frozen=True)
class Frame:
    """One examined frame.

    index: its number in the video; time_seconds: when it is shown, from the start of the video; shot: the number of
    its shot, from 0; image: (H, W, 3) uint8 RGB; soft_mask: (H, W) float32 in [0, 1]; confidence: in [0, 1];
    reject_reason: one of REJECT_REASONS, None for a kept frame; conditions: names from CONDITIONS.
    """

    index: int
    time_seconds: float
    shot: int
    image: NDArray[np.uint8]
    soft_mask: NDArray[np.float32]
    confidence: float
    reject_reason: str | None
    conditions: tuple[str, ...]


@dataclass(frozen=True)
class Extraction:
    """The result for one video.

    frames_seen: number of decoded frames; shots: number of shots; frames: the examined frames, kept and rejected, in
    order of time.
    """

    frames_seen: int
    shots: int
    frames: tuple[Frame, ...]


def _as_logged(frame: Frame, log: DecoderLog) -> Frame:
    """A frame with the facts that only the decoder knows: when it is shown, and whether it was interlaced."""
    conditions = (*frame.conditions, "interlaced") if log.is_interlaced(frame.index) else frame.conditions
    return replace(frame, time_seconds=log.time_of_frame(frame.index), conditions=conditions)


@dataclass
class _Progress:
    """Counts of the frames, shots and windows that have been read so far."""

    frames_seen: int = 0
    shots: int = 1
    windows: int = 0


def extract_video(path: Path, settings: ExtractionSettings, segment: ShotSegmenter | None = None) -> Extraction:
    """Find moving objects in a video, in frames sampled over all its shots. The result is deterministic.

    `segment` computes the masks of a shot; without it, the method that the settings choose runs in this process.
    OpenCV is set to one thread for the whole process: callers use the cores by running one process on each.

    Raises:
        UnreadableVideo: fewer than two frames decode, or the decoder exceeds its time limit; `reason` is one of
            UNREADABLE_REASONS.
        Unavailable: ffmpeg cannot be started.
    """
    cv2.setNumThreads(1)
    segment = segment or shot_segmenter(settings)
    progress = _Progress()
    with VideoReader(
        path,
        shorter_side_pixels=settings.shorter_side_pixels,
        max_frames=settings.max_frames,
        max_source_pixels=settings.max_source_pixels,
        timeout_seconds=settings.decoder_timeout_seconds,
        memory_mebibytes=settings.decoder_memory_mebibytes,
    ) as reader:
        frames = [
            frame
            for windows in _shots(reader, progress, settings)
            for frame in _examine_windows(windows, settings, segment)
        ]
    if progress.frames_seen < 2:
        raise UnreadableVideo("too-short", f"{path}: {progress.frames_seen} frame; motion needs at least two")
    # the log is complete only now that the reader is closed
    timed = [_as_logged(frame, reader.log) for frame in frames]
    # frames are in order of shots, which groupby needs
    kept = [frame for _, shot in groupby(timed, key=lambda frame: frame.shot) for frame in _prune(list(shot), settings)]
    return Extraction(progress.frames_seen, progress.shots, tuple(kept))


def _shots(reader: VideoReader, progress: _Progress, settings: ExtractionSettings) -> Iterator[tuple[Window, ...]]:
    """The windows of each shot as soon as the shot has ended; a shot shorter than a window gives one short window."""
    sampler = WindowSampler(settings.window_frames, settings.min_window_frames, settings.windows_per_shot)
    images, ahead = tee(reader)  # verdicts on cuts come two frames late: tee holds the frames between
    for image, mark in zip(images, detect_cuts(ahead, settings.cut_difference), strict=True):
        if mark.begins_shot:
            yield _finish_shot(sampler, progress)
            # checked where a shot has ended, because only then its windows are known
            if progress.windows >= settings.windows_per_video:
                return
            progress.shots += 1
        sampler.add(image, mark.thumbnail)
        progress.frames_seen += 1
    yield _finish_shot(sampler, progress)


def _finish_shot(sampler: WindowSampler, progress: _Progress) -> tuple[Window, ...]:
    """The windows of the shot that has ended, which are counted."""
    windows = sampler.finish(progress.shots, progress.frames_seen)
    progress.windows += len(windows)
    return windows


def _sampled(window: Window, settings: ExtractionSettings) -> Sequence[int]:
    """Positions that are spread evenly inside a window, the ends excluded; the middle of a window that is too short."""
    count = len(window.images)
    wanted = min(settings.frames_per_window, count) if count >= settings.min_window_frames else 1
    # the middle of each of `wanted` equal parts
    return sorted({round((k + 0.5) * count / wanted - 0.5) for k in range(wanted)})


def _examine_windows(windows: Sequence[Window], settings: ExtractionSettings, segment: ShotSegmenter) -> list[Frame]:
    """Sampled frames of one shot, its windows segmented together, each with the reason that its own mask gives."""
    if not windows:
        return []
    requests = [WindowToExamine(window.images, _sampled(window, settings), window.fading) for window in windows]
    examined = examine_shot(requests, settings, segment)
    places = [(window, pos) for window, request in zip(windows, requests, strict=True) for pos in request.positions]
    return [
        Frame(
            index=window.start + position,
            time_seconds=0.0,  # the decoder's log knows it once the video has been read
            shot=window.shot,
            image=window.images[position],
            soft_mask=found.soft_mask,
            confidence=found.confidence,
            reject_reason=found.reject_reason,
            conditions=found.conditions,
        )
        for (window, position), found in zip(places, examined, strict=True)
    ]


def _prune(shot: list[Frame], settings: ExtractionSettings) -> list[Frame]:
    """The frames of one shot, with near duplicates and those over the quota rejected too."""
    good = [frame for frame in shot if frame.reject_reason is None]
    reasons = prune_shot([f.image for f in good], [f.soft_mask for f in good], [f.confidence for f in good], settings)
    decided = {frame.index: reason for frame, reason in zip(good, reasons, strict=True)}
    return [replace(frame, reject_reason=decided.get(frame.index, frame.reject_reason)) for frame in shot]
