"""Which frames of a stream are damaged: made from data that was lost or wrong, which decoders conceal."""

import math
from dataclasses import dataclass, field

_REORDERED_FRAMES = 16
"""Frames after an error in which a key frame does not end the damage, where the stream has bidirectional frames: such a
key frame may have been decoded before the error and shown after it. 16 is the longest delay of H.264 and HEVC."""

KEY_FRAME_CODECS = frozenset(
    [
        "h264",
        "hevc",
        "mpeg1video",
        "mpeg2video",
        "mpeg4",
        "msmpeg4v2",
        "msmpeg4",
        "h263",
        "flv",
        "vp8",
        "vp9",
        "av1",
        "libdav1d",
        "theora",
        "rv10",
        "rv20",
        "wmv1",
        "wmv2",
        "wmv3",
        "vc1",
    ]
)
"""Decoders that mark every key frame, so that a stream that begins without one begins in the middle.

Not VVC: its encoders show the first frames of a stream before its first key frame, and its decoder gives no frame of
what comes before that in the file."""


@dataclass
class DamageTracker:
    """Follows the events of a decoder, in their order, and says of each frame whether it is damaged.

    From an error on, frames are damaged until the next key frame, which needs no other frame. A stream that begins
    without a key frame is damaged until its first one, unless an edit list hides where it begins.

    codec: the name of the decoder; begin_is_hidden: whether an edit list hides the first frames, which the decoder has
    decoded from a key frame on without giving them out; damaged: the verdicts on the frames so far, in the order in
    which they are shown; only_key_frames: whether all frames so far are key frames.
    """

    codec: str = ""
    begin_is_hidden: bool = False
    damaged: list[bool] = field(default_factory=list)
    only_key_frames: bool = True
    _now: bool = False
    _in_this_frame: bool = False
    _key_frames_to_ignore: int = 0
    _reorders: bool = False
    _lost_from_seconds: float | None = None
    _lost_to_seconds: float = -math.inf

    def add_error(self) -> None:
        """The decoder has reported an error in the data that it decodes now."""
        self._now = self._in_this_frame = True
        if self._reorders:
            self._key_frames_to_ignore = _REORDERED_FRAMES

    def end_without_frame(self) -> None:
        """The data that was in error has given no frame, so that the next frame is made from other data."""
        self._in_this_frame = False

    def add_lost_data(self, from_seconds: float, to_seconds: float) -> None:
        """Data of frames shown at `from_seconds` or later is lost; a key frame after `to_seconds` is sound."""
        if self._lost_from_seconds is None or from_seconds < self._lost_from_seconds:
            self._lost_from_seconds = from_seconds
        self._lost_to_seconds = max(self._lost_to_seconds, to_seconds)

    def add_frame(self, seconds: float | None, *, is_key: bool, is_bidirectional: bool) -> None:
        """The decoder has given the next frame, which is shown at `seconds`; None where the stream has no times."""
        self._reorders |= is_bidirectional
        self.only_key_frames &= is_key
        if not self.damaged and not is_key and not self.begin_is_hidden and self.codec in KEY_FRAME_CODECS:
            self._now = True
        if self._lost_from_seconds is not None and (seconds is None or seconds >= self._lost_from_seconds):
            self._now, self._lost_from_seconds = True, None
        sound = is_key and not self._in_this_frame and not self._key_frames_to_ignore
        if sound and (seconds is None or seconds > self._lost_to_seconds):
            self._now = False
        self.damaged.append(self._now)
        self._in_this_frame = False
        self._key_frames_to_ignore = max(0, self._key_frames_to_ignore - 1)
