"""Reading of video files with ffmpeg 5.1 or later, a child process that can open local files only.

What has to be known before decoding, as which stream it is or whether its frames are interlaced, is assumed as for most
videos; where the first frames show that it is different, the decoder is started again.
"""

import os
import select
import time
from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from watchmove.pipeline.arrays import Image
from watchmove.pipeline.errors import UnreadableVideo
from watchmove.pipeline.video.decoder import Decoder, DecoderLimits, InterlacedVideo
from watchmove.pipeline.video.decoder_log import DecoderLog
from watchmove.pipeline.video.ffmpeg_commands import (
    ALPHA_DECODERS,
    EVERYTHING,
    LONGEST_TO_SHORTEST,
    DecodeChoice,
    Extent,
    Fields,
)
from watchmove.pipeline.video.fields import fields_of
from watchmove.pipeline.video.tone_mapping import HDR_TRANSFERS, on_plain_ground, to_standard_range

_JUDGED_FRAMES = 48
"""Frames that are held back until it is known whether the video is interlaced. A bound on memory, not a tuned value."""

_PIXELS_OF_LIMIT = 1920 * 1080
"""Pixels of a frame for which the time limit holds as it is; larger frames get more time, in proportion."""


class VideoReader(AbstractContextManager["VideoReader"]):
    """The frames of one video file, decoded on demand; a context manager that can be iterated once.

    Yields uint8 RGB (H, W, 3) with the shorter side `shorter_side_pixels`; rotation and pixel aspect ratio are applied,
    high dynamic range is converted to the standard range, transparent pixels are grey, and of an interlaced video one
    field of each frame is taken. If the shape changes within the stream, so does that of the frames. Of a damaged
    stream, all frames that decode are yielded; `log` says which of them are damaged, and knows the time of every frame.

    `extent` restricts what is decoded to the key frames, or to some frames after one of them. Such a part is not
    judged: `field_evidence` is what it adds to the judgement of the video.

    If `max_frames` is None, all frames are read and `timeout_seconds` limits the wait for each frame; otherwise it
    limits the sum of all waits, `waited_seconds`, which begins with the value given. It grows with frames of more than
    1920x1080 pixels. Where it or `deadline` (`time.monotonic`) ends the reading, `ended_early` is the reason for it.

    Raises:
        UnreadableVideo: with reason `missing-file` or `empty-file` on creation; `absurd-size` at any frame whose
            longer side is more than 4 times the shorter; and, if no frame decodes, `not-a-video`, `truncated`,
            `no-picture-stream`, `absurd-size`, `decoder-timeout`, `time-limit`, `decoder-memory` or `decoder-failed`.
        InterlacedVideo: the video is interlaced, which became visible after its first frames; read it again with
            `fields`.
        HardwareFailed: with `hardware`, no frame decodes, or an error was reported; read it again without.
        Unavailable: ffmpeg cannot be started.
    """

    def __init__(
        self,
        path: Path,
        *,
        shorter_side_pixels: int = 240,
        max_frames: int | None = 20_000,
        max_source_pixels: int = 36_000_000,
        timeout_seconds: float = 120.0,
        memory_mebibytes: int = 2048,
        deadline: float | None = None,
        fields: Fields = "",
        extent: Extent = EVERYTHING,
        waited_seconds: float = 0.0,
        hardware: bool = False,
    ) -> None:
        if not path.is_file():
            raise UnreadableVideo("missing-file", f"{path}: no such file, or a pipe or device")
        if path.stat().st_size == 0:
            raise UnreadableVideo("empty-file", f"{path}: the file has no bytes")
        self._path = path
        self._shorter_side = shorter_side_pixels
        self._limits = DecoderLimits(shorter_side_pixels, max_source_pixels, memory_mebibytes)
        self._max_frames, self._extent = max_frames, extent
        self._timeout_seconds, self._deadline = timeout_seconds, deadline
        self.waited_seconds = waited_seconds
        self._tried_streams: set[int | None] = set()
        self._has_alpha_decoder = True
        self.ended_early = ""
        self._start(DecodeChoice(fields=fields, hardware=hardware))

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self, choice: DecodeChoice) -> None:
        """Start the decoder."""
        self._choice = choice
        self._decoder = Decoder(self._path, choice, self._extent, self._limits)

    @property
    def log(self) -> DecoderLog:
        """The log of the decoder."""
        return self._decoder.log

    @property
    def exit_status(self) -> int | None:
        """The exit status of the decoder, None while it runs."""
        return self._decoder.exit_status

    def field_evidence(self, frames: int) -> tuple[NDArray[np.float64], int]:
        """The evidence for fields in the first frames, which were read, (2, 4), and the number of pairs among them."""
        return self._decoder.detector.evidence_of_first(frames) if self._decoder.detector else (np.zeros((2, 4)), 0)

    def close(self) -> None:
        """End the decoder if it still runs, and wait until its log has been read completely."""
        self._decoder.close()

    def __iter__(self) -> Iterator[Image]:
        first = self._first_frames()
        count = len(first)
        while first:
            yield first.popleft()
        while not self.ended_early and count != self._max_frames and (image := self._next_image(count)) is not None:
            count += 1
            yield image
        if count != self._max_frames and not self.ended_early:
            self._decoder.judge_hardware()
        if self._decoder.detector is not None and self._extent.frames is None:
            self.close()
            if fields := self._decoder.detector.fields():
                raise InterlacedVideo(fields)

    def _first_frames(self) -> deque[Image]:
        """The first frames, read with the choice that turns out to be right; at least one."""
        while True:
            images: deque[Image] = deque()
            most = _JUDGED_FRAMES if self._max_frames is None else min(_JUDGED_FRAMES, self._max_frames)
            while len(images) < most and (image := self._next_image(len(images))) is not None:
                images.append(image)
                if len(images) == 1 and self._better_choice(1) is not None:
                    break
            if len(images) < most and self.exit_status is not None:
                self.close()  # the log is complete, and knows all streams
            if not images and not self.ended_early:
                self._decoder.judge_hardware()
            better = self._better_choice(len(images))
            if better is None:
                if not images or self.log.stream_is_cover():
                    raise self._unreadable()
                return images
            self.close()
            self._start(better)

    def _better_choice(self, count: int) -> DecodeChoice | None:
        """How to decode the file instead, given `count` first frames; None where the choice was right."""
        if count == 0 and self._choice.decoder:
            self._has_alpha_decoder = False  # a program without that decoder reads no frame
            return replace(self._choice, decoder="")
        if count == 0 or self.log.stream_is_cover():
            # cover art is never what is wanted, and a stream without frames can come before one with frames
            self._tried_streams |= {self._choice.stream, self.log.stream}
            # ffmpeg selects no stream whose size it does not find at the start, as where the picture comes late
            others = [stream for stream in self.log.films if stream not in self._tried_streams]
            other = DecodeChoice(stream=others[0], hardware=self._choice.hardware) if others else None
            return None if self.ended_early else other
        decoder = ALPHA_DECODERS.get(self.log.alpha_codec, "") if self._has_alpha_decoder else ""
        if decoder and not self._choice.decoder:
            return replace(self._choice, stream=self.log.stream, decoder=decoder, hardware=False)
        first = self.log.frame(0)
        if first is not None and first.has_alpha and not self._choice.alpha:
            return replace(self._choice, alpha=True)
        fields = fields_of(self.field_evidence(count)[0]) if self._extent.frames is None else ""
        return replace(self._choice, fields=fields) if fields else None

    def _next_image(self, index: int) -> Image | None:
        """Frame `index`, (H, W, 3) uint8 RGB, or None at the end of the stream; an incomplete frame ends it."""
        if self._max_frames is None:
            self.waited_seconds = 0.0
        if not self._wait_for_pixels():
            return None
        # its report is written before its pixels, and read by another thread
        if (facts := self.log.frame(index, self._time_limit())) is None:
            if not self.log.has_ended():  # the decoder waits for its pixels to be read, whose size is unknown
                self.ended_early = "decoder-timeout"
                self.close()
            return None
        self._decoder.judge_hardware(index)
        height, width = facts.scaled_size
        if max(height, width) > self._shorter_side * LONGEST_TO_SHORTEST:
            raise UnreadableVideo("absurd-size", f"{self._path}: longer side over {LONGEST_TO_SHORTEST} x shorter")
        channels = 4 if self._choice.alpha else 3
        data = self._read(height * width * channels)
        if not data or len(data) < height * width * channels:
            return None
        image = np.frombuffer(data, np.uint8).reshape(height, width, channels)
        image = on_plain_ground(image) if self._choice.alpha else image
        return to_standard_range(image, facts.transfer) if facts.transfer in HDR_TRANSFERS else image

    def _read(self, n_bytes: int) -> bytes:
        """Read `n_bytes` from the decoder, or fewer at the end of the stream."""
        parts = bytearray()
        # the bare descriptor, because select does not see what the buffer of the pipe object holds
        descriptor = self._decoder.pixels.fileno()
        while len(parts) < n_bytes and self._wait_for_pixels():
            part = os.read(descriptor, n_bytes - len(parts))
            if not part:
                break
            parts += part
        return bytes(parts)

    def _wait_for_pixels(self) -> bool:
        """Wait until the decoder has written something or ended; false if a limit of time ends the reading.

        Only time spent waiting for the decoder counts towards the timeout, not the time in which the caller works.
        """
        if self._decoder.pixels.closed:
            return False  # the stream had ended within the first frames
        start = time.monotonic()
        limits = {"decoder-timeout": self._time_limit() - self.waited_seconds}
        if self._deadline is not None:
            limits["time-limit"] = self._deadline - start
        nearest = min(limits, key=lambda name: limits[name])
        # a limit that has passed ends the reading even if pixels are there, as they always are where the caller is slow
        ready = limits[nearest] > 0 and select.select([self._decoder.pixels.fileno()], [], [], limits[nearest])[0]
        self.waited_seconds += time.monotonic() - start
        if not ready:
            self.ended_early = nearest
            self.close()
        return bool(ready)

    def _time_limit(self) -> float:
        """The timeout in seconds, longer for frames of more pixels."""
        facts = self.log.frame(0) if self.log.has_frames() else None
        pixels = facts.size[0] * facts.size[1] if facts else 0
        return self._timeout_seconds * max(1.0, pixels / _PIXELS_OF_LIMIT)

    def _unreadable(self) -> UnreadableVideo:
        """Why no frame was decoded."""
        if self.log.stream_is_cover():
            return UnreadableVideo("no-picture-stream", f"{self._path}: its only picture is cover art")
        if self.ended_early:
            seconds = f"{self._timeout_seconds:g} s; raise extract.decoder_timeout_seconds"
            limit = seconds if self.ended_early == "decoder-timeout" else "the time for reading it"
            return UnreadableVideo(self.ended_early, f"{self._path}: the decoder gave no frame in {limit}")
        reason = self.log.failure_reason(self.exit_status or 0)
        return UnreadableVideo(reason, f"{self._path}: {self.log.failure_message()}")
