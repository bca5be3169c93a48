"""The log that ffmpeg writes to stderr, read in a thread so that ffmpeg never blocks, and kept in bounded memory.

Titles and other text of a file can appear in the log. Sizes and times of frames are therefore taken only from lines
that begin with the name of a filter that contains a random number (`frame_reports.py`).

Messages of ffmpeg's threads break into each other, so that the label of a message's level can be missing. Its level is
therefore read from its colour, which ffmpeg writes around every part of a message (`LOG_ENVIRONMENT`). No file can
write colours, because ffmpeg replaces control characters in messages.
"""

import math
import re
import threading
from collections import deque
from typing import IO

from watchmove.pipeline.video.ffmpeg_commands import FilterNames
from watchmove.pipeline.video.frame_reports import FrameFacts, FrameReports, is_trace
from watchmove.pipeline.video.tone_mapping import HDR_TRANSFERS

LOG_ENVIRONMENT = {"AV_LOG_FORCE_COLOR": "1", "TERM": "dumb"}
"""Variables with which ffmpeg writes colours to a pipe, in the styles of terminals with sixteen colours."""

_STYLE = re.compile(rb"\x1b\[([\d;]*)m")
_ERROR_STYLES = (b"1;31", b"4;31")
"""ffmpeg's styles of errors, and of fatal errors and panics (libavutil/log.c); text of level info has no style."""

_LONGEST_LINE_BYTES = 4096
"""Longest part of a line that is read. A bound on memory, not a tuned value."""

_LINES_AT_START = 100
"""Lines kept from the start of the log, where ffmpeg describes the streams. A bound on memory, not a tuned value."""

_LINES_AT_END = 40
"""Lines kept from the end of the log. A bound on memory, not a tuned value."""

_LEVEL = re.compile(r"^(?:\[[^\]]* @ [^\]]*\] )*\[(info|warning|error|fatal|panic|verbose|debug)\] ")
_STREAM = re.compile(r"^(?:  |    )Stream #0:(\d+)\S*: Video: (\S+)")
_NO_FILM = re.compile(r"\((attached pic|timed thumbnails|still image)\)")
_ALPHA = re.compile(r"^      alpha_mode +: 1$", re.IGNORECASE)
"""How WebM says that a stream of VP8 or VP9 has an alpha channel. Other text of the file can imitate it, to no effect
but the choice of the decoder."""
_DURATION = re.compile(r"^  Duration: (\d+):(\d\d):(\d\d\.\d\d), ")
"""How long ffmpeg takes a file to be; text of the file is indented by more."""
_CONTAINER = re.compile(r"^Input #0, ([\w,]+), from ")
_MAPPED = re.compile(r"^  Stream #0:(\d+) -> #0:0 \((\w+) \(([\w-]+)\)")
_REPORTS = (b"showinfo", b"demuxer", b"encoder -> ", b"muxer <- ")
"""Words of lines that come for every frame or packet, which are parsed and not kept."""

_RULES: tuple[tuple[str, str], ...] = (
    ("Cannot allocate memory", "decoder-memory"),
    ("exceeds specified max pixel count", "absurd-size"),
    ("Picture size", "absurd-size"),
)


class DecoderLog:
    """Reads one stderr stream to its end in its own thread; after `join`, all attributes and results are final.

    stream: index of the stream that is decoded, None before it is known; films: the indices of the streams that are
    videos, without cover art and unknown codecs; alpha_codec: the codec of the decoded stream if its container says
    that it has an alpha channel, else empty; container: ffmpeg's names of the format of the file; duration_seconds: how
    long ffmpeg takes the file to be, rounded to hundredths, infinite where it does not say; reports: what the log says
    of the frames, None before the stream is known.
    """

    def __init__(self, stream: IO[bytes], names: FilterNames | None = None, *, interlaced: bool = False) -> None:
        """With the `names` of filters, their reports of frames are read; without them only messages.

        `interlaced` says whether the decoder takes one field of each frame, because the video is interlaced.
        """
        self._log = stream
        self._names = names
        self._interlaced = interlaced
        self._start: list[str] = []
        self._end: deque[str] = deque(maxlen=_LINES_AT_END)
        self._first_error = ""
        self.stream: int | None = None
        self.films: list[int] = []
        self.alpha_codec = self.container = ""
        self.duration_seconds = math.inf
        self._alpha_codecs: dict[int, str] = {}
        self._described = (0, "")
        self.reports: FrameReports | None = None
        self._style = b""
        self._ended = False
        self._changed = threading.Condition()
        # a daemon, so that a reader that was never closed does not keep the process alive
        self._thread = threading.Thread(target=self._drain, daemon=True)
        self._thread.start()

    def join(self) -> None:
        """Wait until the stream has ended."""
        self._thread.join()

    def _drain(self) -> None:
        with self._log:
            # lines are read in parts of bounded length, because side data can fill megabytes without a line break
            begins_line = True
            while part := self._log.readline(_LONGEST_LINE_BYTES):
                if self.reports is not None and self._style not in _ERROR_STYLES and is_trace(part):
                    begins_line = part.endswith(b"\n")
                    continue
                text, errors = self._separate_errors(part)
                if begins_line:
                    self._add_line(text, errors)
                elif errors and self.reports is not None:
                    self.reports.add(b"", errors)  # the rest of a long line could look like a line of its own
                begins_line = part.endswith(b"\n")
        with self._changed:
            # a thread that waits for a frame that the log never reports would otherwise wait forever
            self._ended = True
            self._changed.notify_all()

    def _separate_errors(self, line: bytes) -> tuple[bytes, bytes]:
        """The text of a line without its styles, and the part of it that has the style of an error."""
        text, *styled = _STYLE.split(line)
        errors = text if self._style in _ERROR_STYLES else b""
        for style, part in zip(styled[::2], styled[1::2], strict=True):
            self._style = style
            text += part
            errors += part if style in _ERROR_STYLES else b""
        return text, errors

    def _add_line(self, line: bytes, errors: bytes) -> None:
        if self.reports is not None:
            before = len(self.reports.frames)
            self.reports.add(line, errors)
            if len(self.reports.frames) > before:
                with self._changed:
                    self._changed.notify_all()
        # the description of the input has the path, in which any word can be
        if any(word in line for word in _REPORTS) and b"Input #0" not in line:
            return
        text = line.decode("utf-8", "replace").rstrip()
        level = _LEVEL.match(text)
        message = text[level.end() :] if level else text
        if level and level.group(1) in ("error", "fatal", "panic") and not self._first_error:
            self._first_error = message
        if not (self.reports and self.reports.frames):
            self._describe_stream(message)
        if message and len(self._start) < _LINES_AT_START:
            self._start.append(message)
        elif message:
            self._end.append(message)

    def _describe_stream(self, message: str) -> None:
        """Read which streams there are, and then which of them is decoded; messages of probing come before that."""
        if mapped := _MAPPED.match(message):
            index, codec, decoder = mapped.groups()
            self.stream = int(index)
            self.alpha_codec = self._alpha_codecs.get(self.stream, "")
            if self._names is not None:
                self.reports = FrameReports(self._names, self.stream, codec if decoder == "native" else decoder)
        elif self.stream is None and (found := _STREAM.match(message)):
            index, codec = found[1], found[2].rstrip(",")
            self._described = (int(index), codec)
            if codec != "none" and not _NO_FILM.search(message):
                self.films.append(int(index))
        elif not self.container and (opened := _CONTAINER.match(message)):
            self.container = opened[1]
        elif self.stream is None and (told := _DURATION.match(message)):
            self.duration_seconds = int(told[1]) * 3600 + int(told[2]) * 60 + float(told[3])
        elif self.stream is None and _ALPHA.match(message):
            index_of_alpha, codec = self._described
            self._alpha_codecs[index_of_alpha] = codec

    @property
    def frame_times_seconds(self) -> list[float]:
        """For each decoded frame, when it is shown, in seconds from the start of the video; 0 without a time."""
        return [facts.time_seconds for facts in self.reports.frames] if self.reports else []

    def frame(self, index: int, wait_seconds: float | None = None) -> FrameFacts | None:
        """The facts of frame `index`; None where the log ends, or `wait_seconds` pass, before it is reported."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or index < self._count(), wait_seconds)
        return self.reports.frames[index] if self.reports is not None and index < self._count() else None

    def has_ended(self) -> bool:
        """Whether the log has been read to its end."""
        return self._ended

    def has_frames(self) -> bool:
        """Whether a frame has been reported."""
        return self._count() > 0

    def _count(self) -> int:
        return len(self.reports.frames) if self.reports is not None else 0

    def is_damaged(self, index: int) -> bool:
        """Whether frame `index`, which the log has reported, is made from damaged or missing data."""
        verdicts = self.reports.damage.damaged if self.reports is not None else []
        return verdicts[index] if index < len(verdicts) else False

    def is_interlaced(self, index: int) -> bool:
        """Whether frame `index` holds two fields, of which one was taken; that holds for all frames or none."""
        return self._interlaced and index < self._count()

    def size_of_frame(self, index: int) -> tuple[int, int] | None:
        """(height, width) in the file of frame `index`, which must have been read; None where the log has no size."""
        facts = self.frame(index)
        return facts.size if facts is not None and all(facts.size) else None

    def time_of_frame(self, index: int) -> float:
        """When frame `index` is shown, in seconds from the start of the video; 0 where the stream has no time."""
        facts = self.frame(index)
        return facts.time_seconds if facts is not None else 0.0

    def conditions_of_frame(self, index: int) -> tuple[str, ...]:
        """How frame `index` was converted when it was decoded: `interlaced`, `hdr`."""
        facts = self.frame(index)
        hdr = facts is not None and facts.transfer in HDR_TRANSFERS
        return (*(("interlaced",) if self.is_interlaced(index) else ()), *(("hdr",) if hdr else ()))

    def stream_is_cover(self) -> bool:
        """Whether the decoded stream is cover art or a thumbnail, and no video."""
        return self.stream is not None and self.stream not in self.films

    def failure_message(self) -> str:
        """The first error of the log, or else what its last lines say, for a message of one line."""
        lines = [*self._start, *self._end]
        if self._first_error.startswith("Format not on whitelist"):  # which is followed by the list
            return "its format is not that of a video, such as a playlist, which can name other files"
        if not self._first_error and any(line.startswith("Output file is empty") for line in lines):
            return "its stream has no frame that is shown"
        return self._first_error or (lines[-1].strip() if lines else "ffmpeg wrote no message")

    def failure_reason(self, exit_status: int) -> str:
        """Which of UNREADABLE_REASONS holds for a decoder that decoded no frame and ended with `exit_status`."""
        lines = [*self._start, *self._end]
        if not lines and exit_status < 0:
            return "decoder-memory"  # killed before its first message: not even the program fitted into the limit
        # phrases first, because a decoder that fails early does not describe its input either
        messages = [line for line in lines if not line.startswith("    ")]  # without titles and other text of the file
        for phrase, reason in _RULES:
            if any(phrase in line for line in messages):
                return reason
        # the line that describes the input need not be among those that are kept
        if not self.container:
            # an MP4 without its index was cut off, unless ffmpeg doubts that the file is an MP4
            text = "\n".join(messages)
            truncated = "moov atom not found" in text and "misdetection possible" not in text
            return "truncated" if truncated else "not-a-video"
        return "decoder-failed" if self.films else "no-picture-stream"
