"""What ffmpeg's log says of each frame: its time, size and kind, and whether it is damaged."""

import math
import re
from array import array
from dataclasses import dataclass, replace

from watchmove.pipeline.video.damage import DamageTracker
from watchmove.pipeline.video.ffmpeg_commands import CONTAINERS, FilterNames
from watchmove.pipeline.video.tone_mapping import HDR_TRANSFERS

_LARGEST_SIDE = 2**16
"""Longest side of a frame that is believed. A bound on memory, not a tuned value."""

_LONGEST_SECONDS = 1e7
"""Latest time of a frame that is believed, four months. A bound, not a tuned value."""

_SOURCE = re.compile(rb"n: *\d+ +pts: *\S+ +pts_time: *(\S+) .*?\bfmt:(\S+) .*?\bs:(\d+)x(\d+) ")
_SCALED = re.compile(rb"n: *(\d+) +pts: *\S+ +pts_time: *(\S+) .*?\bs:(\d+)x(\d+) ")
_TRANSFER = re.compile(rb"\bcolor_trc:(" + "|".join(HDR_TRANSFERS).encode() + rb"|)")
"""The name can be followed directly by the message of another thread."""
_ALPHA_FORMAT = re.compile(rb"yuva|rgba|bgra|argb|abgr|ya\d|gbrap|ayuv|vuya|pal8")
_DECODED = re.compile(rb"decoder -> .*?pts_time:(\S+) .*keyframe:(\d) frame_type:(\d)")
_DEMUXED = re.compile(rb"demuxer\+ffmpeg -> ist_index:(?:\d+:)?(\d+) .*?pkt_pts_time:(\S+) .*?pkt_dts_time:(\S+)")
_CONTEXT = re.compile(rb"\[(dec:)?([^\] ]+) @ (?:0x)?[0-9a-fA-F]+\] ")
_LOST_PACKET = re.compile(rb"(?:corrupt input packet in stream |Packet corrupt \(stream = )(\d+)")
_PACKETS_IN_DOUBT = 2
"""Packets that such a message can mean: demuxers that divide data into frames give the frame before the lost data only
after it, and ffmpeg then calls that one corrupt. Found with MPEG-2 transport streams of H.264 and HEVC."""

_LABEL = re.compile(rb"(?:\[[^\]]* @ [^\]]*\] )*\[(?:error|fatal|panic)\] ")
"""How the line of an error begins, unless another thread had begun the line."""

_OF_OUTPUT = b"increasing dts to muxer"
"""An error of the muxer, found with sound videos whose frames have equal times."""

_MOST_LOST_REPORTS = 8
"""Reports in a row that can be lost to the description of the outputs. A bound on memory, not a tuned value."""

_BIDIRECTIONAL = b"3"
"""ffmpeg's number of a frame that is predicted from earlier and later frames (AV_PICTURE_TYPE_B)."""

_NO_FRAME = (b"Error submitting packet to decoder", b"Error while decoding stream")
"""What ffmpeg since 7, and earlier versions, write about data that the decoder has refused."""

_DEMUXERS = frozenset(name.encode() for name in CONTAINERS.split(","))

_TRACES = (b"encoder ", b"muxer", b"filter")
_PARSED = (b"showinfo", b"decoder -> ", b"demuxer+ffmpeg", b"orrupt", b"31m")
"""Words of lines of `-debug_ts`, ten for each frame, which are skipped unless one of the words or styles of lines that
are parsed is in them too."""


@dataclass(frozen=True)
class FrameFacts:
    """What the log says of one decoded frame.

    time_seconds: when it is shown, from the start of the video, 0 where the stream has no time; size: (height, width)
    in the file; scaled_size: (height, width) of the frame that is given out; transfer: one of HDR_TRANSFERS, or empty;
    has_alpha: whether its pixels have an alpha channel.
    """

    time_seconds: float
    size: tuple[int, int]
    scaled_size: tuple[int, int]
    transfer: str
    has_alpha: bool


class FrameReports:
    """Collects the reports of the frames of one stream from the lines of a log.

    Lines of ffmpeg's threads can break into each other, so a report is found by its place in the sequence, and errors
    by the style in which they are written. frames: the facts of all frames so far; damage: the verdicts on them;
    packet_seconds: for each packet of the stream, when its frame is shown, NaN where the container does not say it.
    """

    def __init__(self, names: FilterNames, stream: int, decoder: str) -> None:
        """Collect the frames of the stream with the index `stream`, decoded by the decoder of that name."""
        self._source, self._scaled = f"[{names.source} @ ".encode(), f"[{names.scaled} @ ".encode()
        self._stream = stream
        self._decoder = decoder.encode()
        self.frames: list[FrameFacts] = []
        self.damage = DamageTracker(decoder)
        self._facts = FrameFacts(0.0, (0, 0), (0, 0), "", has_alpha=False)
        self._number = -1
        self._source_is_known = False
        self._source_seconds: list[float] = []
        self._unsized: list[float] = []
        self._packets_in_doubt = 0
        self._data_is_lost = False
        self.packet_seconds = array("d")
        self._decoded_seconds, self._error_seconds = -math.inf, math.inf

    def has_errors(self, to_seconds: float = math.inf) -> bool:
        """Whether there was an error, or a lost packet or corrupt frame, before the decoder gave that of `to_seconds`.

        A decoder works ahead of its reader, so that an error behind the frames that are read is written or not,
        depending on when the decoder is ended.
        """
        return self._error_seconds < to_seconds

    def add(self, line: bytes, errors: bytes = b"") -> None:
        """Read one line of the log, of which `errors` is the part that was written as an error."""
        # the name is missing where ffmpeg was describing an output, in a line that has no text of the file
        nameless = line.startswith(b"[info] ") and _SCALED.search(line) is not None
        if line.startswith(self._source) or (nameless and not self._source_seconds):
            self._add_source(line)
        elif line.startswith(self._scaled) or nameless:
            self._add_scaled(line)
        # the same line can contain messages of other threads
        if errors or _LABEL.match(line):
            self._note_error()
            self._add_error(line, errors)
        self._add_trace(line)

    def _add_source(self, line: bytes) -> None:
        if report := _SOURCE.search(line):
            seconds, pixel_format, width, height = report.groups()
            self._source_seconds.append(_seconds(seconds) or 0.0)
            self._facts = replace(
                self._facts,
                size=_size(height, width),
                has_alpha=_ALPHA_FORMAT.match(pixel_format) is not None,
            )
            self._source_is_known = True
        elif transfer := _TRANSFER.search(line):
            self._facts = replace(self._facts, transfer=transfer.group(1).decode("ascii", "replace"))

    def _add_scaled(self, line: bytes) -> None:
        """The last report of a frame, which makes its facts complete."""
        if (report := _SCALED.search(line)) is None:
            return
        number, seconds, width, height = report.groups()
        shown = _seconds(seconds) or 0.0
        # numbers start again where the filters are set up for a new size; a gap is of reports that were broken
        missing = min(max(0, int(number) - self._number - 1), _MOST_LOST_REPORTS)
        # the other filter has reported the time of a lost frame, unless that report was lost too
        earlier = [shown] * missing + [time for time in self._source_seconds if time != shown]
        times = [*self._unsized, *earlier[len(earlier) - missing :], shown]
        self._source_seconds.clear()
        self._number = int(number)
        self._facts = replace(self._facts, scaled_size=_size(height, width))
        if not self._source_is_known:  # its report was broken: the first frame gets the size of the second
            self._unsized = times
            return
        self.frames += [replace(self._facts, time_seconds=time) for time in times]
        self._unsized = []

    def _add_trace(self, line: bytes) -> None:
        """What the decoder and the demuxer write about each frame and packet, and warnings of theirs."""
        if decoded := _DECODED.search(line):
            word, key, kind = decoded.groups()
            seconds = _seconds(word)
            self._decoded_seconds = self._decoded_seconds if seconds is None else seconds
            self.damage.add_frame(seconds, is_key=key == b"1", is_bidirectional=kind == _BIDIRECTIONAL)
        elif demuxed := _DEMUXED.search(line):
            self._add_packet(*demuxed.groups())
        elif b"corrupt decoded frame" in line:
            self._note_error()
            self.damage.add_error()
        elif (lost := _LOST_PACKET.search(line)) and int(lost.group(1)) == self._stream:
            self._note_error()
            self._packets_in_doubt = _PACKETS_IN_DOUBT

    def _note_error(self) -> None:
        self._error_seconds = min(self._error_seconds, self._decoded_seconds)

    def _add_error(self, line: bytes, errors: bytes) -> None:
        """An error concerns the data that is decoded now, or, from the demuxer, the next packet that it finds."""
        if any(phrase in line for phrase in _NO_FRAME):
            self.damage.add_error()
            self.damage.end_without_frame()
            return
        label = _LABEL.match(line)
        contexts = _CONTEXT.findall(label.group()) if label else []
        # without its label, which is missing where another thread had begun the line, the worst is assumed
        if (not label and _OF_OUTPUT not in errors) or any(
            decoder or name == self._decoder for decoder, name in contexts
        ):
            self.damage.add_error()
        elif any(name.startswith(b"in#") or name.split(b",")[0] in _DEMUXERS for _, name in contexts):
            self._data_is_lost = True

    def _add_packet(self, stream: bytes, shown: bytes, decoded: bytes) -> None:
        """The demuxer has found the next packet of a stream, with the times at which it is shown and decoded."""
        if int(stream) != self._stream:
            return
        shown_seconds = _seconds(shown)
        times = [seconds for seconds in (_seconds(decoded), shown_seconds) if seconds is not None] or [0.0]
        if not self.packet_seconds:
            # what is shown before time 0 is what an edit list hides
            self.damage.begin_is_hidden = times[-1] < 0
        if self._packets_in_doubt or self._data_is_lost:
            # demuxers read ahead: what is lost can also come after this packet, so that a key frame in it does not help
            self.damage.add_lost_data(times[0], max(times))
            self._packets_in_doubt = max(0, self._packets_in_doubt - 1)
            self._data_is_lost = False
        self.packet_seconds.append(math.nan if shown_seconds is None else shown_seconds)


def is_trace(line: bytes) -> bool:
    """Whether a line of the log, with its styles, is one of `-debug_ts` and contains nothing that is parsed or kept."""
    return any(word in line for word in _TRACES) and not any(word in line for word in _PARSED)


def _seconds(word: bytes) -> float | None:
    """A time in seconds within bounds, None for `NOPTS` and for what is no time."""
    try:
        seconds = float(word)
    except ValueError:
        return None
    return seconds if abs(seconds) <= _LONGEST_SECONDS else None


def _size(height: bytes, width: bytes) -> tuple[int, int]:
    """(height, width) in pixels, (0, 0) where they are out of bounds."""
    size = int(height), int(width)
    return size if max(size) <= _LARGEST_SIDE else (0, 0)
