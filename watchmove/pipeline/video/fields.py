"""Detection of interlaced video: frames that hold two fields, taken at different times, in alternating rows.

The flags of many streams are missing or wrong, so the pixels decide. In a pair of consecutive frames, the even rows of
the first are combined with the odd rows of the second, and the other way round. Of progressive video, both combinations
mix two moments that are one frame apart. Of interlaced video, one mixes moments half a frame apart, and the other one
and a half frames, so that its moving edges are combed much more. That difference does not depend on the texture of the
scene, and it adds up over a video of which only a small part moves.
"""

import threading
from typing import IO

import numpy as np
from numpy.typing import NDArray

from watchmove.pipeline.arrays import Image
from watchmove.pipeline.video.ffmpeg_commands import FIRST_SAMPLES, FIRST_SAMPLES_INTERVAL, SAMPLES_INTERVAL, Fields

_LEAST_DIFFERENCE = 8
"""Least difference of two frames, in levels of 255, at a pixel that counts as moving. Set by hand; not tuned."""

_LEAST_MOVING_PIXELS = 500
"""Fewest moving pixels, over all pairs, from which a video is judged; fewer give asymmetry by chance (0.1 once)."""

_LEAST_ASYMMETRY, _CLEAR_ASYMMETRY = 0.05, 0.1
"""Asymmetry from which a video is interlaced if its frames are combed, and from which it is in any case.

Of 290 views of real progressive clips, rows and columns, with at least 500 moving pixels, the largest was 0.033; of 297
that were interlaced by ffmpeg's tinterlace, 18 were below 0.1, most of them clips that repeat their frames.
"""

_LEAST_COMBING = 0.7
"""Least combing of the frames as they are, relative to the lesser of the combinations, that confirms a small asymmetry:
about 1 in interlaced video. Progressive video of drawn patterns or coarse codecs has an asymmetry of up to 0.09, at a
combing of 0.3 to 0.4."""

_LEAST_SIDE = 4
"""Shortest side of a frame in which rows can be compared with their neighbours."""

_LONGEST_WAIT_SECONDS = 5.0
"""Longest wait for pairs that were announced; where a stream changes its size early, one fewer can come."""

_SAMPLED_LINES = 160
"""Rows or columns that are compared, spread over the frame. A bound on time, not a tuned value."""


def _combing(frame: NDArray[np.int16]) -> NDArray[np.int16]:
    """How much each inner row of (H, W) differs from the rows above and below it: (H - 2, W)."""
    combing: NDArray[np.int16] = np.abs(2 * frame[1:-1] - frame[:-2] - frame[2:])
    return combing


def pair_evidence(first: Image, second: Image) -> NDArray[np.float64]:
    """Evidence of one pair of consecutive grey frames (H, W) uint8 for fields in rows; sums over pairs are meaningful.

    Returns the combing of even rows of the first frame with odd rows of the second, that of the other combination, the
    mean of that of both frames as they are, and the number of moving pixels.
    """
    rows = first.shape[0] // 2 * 2
    step = max(1, first.shape[1] // _SAMPLED_LINES)
    before, after = first[:rows, ::step].astype(np.int16), second[:rows, ::step].astype(np.int16)
    moving = np.abs(before - after)[1:-1] > _LEAST_DIFFERENCE
    even_first, odd_first = before.copy(), after.copy()
    even_first[1::2], odd_first[1::2] = after[1::2], before[1::2]
    sums = [_combing(mixed)[moving].sum() for mixed in (even_first, odd_first)]
    own = (_combing(before)[moving].sum() + _combing(after)[moving].sum()) / 2
    return np.array([*sums, own, moving.sum()], np.float64)


def has_fields(evidence: NDArray[np.float64]) -> bool:
    """Whether summed `pair_evidence` shows that the frames of a video hold two fields each."""
    even_first, odd_first, own, moving = evidence
    if moving < _LEAST_MOVING_PIXELS:
        return False
    asymmetry = abs(even_first - odd_first) / (even_first + odd_first)
    combed = own > _LEAST_COMBING * min(even_first, odd_first)
    return bool(asymmetry > (_LEAST_ASYMMETRY if combed else _CLEAR_ASYMMETRY))


def fields_of(sums: NDArray[np.float64]) -> Fields:
    """Where the fields are, given the summed evidence for rows and columns, (2, 4)."""
    rows, columns = sums
    if has_fields(rows):
        return "rows"
    return "columns" if has_fields(columns) else ""


def sampled_pairs(frames: int) -> int:
    """How many pairs of consecutive frames a decoder gives of the first frames of a video."""
    first, rest = min(frames, FIRST_SAMPLES), frames - FIRST_SAMPLES
    return max(0, (first - 2) // FIRST_SAMPLES_INTERVAL + 1) + max(0, (rest - 2) // SAMPLES_INTERVAL + 1)


class FieldDetector:
    """Reads pairs of grey frames from a pipe in its own thread, and judges the video by the pairs so far."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        # for rows and columns: the sum of the evidence after each pair, beginning with none
        self._sums = [np.zeros((2, 4))]
        self._ended = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._drain, daemon=True)
        self._thread.start()

    def join(self) -> None:
        """Wait until the stream has ended."""
        self._thread.join()

    def fields(self) -> Fields:
        """Where the fields are, if all pairs together show any; the stream must have ended."""
        return fields_of(self._sums[-1])

    def evidence_of_first(self, frames: int) -> tuple[NDArray[np.float64], int]:
        """The summed evidence of the pairs among the first frames, (2, 4), and the number of these pairs.

        Waits for these pairs, so that the answer is the same whenever it is asked.
        """
        wanted = sampled_pairs(frames)
        with self._changed:
            self._changed.wait_for(lambda: self._ended or len(self._sums) > wanted, timeout=_LONGEST_WAIT_SECONDS)
        pairs = min(wanted, len(self._sums) - 1)
        return self._sums[pairs], pairs

    def _drain(self) -> None:
        with self._stream:
            first: Image | None = None
            while (frame := self._read_pixmap()) is not None:
                if first is None or first.shape != frame.shape or min(frame.shape) < _LEAST_SIDE:
                    first = frame
                    continue
                evidence = np.stack([pair_evidence(first, frame), pair_evidence(first.T, frame.T)])
                first = None
                with self._changed:
                    self._sums.append(self._sums[-1] + evidence)
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _read_pixmap(self) -> Image | None:
        """The next pixmap, (H, W) uint8; None at the end of the stream."""
        header = [self._stream.readline(64) for _ in range(3)]  # P5, then width and height, then the largest value
        if not header[-1]:
            return None
        width, height = (int(word) for word in header[1].split())
        pixels = self._stream.read(width * height)
        return np.frombuffer(pixels, np.uint8).reshape(height, width) if len(pixels) == width * height else None
