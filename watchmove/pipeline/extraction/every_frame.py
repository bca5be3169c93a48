"""Masks for every frame of a stream, which is divided into shots, and long shots into chunks that fit in memory."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import tee

import numpy as np
from numpy.typing import NDArray

from watchmove.pipeline.extraction.shot import ExaminedFrame, WindowToExamine, damaged_frame, examine_shot
from watchmove.pipeline.masks.choice import shot_segmenter
from watchmove.pipeline.masks.stage_seconds import StageSeconds
from watchmove.pipeline.settings.extraction import ExtractionSettings
from watchmove.pipeline.video.fades import LONGEST_SPAN, fade_thumbnail, fading_frames
from watchmove.pipeline.video.frames import NamedFrame
from watchmove.pipeline.video.shots import detect_cuts


@dataclass(frozen=True)
class MaskedFrame:
    """One frame of a stream with its verdict.

    index: its number in the stream; shot: the number of its shot, from 0; found: its mask and verdict; stage_seconds:
    processor seconds by stage, an equal share of those of all frames that were segmented together.
    """

    frame: NamedFrame
    index: int
    shot: int
    found: ExaminedFrame
    stage_seconds: dict[str, float]


_CHUNK_TO_SAMPLED_SHOT = 4
"""Largest chunk, as a multiple of the frames that extraction samples from a shot. A bound on memory, not tuned."""


def max_chunk_frames(settings: ExtractionSettings) -> int:
    """The largest number of frames that are segmented together."""
    return settings.window_frames * settings.windows_per_shot * _CHUNK_TO_SAMPLED_SHOT


def mask_frames(frames: Iterable[NamedFrame], settings: ExtractionSettings) -> Iterator[MaskedFrame]:
    """Segment every frame, in order. A shot of `max_chunk_frames` or more is segmented in chunks of at least half that.

    A frame that cannot be read, or is damaged, ends a shot. Memory is bounded by the largest chunk, not by the length
    of the stream.
    """
    most = max_chunk_frames(settings)
    chunk = _Chunk()
    frames, ahead = tee(frames)  # verdicts on cuts come two frames late: tee holds the frames between
    sound = (None if frame.problem else frame.image for frame in ahead)
    marks = detect_cuts(sound, settings.cut_difference)
    for frame, mark in zip(frames, marks, strict=True):
        # a frame that cannot be read is a chunk of its own, so that no flow leads across it
        if chunk.frames and (mark.begins_shot or frame.problem or chunk.frames[-1].problem):
            yield from _examine_chunk(chunk, settings)
            chunk = _Chunk(chunk.first + len(chunk.frames), chunk.shot + 1)
        chunk.add(frame, mark.thumbnail)
        if len(chunk.frames) == most:
            # half is kept, so that the rest of a shot is never too short to be segmented well
            before, chunk = chunk.halves()
            yield from _examine_chunk(before, settings)
    yield from _examine_chunk(chunk, settings)


@dataclass(frozen=True)
class _Chunk:
    """Frames of one shot that are segmented together.

    first: the number of the first frame in the stream; shot: the number of the shot; thumbnails: the `fade_thumbnail`
    of each frame, and of frames of the shot before and after the chunk; lead: how many thumbnails come before it.
    """

    first: int = 0
    shot: int = 0
    frames: list[NamedFrame] = field(default_factory=list)
    thumbnails: list[NDArray[np.uint8]] = field(default_factory=list)
    lead: int = 0

    def add(self, frame: NamedFrame, thumbnail: NDArray[np.uint8]) -> None:
        """Take the next frame and its thumbnail, (48, 64, 3) uint8."""
        self.frames.append(frame)
        self.thumbnails.append(fade_thumbnail(thumbnail))

    def halves(self) -> tuple["_Chunk", "_Chunk"]:
        """Two chunks, each with the thumbnails of the other that are needed to detect fades across their border."""
        half = len(self.frames) // 2
        # thumbnails further back than the longest fade decide nothing, and memory has to be bounded
        lead = min(LONGEST_SPAN, self.lead + half)
        later = self.thumbnails[self.lead + half - lead :]
        before = replace(self, frames=self.frames[:half])
        return before, _Chunk(self.first + half, self.shot, self.frames[half:], later, lead)

    def fading(self) -> list[bool]:
        """For each frame, whether it is part of a fade or a dissolve."""
        fading: list[bool] = fading_frames(self.thumbnails)[self.lead : self.lead + len(self.frames)].tolist()
        return fading


def _examine_chunk(chunk: _Chunk, settings: ExtractionSettings) -> Iterator[MaskedFrame]:
    """Segment the frames of a chunk; a frame that cannot be read or is damaged gives an empty mask and its problem."""
    images = [frame.image for frame in chunk.frames if frame.image is not None and not frame.problem]
    if not images:
        for index, frame in enumerate(chunk.frames, chunk.first):
            unreadable = ExaminedFrame(np.zeros((0, 0), np.float32), 0.0, frame.problem, ())
            found = unreadable if frame.image is None else damaged_frame(frame.image)
            yield MaskedFrame(frame, index, chunk.shot, found, {})
        return
    stages = StageSeconds()
    window = WindowToExamine(images, range(len(images)), chunk.fading())
    examined = examine_shot([window], settings, shot_segmenter(settings), stages)
    share = {stage: seconds / len(images) for stage, seconds in stages.cpu.items()}
    for index, (frame, found) in enumerate(zip(chunk.frames, examined, strict=True), chunk.first):
        yield MaskedFrame(frame, index, chunk.shot, found, share)
