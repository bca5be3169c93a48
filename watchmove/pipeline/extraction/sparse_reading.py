"""Sparse reading of a video: key frames first, then only the windows, each decoded from a key frame on.

Decoding can begin at key frames only, so windows begin there where one is near. Encoders place key frames at cuts.
Frames after the last window that is decoded from a key frame are never decoded, up to the next one that is used.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import ceil
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from watchmove.pipeline.arrays import Image
from watchmove.pipeline.errors import UnreadableVideo
from watchmove.pipeline.extraction.complete_reading import Reading, ReadingLimits, new_sampler, read_frames
from watchmove.pipeline.extraction.stretches import Stretch, is_other_shot
from watchmove.pipeline.extraction.survey import Survey
from watchmove.pipeline.settings.extraction import ExtractionSettings
from watchmove.pipeline.video.decoder import InterlacedVideo
from watchmove.pipeline.video.ffmpeg import VideoReader
from watchmove.pipeline.video.fields import fields_of
from watchmove.pipeline.video.frames import open_video
from watchmove.pipeline.video.repeats import MOST_REPEATS
from watchmove.pipeline.video.shots import Window

_CUT_NEIGHBOURS = 2
"""Frames after a window that are decoded so that a cut at its end is judged as in a complete reading."""

_REPEATS_SHARE = 0.75
"""Share of the frames of a stretch below which, if the others are repeats, more of it is read. Set by hand."""

_LEAST_PAIRS = 6
"""Pairs of frames from which a video is judged before its end: as many as in the first frames of a complete reading."""

_FINGERPRINT_SECONDS = 0.25
"""Distance of the images, interpolated between decoded frames, from which the fingerprint is computed."""

_MOST_IMAGES = 5000
"""Most of these images, in long videos at a larger distance: a time lapse of one frame an hour would have 14,400 for
each frame. A bound on time; `max_frames` at its default and 25 frames a second gives 3200."""


class NotAsSurveyed(Exception):
    """Frames after a seek do not have the times of the survey, so that they cannot be numbered."""


def read_sparsely(
    path: Path,
    survey: Survey,
    stretches: Sequence[Sequence[Stretch]],
    settings: ExtractionSettings,
    reading: Reading,
    limits: ReadingLimits,
) -> Iterator[tuple[Window, ...]]:
    """The windows of each shot of a survey; one with a cut that no key frame showed is divided where it is found.

    `reading` is complete when the iterator has ended.

    Raises:
        NotAsSurveyed: the frames cannot be numbered; the video has to be read completely.
        UnreadableVideo: nothing decodes where a stretch begins.
        InterlacedVideo: the video is interlaced; read it again with these `fields`.
        Unavailable: ffmpeg cannot be started.
    """
    reading.frames_seen, reading.shots = len(survey.times_seconds), 0
    reader = _StretchReader(path, survey, settings, reading, limits)
    for shot in stretches:
        shots: list[tuple[Window, ...]] = []
        for stretch in shot:
            runs = reader.runs(stretch)
            if shots and runs and not is_other_shot(*_sides(shots[-1], runs[0])):
                runs[0] = (*shots.pop(), *runs[0])
            shots += runs
        for found in shots:
            yield tuple(replace(window, shot=reading.shots) for window in found)
            reading.shots += 1
            reading.windows += len(found)
        if reading.ended_early:
            break
    if not reading.ended_early and reading.frames_seen == settings.max_frames:
        reading.ended_early = "max-frames"
    reader.judge_fields()
    reader.add_fingerprint()


def _sides(before: Sequence[Window], after: Sequence[Window]) -> tuple[Image, Image]:
    """The thumbnails of the last frame before a gap between windows, and of the first one after it."""
    return before[-1].frames[-1].thumbnail, after[0].frames[0].thumbnail


class _Found(NamedTuple):
    """What a reader has given of a stretch.

    runs: the windows, divided at cuts; distinct: how many frames they have without repeats; given: how many frames were
    read, those included that cuts are judged by and those before the stretch; stop: the number behind the last of them.
    """

    runs: list[tuple[Window, ...]]
    distinct: int
    given: int
    stop: int


@dataclass
class _StretchReader:
    """Reads stretches of one video.

    seen: for decoded frames, when they are shown, and their thumbnails; evidence, pairs: see `FieldDetector.evidence`.
    """

    path: Path
    survey: Survey
    settings: ExtractionSettings
    reading: Reading
    limits: ReadingLimits
    waited_seconds: float = 0.0
    seen: dict[float, Image] = field(default_factory=dict)
    evidence: NDArray[np.float64] = field(default_factory=lambda: np.zeros((2, 4)))
    pairs: int = 0

    def runs(self, stretch: Stretch) -> list[tuple[Window, ...]]:
        """The windows of a stretch, divided at cuts."""
        if self.reading.ended_early:
            return []
        wanted, available = stretch.windows * self.settings.window_frames, stretch.stop - stretch.first
        count = min(wanted + _CUT_NEIGHBOURS, available)
        runs, distinct = self._read(stretch, count)
        if distinct < _REPEATS_SHARE * count and count < available:
            # the frame rate of the camera is lower than that of the file, or everything stands still
            runs, _ = self._read(stretch, min(wanted * (MOST_REPEATS + 1), available))
        return runs

    def _read(self, stretch: Stretch, count: int) -> tuple[list[tuple[Window, ...]], int]:
        """The runs of at most `count` frames of a stretch, and how many frames they have without repeats."""
        try:
            return self._read_once(stretch, count)
        except NotAsSurveyed:
            # rarely, messages of ffmpeg's threads break both reports of a frame, whose time is then not known
            return self._read_once(stretch, count)

    def _read_once(self, stretch: Stretch, count: int) -> tuple[list[tuple[Window, ...]], int]:
        deadline, fields = self.limits
        reader = open_video(
            self.path,
            self.settings,
            max_frames=count,
            deadline=deadline,
            fields=fields,
            extent=self.survey.extent(stretch.key, stretch.first, count),
            waited_seconds=self.waited_seconds,
        )
        found, evidence = _Found([], 0, 0, 0), (np.zeros((2, 4)), 0)
        try:
            with reader:
                found = self._windows(reader, stretch, count)
                evidence = reader.field_evidence(found.given)
            reports = reader.log.reports
            # also in frames that were only decoded, of which others are made
            if reports is None or reports.has_errors(self.survey.seconds_before(found.stop)):
                raise NotAsSurveyed
            if any(reports.damage.damaged[:1]):
                raise NotAsSurveyed  # the index leads to a frame that is decoded from others
        except UnreadableVideo as error:
            if not (reader.ended_early and self.seen):
                raise NotAsSurveyed from error  # the complete reading says what is wrong
        finally:
            self.waited_seconds = reader.waited_seconds
        self._add_evidence(*evidence)
        self.reading.ended_early, self.reading.stream = reader.ended_early, reader.log.stream or 0
        return found.runs, found.distinct

    def _windows(self, reader: VideoReader, stretch: Stretch, count: int) -> _Found:
        """What is found in at most `count` frames of a reader; no more than are wanted are read."""
        runs: list[tuple[Window, ...]] = []
        sampler = new_sampler(self.settings, stretch.windows)
        number, distinct, earlier = stretch.first, 0, 0
        for frame, begins_shot, _ in read_frames(reader, self.settings.cut_difference):
            # what is shown before the key frame, but decoded after it, cannot be decoded after a seek
            if not self.survey.is_time_of(number, frame.seconds):
                if number == stretch.first and frame.seconds < self.survey.times_seconds[number]:
                    earlier += 1
                    continue
                raise NotAsSurveyed
            if begins_shot and number > stretch.first:
                distinct += sampler.frames
                runs.append(sampler.finish(0))
            sampler.add(frame._replace(number=number))
            self.seen[frame.seconds] = frame.thumbnail
            number += 1
            if distinct + sampler.frames >= stretch.windows * self.settings.window_frames:
                break
        else:
            if not reader.ended_early and number - stretch.first + earlier < count:
                raise NotAsSurveyed  # a frame of the survey does not decode
        distinct += sampler.frames
        # cuts are judged by frames that are read ahead
        given = min(number - stretch.first + earlier + _CUT_NEIGHBOURS, count)
        runs = [run for run in (*runs, sampler.finish(0)) if run]
        return _Found(runs, distinct, given, stretch.first + given - earlier)

    def _add_evidence(self, evidence: NDArray[np.float64], pairs: int) -> None:
        """Add the evidence of a stretch, and judge whether the video is interlaced once there is enough."""
        self.evidence += evidence
        self.pairs += pairs
        if self.pairs >= _LEAST_PAIRS:
            self.judge_fields()

    def judge_fields(self) -> None:
        """Raise InterlacedVideo where all frames so far show that the video is interlaced."""
        if fields := fields_of(self.evidence):
            raise InterlacedVideo(fields)

    def add_fingerprint(self) -> None:
        """Give the fingerprinter images at equal distances, interpolated between the frames that were decoded."""
        keys = {float(self.survey.times_seconds[key.number]): key.thumbnail for key in self.survey.key_frames}
        known = sorted((keys | self.seen).items())
        number, last = 0, float(self.survey.times_seconds[-1])
        distance = max(_FINGERPRINT_SECONDS, last / _MOST_IMAGES)
        # as in a complete reading, what comes before the first frame, as where sound begins earlier, has no image
        for part in range(ceil(known[0][0] / distance), int(last / distance) + 1):
            seconds = part * distance
            while number + 1 < len(known) and known[number + 1][0] <= seconds:
                number += 1
            (before, image), (after, other) = known[number], known[min(number + 1, len(known) - 1)]
            share = (seconds - before) / (after - before) if after > before else 0.0
            mixed = image + share * (other.astype(np.float32) - image) if share else image
            self.reading.fingerprinter.add(seconds, np.asarray(np.rint(mixed), np.uint8))
