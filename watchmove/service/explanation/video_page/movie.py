"""The MP4 of a video: its frames in order with the outline of the mask, and the record's verdict on each."""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from threadpoolctl import threadpool_limits

from watchmove.pipeline.arrays import Image
from watchmove.pipeline.extraction.every_frame import MaskedFrame, mask_frames
from watchmove.pipeline.masks.choice import shot_segmenter
from watchmove.pipeline.settings.extraction import ExtractionSettings
from watchmove.pipeline.video.encoder import write_video
from watchmove.pipeline.video.ffmpeg_commands import Fields
from watchmove.pipeline.video.frames import NamedFrame, VideoFrames, read_again
from watchmove.service.explanation.video_page.drawing import outlined
from watchmove.service.records.frame_verdicts import FrameVerdict

LONGEST_SIDE_PIXELS = 640
"""Longest side of the MP4, the strip above the frames included."""

_OUTLINE_PIXELS = 2
_STRIP_PIXELS = 52
_LINE_PIXELS = 10
"""Width of the outline, height of the strip with the verdict, and height of the line of time at its bottom."""

_HELD_FRAMES = 8
"""Longest distance of sampled frames over which the verdict of the first stands. Set by hand."""

_BACK, _SHOTS, _TEXT = (20, 22, 26), ((74, 80, 92), (52, 57, 66)), (235, 235, 240)
_KEPT, _REJECTED, _UNSAMPLED = (64, 200, 110), (255, 150, 60), (150, 155, 165)
"""Colours, RGB, of the strip and of verdicts; the verdict stands there as text too."""

Colour = tuple[int, int, int]
OnFrame = Callable[[int], None]


@dataclass
class Movie:
    """What came of reading a video again.

    cuts: the first frames of its shots, where damaged frames are shots of their own; frames: the number of frames;
    ended_early: why it was not decoded to its end, empty if it was.
    """

    cuts: list[int] = field(default_factory=list)
    frames: int = 0
    ended_early: str = ""


@dataclass(frozen=True)
class Caption:
    """What the strip above the frames says.

    verdicts: those of the record, by the number of the frame; frames: the number of frames that extraction has
    decoded, after which the MP4 ends; threshold: the value of a soft mask from which a pixel is of the object.
    """

    verdicts: Mapping[int, FrameVerdict]
    frames: int
    threshold: float


def write_movie(path: Path, source: Path, settings: ExtractionSettings, caption: Caption, on_frame: OnFrame) -> Movie:
    """Read a video again, compute the mask of each frame as `watchmove segment` does, and write the MP4.

    `on_frame` is called with the number of frames that are done; what it raises ends the work. Memory is bounded by the
    largest chunk of `mask_frames`.

    Raises:
        InvalidInput: the device or the weights that the settings name are missing.
        UnreadableVideo: the video cannot be decoded.
        Unavailable: ffmpeg cannot be started, or the disk is full.
    """
    cv2.setNumThreads(1)
    # one thread for linear algebra, as in extraction's workers
    with threadpool_limits(limits=1):
        shot_segmenter(settings)  # a missing device is named before anything is decoded
        return read_again(lambda settings, fields: _write(path, source, settings, caption, on_frame, fields), settings)


def _write(
    path: Path,
    source: Path,
    settings: ExtractionSettings,
    caption: Caption,
    on_frame: OnFrame,
    fields: Fields,
) -> Movie:
    movie = Movie()
    with VideoFrames(source, settings, fields) as stream:

        def read() -> Iterator[NamedFrame]:
            for number, frame in enumerate(islice(stream, caption.frames)):
                on_frame(movie.frames)
                movie.cuts += [0] if number == 0 else []
                yield frame

        def drawn() -> Iterator[Image]:
            shot = 0
            for masked in mask_frames(read(), settings):
                if masked.shot != shot:
                    shot = masked.shot
                    movie.cuts.append(masked.index)
                yield strip.above(masked)
                movie.frames += 1
                on_frame(movie.frames)

        strip = _Strip(caption)
        images = drawn()
        first = next(images, None)
        if first is not None:  # the rate is that of the frames read so far, at least one chunk
            write_video(path, _with(first, images), stream.rate())
        movie.ended_early = stream.ended_early
    return movie


def _with(first: Image, rest: Iterator[Image]) -> Iterator[Image]:
    yield first
    yield from rest


class _Strip:
    """Puts the strip above frames, all of which get the size of the first."""

    def __init__(self, caption: Caption) -> None:
        self._caption = caption
        self._sampled = sorted(caption.verdicts)
        self._size: tuple[int, int] | None = None
        self._line: Image | None = None

    def above(self, masked: MaskedFrame) -> Image:
        """Return a frame with its outline and, above it, the verdict and the line of time.

        The strip is above, because players lay their buttons over the bottom.
        """
        image = np.asarray(masked.frame.image, np.uint8)
        if self._size is None:
            self._size = _fitting(*image.shape[:2])
        height, width = self._size
        how = cv2.INTER_AREA if height < image.shape[0] else cv2.INTER_CUBIC
        frame = np.asarray(cv2.resize(image, (width, height), interpolation=how), np.uint8)
        soft = cv2.resize(masked.found.soft_mask, (width, height), interpolation=cv2.INTER_LINEAR)
        drawn = outlined(frame, np.asarray(soft, np.float32), self._caption.threshold, _OUTLINE_PIXELS)
        return np.vstack([self._strip(masked, width), drawn])

    def _strip(self, masked: MaskedFrame, width: int) -> Image:
        strip = np.full((_STRIP_PIXELS, width, 3), _BACK, np.uint8)
        sampled = self._last_sampled(masked.index)
        words, colour = _words(sampled)
        if sampled and sampled.frame != masked.index:
            colour = _dimmed(colour)
        cv2.rectangle(strip, (6, 7), (13, 35), colour, cv2.FILLED)
        for text, at, tint in ((words, 18, colour), (f"frame {masked.index}", 35, _TEXT)):
            cv2.putText(strip, text, (20, at), cv2.FONT_HERSHEY_SIMPLEX, 0.42, tint, 1, cv2.LINE_AA)
        strip[-_LINE_PIXELS:] = self._time_line(masked, width)
        at = self._column(masked.index, width)
        strip[-_LINE_PIXELS - 2 :, max(0, at - 1) : at + 1] = 255
        return strip

    def _last_sampled(self, index: int) -> FrameVerdict | None:
        """The verdict on a frame, or on the sampled frame before it in the same window: text of one frame is not read.

        None between windows.
        """
        after = bisect_right(self._sampled, index)
        before, later = self._sampled[max(0, after - 1) : after], self._sampled[after : after + 1]
        held = before and (before[0] == index or (later and later[0] - before[0] <= _HELD_FRAMES))
        return self._caption.verdicts[before[0]] if held else None

    def _time_line(self, masked: MaskedFrame, width: int) -> Image:
        """The line of time so far: shots in two shades by turns, and all sampled frames of the video."""
        if self._line is None:
            self._line = np.full((_LINE_PIXELS, width, 3), _BACK, np.uint8)
        begin, end = self._column(masked.index, width), self._column(masked.index + 1, width)
        self._line[:, begin : end + 1] = _SHOTS[masked.shot % 2]
        marked = self._line.copy()
        for verdict in self._caption.verdicts.values():
            at = self._column(verdict.frame, width)
            rows = slice(0, 5) if verdict.reject_reason is None else slice(5, None)
            marked[rows, at : at + 2] = _words(verdict)[1]
        return marked

    def _column(self, frame: int, width: int) -> int:
        return min(width - 1, frame * width // max(1, self._caption.frames))


def _words(verdict: FrameVerdict | None) -> tuple[str, Colour]:
    """What the strip says of a sampled frame, in letters that OpenCV can draw, and its colour."""
    if verdict is None:
        return "not sampled", _UNSAMPLED
    if verdict.reject_reason is None:
        return f"{verdict.frame} kept, confidence {verdict.confidence:.2f}", _KEPT
    reason = verdict.reject_reason.encode("ascii", "replace").decode()
    return f"{verdict.frame} rejected: {reason}, {verdict.confidence:.2f}", _REJECTED


def _dimmed(colour: Colour) -> Colour:
    red, green, blue = (round(0.65 * level) for level in colour)
    return red, green, blue


def _fitting(height: int, width: int) -> tuple[int, int]:
    """The even (height, width) of frames that fit into the MP4 with the strip above them."""
    scale = min((LONGEST_SIDE_PIXELS - _STRIP_PIXELS) / height, LONGEST_SIDE_PIXELS / width)
    return max(2, int(height * scale) // 2 * 2), max(2, int(width * scale) // 2 * 2)
