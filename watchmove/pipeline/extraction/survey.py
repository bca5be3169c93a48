"""A survey of a video: when each frame is shown, and the key frames, without decoding the others.

A survey is possible for files whose frames can be numbered and found again by their times alone. Whatever is odd in
another way has no survey and is read from start to end.
"""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from watchmove.pipeline.arrays import Image
from watchmove.pipeline.errors import UnreadableVideo
from watchmove.pipeline.settings.extraction import ExtractionSettings
from watchmove.pipeline.video.damage import KEY_FRAME_CODECS, DamageTracker
from watchmove.pipeline.video.decoder_log import DecoderLog
from watchmove.pipeline.video.ffmpeg import VideoReader
from watchmove.pipeline.video.ffmpeg_commands import Extent, Fields
from watchmove.pipeline.video.frames import open_video
from watchmove.pipeline.video.shots import shot_thumbnail

_WITH_EDITS = "mov,mp4,m4a,3gp,3g2,mj2"
_INDEXED_CONTAINERS = frozenset({_WITH_EDITS, "matroska,webm", "avi"})
"""Formats, by ffmpeg's names, whose index leads to a key frame. Others are searched, and a search can miss."""

_WITHOUT_EMPTY_PACKETS = frozenset({"h264", "mpeg1video", "mpeg2video", "mpeg4", "h263", "vp8"})
"""Decoders before which ffmpeg removes the empty packets that stand for dropped frames in AVI, as its parsers do."""

_FEWEST_FRAMES_FOR_A_KEY = 4
"""Fewest frames for each key frame; with fewer, decoding key frames costs nearly as much as decoding all frames."""

_LARGEST_TIME_ERROR = 1e-5
"""Largest difference of two equal times, as a share: ffmpeg writes times with six digits."""


class _LostReport(Exception):
    """Key frames are reported at the same time, which is how a reader reports a frame whose time it does not know."""


@dataclass(frozen=True)
class KeyFrame:
    """A frame that is decoded without others: its number in the video, and its `shot_thumbnail`."""

    number: int
    thumbnail: Image


@dataclass(frozen=True)
class Survey:
    """What is known of a video before its frames are decoded.

    times_seconds: when each frame is shown, from the start of the video, increasing, (N,) float64; key_frames: the key
    frames in order, at least one, of which the first is frame 0.
    """

    times_seconds: NDArray[np.float64]
    key_frames: tuple[KeyFrame, ...]

    def is_time_of(self, number: int, seconds: float) -> bool:
        """Whether a frame that is shown at a time is the one with this number."""
        return bool(abs(self.times_seconds[number] - seconds) <= _LARGEST_TIME_ERROR * max(1.0, seconds))

    def seconds_before(self, number: int) -> float:
        """A time between the frame before `number`, which is at least 1, and the frame before that one."""
        return float(self.times_seconds[max(0, number - 2)] + self.times_seconds[number - 1]) / 2

    def extent(self, key: int, first: int, frames: int) -> Extent:
        """At most `frames` frames from the one with the number `first` on, decoded from the key frame `key`."""
        if first != key:
            return Extent(float(self.times_seconds[first - 1] + self.times_seconds[first]) / 2, frames, is_exact=True)
        # in the middle between this key frame and the next: in some formats, ffmpeg seeks an eighth of a second further
        # back, and the times of the index are not always those at which frames are shown
        stop = min((each.number for each in self.key_frames if each.number > key), default=len(self.times_seconds) - 1)
        middle = float(self.times_seconds[first] + self.times_seconds[stop]) / 2
        return Extent(middle if first else None, frames)


def survey_video(
    path: Path, settings: ExtractionSettings, *, deadline: float | None = None, fields: Fields = ""
) -> Survey | None:
    """The survey of a video file; None where it has to be read from start to end.

    That is so where its format has no index, its codec marks no key frames, its decoder cannot skip frames (VP9), or it
    has edits, transparency, errors, frames without times, frames of several sizes, or fewer than four frames for each
    key frame; and in AVI where the codec is one with which dropped frames look like others. Frames after
    `settings.max_frames` are left out.

    Raises:
        Unavailable: ffmpeg cannot be started.
    """
    try:
        return _survey_once(path, settings, deadline, fields)
    except _LostReport:
        # rarely, messages of ffmpeg's threads break both reports of a frame
        with suppress(_LostReport):
            return _survey_once(path, settings, deadline, fields)
    return None


def _survey_once(path: Path, settings: ExtractionSettings, deadline: float | None, fields: Fields) -> Survey | None:
    keys, most = Extent(only_key_frames=True), settings.max_frames
    try:
        with open_video(path, settings, max_frames=most, deadline=deadline, fields=fields, extent=keys) as reader:
            thumbnails = []
            for image in reader:
                thumbnails.append(shot_thumbnail(image))
                # known at the first frame, where most of such a file has not been decoded yet
                if not _can_be_surveyed(reader.log):
                    return None
    except UnreadableVideo:
        return None  # the complete reading says why
    return _survey(reader, thumbnails, most)


def _can_be_surveyed(log: DecoderLog) -> bool:
    """Whether key frames can be sought in the container, and the decoder marks them and has given nothing else."""
    damage = log.reports.damage if log.reports is not None else DamageTracker()
    if log.container not in _INDEXED_CONTAINERS or log.alpha_codec:
        return False
    if log.container == "avi" and damage.codec not in _WITHOUT_EMPTY_PACKETS:
        return False
    return damage.codec in KEY_FRAME_CODECS and damage.only_key_frames


def _survey(reader: VideoReader, thumbnails: list[Image], most: int) -> Survey | None:
    """The survey, given a reader that has ended and the thumbnails of the key frames; None where something is odd."""
    log = reader.log
    reports = log.reports
    if reader.ended_early or reports is None or reports.has_errors() or len(reports.frames) != len(thumbnails):
        return None
    if not thumbnails or any(reports.damage.damaged):
        return None
    if len({(facts.size, facts.scaled_size, facts.transfer, facts.has_alpha) for facts in reports.frames}) != 1:
        return None
    times = np.sort(np.frombuffer(reports.packet_seconds, np.float64))
    if len(times) < _FEWEST_FRAMES_FOR_A_KEY * len(thumbnails) or not _are_times(times):
        return None
    if log.container == _WITH_EDITS and times[-1] >= log.duration_seconds:
        return None  # an edit list hides the frames at the end
    shown = np.array([facts.time_seconds for facts in reports.frames])
    if (np.diff(shown) == 0).any():
        raise _LostReport
    # in the middle between two frames, a rounded time is nearest to its own frame
    numbers = np.searchsorted((times[1:] + times[:-1]) / 2, shown)
    survey = Survey(
        times[:most],
        tuple(
            KeyFrame(number, thumbnail)
            for number, thumbnail in zip(numbers.tolist(), thumbnails, strict=True)
            if number < most
        ),
    )
    found = all(map(survey.is_time_of, numbers[: len(survey.key_frames)].tolist(), shown.tolist()))
    return survey if found and numbers[0] == 0 and (np.diff(numbers) > 0).all() else None


def _are_times(times: NDArray[np.float64]) -> bool:
    """Whether sorted times of packets are those of frames: known, different from each other, and none is hidden."""
    # NaN, which is sorted to the end, is no time
    return len(times) > 1 and bool(times[0] >= 0 and (np.diff(times) > 2 * _LARGEST_TIME_ERROR * times[1:]).all())
