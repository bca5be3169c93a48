"""Reading of a video from start to end: every frame is decoded, and shots end where cuts are."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import tee
from pathlib import Path
from typing import NamedTuple

from watchmove.pipeline.settings.extraction import ExtractionSettings
from watchmove.pipeline.video.ffmpeg import VideoReader
from watchmove.pipeline.video.ffmpeg_commands import Fields
from watchmove.pipeline.video.fingerprint import Fingerprinter
from watchmove.pipeline.video.frames import open_video
from watchmove.pipeline.video.repeats import StreamFrame
from watchmove.pipeline.video.shots import Window, WindowSampler, detect_cuts


class ReadingLimits(NamedTuple):
    """deadline: when reading ends, in seconds of `time.monotonic`, None for never; fields: see `DecodeChoice`."""

    deadline: float | None
    fields: Fields


@dataclass
class Reading:
    """What has been read so far of one video.

    frames_seen: number of frames; shots, windows: their numbers; damaged: damaged frames, each with the number of the
    shot before it; fingerprinter: hashes of what changes; stream: index of the decoded stream in the file; ended_early:
    one of ENDED_EARLY, empty where the video has been read to its end.
    """

    frames_seen: int = 0
    shots: int = 1
    windows: int = 0
    damaged: list[tuple[StreamFrame, int]] = field(default_factory=list)
    fingerprinter: Fingerprinter = field(default_factory=Fingerprinter)
    stream: int = 0
    ended_early: str = ""


class ReadFrame(NamedTuple):
    """A frame that a reader has given: whether it begins a shot, and whether it is damaged."""

    frame: StreamFrame
    begins_shot: bool
    damaged: bool


def read_frames(reader: VideoReader, cut_difference: float) -> Iterator[ReadFrame]:
    """The frames of a reader, numbered from 0, with the verdicts on cuts; a change between sound and damaged is one."""
    images, ahead = tee(reader)  # verdicts on cuts come two frames late: tee holds the frames between
    # asked anew each time, because the decoder can be started again before it gives the first frame
    sound = (None if reader.log.is_damaged(number) else image for number, image in enumerate(ahead))
    was_damaged = False
    for number, (image, mark) in enumerate(zip(images, detect_cuts(sound, cut_difference), strict=True)):
        log = reader.log
        damaged = log.is_damaged(number)
        frame = StreamFrame(number, image, mark.thumbnail, log.time_of_frame(number), log.conditions_of_frame(number))
        yield ReadFrame(frame, mark.begins_shot or (number > 0 and damaged != was_damaged), damaged)
        was_damaged = damaged


def new_sampler(settings: ExtractionSettings, most: int, shot: int = 0) -> WindowSampler:
    """A sampler of at most `most` windows of the settings' length from a shot."""
    return WindowSampler(settings.window_frames, settings.min_window_frames, most, shot)


def read_completely(
    path: Path, settings: ExtractionSettings, reading: Reading, limits: ReadingLimits
) -> Iterator[tuple[Window, ...]]:
    """The windows of each shot as soon as the shot has ended; a shot shorter than a window gives one short window.

    Damaged frames end a shot and are in no window; one in every `window_frames` is reported. `reading` is complete when
    the iterator has ended, which it does after `windows_per_video` windows.

    Raises:
        UnreadableVideo: no frame decodes; `reason` is one of UNREADABLE_REASONS.
        InterlacedVideo: the video is interlaced; read it again with these `fields`.
        Unavailable: ffmpeg cannot be started.
    """
    deadline, fields = limits
    with open_video(path, settings, max_frames=settings.max_frames, deadline=deadline, fields=fields) as reader:
        yield from _shots(reader, reading, settings)
        reading.stream = reader.log.stream or 0
        at_limit = "max-frames" if reading.frames_seen == settings.max_frames else ""
        reading.ended_early = reader.ended_early or at_limit


def _shots(reader: VideoReader, reading: Reading, settings: ExtractionSettings) -> Iterator[tuple[Window, ...]]:
    """The windows of each shot of a reader."""
    sampler = new_sampler(settings, settings.windows_per_shot)
    damaged_run = 0
    for frame, begins_shot, damaged in read_frames(reader, settings.cut_difference):
        if begins_shot:
            yield _finish_shot(sampler, reading)
            # checked where a shot has ended, because only then its windows are known
            if reading.windows >= settings.windows_per_video:
                return
            reading.shots += 1
        if damaged:
            if damaged_run % settings.window_frames == 0:
                reading.damaged.append((frame, sampler.shot))
        else:
            sampler.add(frame)
            reading.fingerprinter.add(frame.seconds, frame.thumbnail)
        damaged_run = damaged_run + 1 if damaged else 0
        reading.frames_seen += 1
    yield _finish_shot(sampler, reading)


def _finish_shot(sampler: WindowSampler, reading: Reading) -> tuple[Window, ...]:
    """The windows of the shot that has ended, which are counted."""
    windows = sampler.finish(reading.shots)
    reading.windows += len(windows)
    return windows
