"""What ffmpeg says on stderr: drained as it comes so that ffmpeg never blocks, kept in bounded memory."""

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

_LONGEST_LINE = 4096
_LINES_AT_START = 100
_LINES_AT_END = 40
_FRAME = re.compile(rb"\bn: *\d+ .*\bpts_time: *(-?[0-9.]+|NOPTS)")
_SIZE_AND_FIELDS = re.compile(rb"\bs:(\d+)x(\d+) i:(.)")
_RULES: tuple[tuple[str, str], ...] = (
    ("Cannot allocate memory", "decoder-memory"),
    ("exceeds specified max pixel count", "absurd-size"),
    ("Picture size", "absurd-size"),
)


class DecoderLog:
    """Reads one stderr stream to its end in a thread of its own; after `join`, everything below is final."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._start: list[str] = []
        self._end: deque[str] = deque(maxlen=_LINES_AT_END)
        self.frame_times_seconds: list[float] = []
        self._frame_facts: list[tuple[int, int, bool]] = []
        self._ended = False
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._drain, daemon=True)
        self._thread.start()

    def join(self) -> None:
        """Wait until the stream has ended."""
        self._thread.join()

    def _drain(self) -> None:
        with self._stream:
            # a line is read in pieces of bounded length, as side data can fill megabytes without a line break
            while line := self._stream.readline(_LONGEST_LINE):
                self._take(line)
        with self._news:
            self._ended = True
            self._news.notify_all()

    def _take(self, line: bytes) -> None:
        if b"showinfo" in line:
            if match := _FRAME.search(line):
                self._take_frame(match.group(1), line)
            return
        text = line.decode("utf-8", "replace").strip()
        if text and len(self._start) < _LINES_AT_START:
            self._start.append(text)
        elif text:
            self._end.append(text)

    def _take_frame(self, time: bytes, line: bytes) -> None:
        self.frame_times_seconds.append(0.0 if time == b"NOPTS" else float(time))
        facts = _SIZE_AND_FIELDS.search(line)
        width, height, fields = facts.groups() if facts else (b"0", b"0", b"P")
        with self._news:
            self._frame_facts.append((int(width), int(height), fields in b"TB"))
            self._news.notify_all()

    def _heard_of(self, index: int) -> bool:
        """Whether the decoder told of frame `index`; waits for it, as a frame may arrive before what is said of it."""
        with self._news:
            self._news.wait_for(lambda: self._ended or index < len(self._frame_facts))
            return index < len(self._frame_facts)

    def size_of_frame(self, index: int) -> tuple[int, int] | None:
        """(height, width) of frame `index`, which has arrived, as it is stored; None where the decoder does not say."""
        if not self._heard_of(index) or not all(self._frame_facts[index][:2]):
            return None
        width, height, _ = self._frame_facts[index]
        return height, width

    def is_interlaced(self, index: int) -> bool:
        """Whether frame `index` was found to hold two fields, taken one after the other."""
        return self._heard_of(index) and self._frame_facts[index][2]

    def time_of_frame(self, index: int) -> float:
        """Seconds from the start of the video at which frame `index` is shown; 0 where the stream does not say."""
        return self.frame_times_seconds[index] if index < len(self.frame_times_seconds) else 0.0

    def last_line(self) -> str:
        """The last thing that was said, for a message of one line."""
        lines = [*self._start, *self._end]
        return lines[-1] if lines else "ffmpeg said nothing"

    def failure_reason(self, exit_status: int) -> str:
        """One of UNREADABLE_REASONS, for a decoder that gave no frame and ended with `exit_status`."""
        lines = [*self._start, *self._end]
        if not lines and exit_status < 0:
            return "decoder-memory"  # a signal before the first word: not even the program fitted
        for phrase, reason in _RULES:
            if any(phrase in line for line in lines):
                return reason
        if not any(line.startswith("Input #0") for line in lines):
            cut = "moov atom not found" in "\n".join(lines) and "misdetection possible" not in "\n".join(lines)
            return "truncated" if cut else "not-a-video"
        if not any(line.startswith("Stream #0") and ": Video:" in line for line in lines):
            return "no-picture-stream"
        return "decoder-failed"
