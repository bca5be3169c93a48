"""The log that ffmpeg writes to stderr, read in a thread so that ffmpeg never blocks, and kept in bounded memory."""

import re
import threading
from collections import deque
from typing import IO

UNREADABLE_REASONS = (
    "missing-file",
    "empty-file",
    "not-a-video",
    "truncated",
    "no-picture-stream",
    "absurd-size",
    "too-short",
    "decoder-timeout",
    "decoder-memory",
    "decoder-failed",
)
"""Why a video cannot be read: the closed list of `UnreadableVideo.reason`."""

_LONGEST_LINE_BYTES = 4096
"""Longest piece of a line that is read at a time. A bound on memory, not a tuned value."""

_LINES_AT_START = 100
"""Lines kept from the start of the log, where ffmpeg describes the streams. A bound on memory, not a tuned value."""

_LINES_AT_END = 40
"""Lines kept from the end of the log, where ffmpeg says why it failed. A bound on memory, not a tuned value."""

_FRAME = re.compile(rb"\bn: *\d+ .*\bpts_time: *(-?[0-9.]+|NOPTS)")
_SIZE_AND_FIELDS = re.compile(rb"\bs:(\d+)x(\d+) i:(.)")
_RULES: tuple[tuple[str, str], ...] = (
    ("Cannot allocate memory", "decoder-memory"),
    ("exceeds specified max pixel count", "absurd-size"),
    ("Picture size", "absurd-size"),
)


class DecoderLog:
    """Reads one stderr stream to its end in its own thread; after `join`, all attributes and results are final.

    frame_times_seconds: for each decoded frame, when it is shown, in seconds from the start of the video; 0 where the
    stream has no time.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._start: list[str] = []
        self._end: deque[str] = deque(maxlen=_LINES_AT_END)
        self.frame_times_seconds: list[float] = []
        # width, height and whether it is interlaced, for each frame that ffmpeg has reported
        self._frame_facts: list[tuple[int, int, bool]] = []
        self._ended = False
        self._changed = threading.Condition()
        # a daemon, so that a reader that was never closed does not keep the process alive
        self._thread = threading.Thread(target=self._drain, daemon=True)
        self._thread.start()

    def join(self) -> None:
        """Wait until the stream has ended."""
        self._thread.join()

    def _drain(self) -> None:
        with self._stream:
            # lines are read in pieces of bounded length, because side data can fill megabytes without a line break
            while line := self._stream.readline(_LONGEST_LINE_BYTES):
                self._add_line(line)
        with self._changed:
            # a thread that waits for a frame that the log never reports would otherwise wait forever
            self._ended = True
            self._changed.notify_all()

    def _add_line(self, line: bytes) -> None:
        if b"showinfo" in line:  # one line or more for every frame, which are parsed and not kept
            if match := _FRAME.search(line):
                self._add_frame(match.group(1), line)
            return
        text = line.decode("utf-8", "replace").strip()
        if text and len(self._start) < _LINES_AT_START:
            self._start.append(text)
        elif text:
            self._end.append(text)

    def _add_frame(self, time: bytes, line: bytes) -> None:
        self.frame_times_seconds.append(0.0 if time == b"NOPTS" else float(time))
        facts = _SIZE_AND_FIELDS.search(line)
        # showinfo writes P for a progressive frame, T or B for the field that comes first
        width, height, fields = facts.groups() if facts else (b"0", b"0", b"P")
        with self._changed:
            self._frame_facts.append((int(width), int(height), fields in b"TB"))
            self._changed.notify_all()

    def _wait_for_frame(self, index: int) -> bool:
        """Wait until the log reports frame `index` or ends, as pixels can arrive first; returns whether it did."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or index < len(self._frame_facts))
            return index < len(self._frame_facts)

    def size_of_frame(self, index: int) -> tuple[int, int] | None:
        """(height, width) in the file of frame `index`, which must have been read; None where the log has no size."""
        if not self._wait_for_frame(index) or not all(self._frame_facts[index][:2]):
            return None
        width, height, _ = self._frame_facts[index]
        return height, width

    def is_interlaced(self, index: int) -> bool:
        """Whether frame `index`, which must have been read, was detected to be interlaced: two fields in one frame."""
        return self._wait_for_frame(index) and self._frame_facts[index][2]

    def time_of_frame(self, index: int) -> float:
        """When frame `index` is shown, in seconds from the start of the video; 0 where the stream has no time."""
        return self.frame_times_seconds[index] if index < len(self.frame_times_seconds) else 0.0

    def last_line(self) -> str:
        """The last line of the log, for a message of one line."""
        lines = [*self._start, *self._end]
        return lines[-1] if lines else "ffmpeg wrote no message"

    def failure_reason(self, exit_status: int) -> str:
        """Which of UNREADABLE_REASONS holds for a decoder that decoded no frame and ended with `exit_status`."""
        lines = [*self._start, *self._end]
        if not lines and exit_status < 0:
            return "decoder-memory"  # killed before its first message: not even the program fitted into the limit
        # phrases first, because a decoder that fails early does not describe its input either
        for phrase, reason in _RULES:
            if any(phrase in line for line in lines):
                return reason
        if not any(line.startswith("Input #0") for line in lines):
            # an MP4 without its index was cut off, unless ffmpeg doubts that the file is an MP4
            text = "\n".join(lines)
            truncated = "moov atom not found" in text and "misdetection possible" not in text
            return "truncated" if truncated else "not-a-video"
        if not any(line.startswith("Stream #0") and ": Video:" in line for line in lines):
            return "no-picture-stream"
        return "decoder-failed"
