"""Reports of frames in the log: lines of ffmpeg's threads break into each other, and every frame keeps its facts."""

import io

import pytest

from watchmove.pipeline.video.damage import DamageTracker
from watchmove.pipeline.video.decoder_log import DecoderLog
from watchmove.pipeline.video.ffmpeg_commands import FilterNames
from watchmove.pipeline.video.frame_reports import FrameReports

NAMES = FilterNames()

ERROR = "\x1b[1;31merror while decoding MB 3 4, bytestream 22\x1b[0m"
"""The message of an error, as ffmpeg writes it in colours."""


def decoded(number: int) -> str:
    """The decoder's own line on a frame."""
    return (
        f"[vist#0:0/h264 @ 0x1] [dec:h264 @ 0x2] [info] decoder -> pts:{number} pts_time:{number} "
        f"keyframe:{int(number == 0)} frame_type:{1 if number == 0 else 2} time_base:1/1\n"
    )


def report(name: str, number: int) -> str:
    """A filter's report on a frame, without the end of its line, which ffmpeg writes separately."""
    return (
        f"[{name} @ 0x1] [info] n: {number:3} pts: {number:6} pts_time:{number}       duration:      1 duration_time:1 "
        f"   fmt:yuv420p cl:left sar:1/1 s:128x96 i:P iskey:1 type:I "
    )


def damaged_frames(lines: list[str]) -> list[bool]:
    """Which frames are damaged according to a log."""
    begin = "[in#0] Input #0\n  Stream #0:0: Video: h264\n  Stream #0:0 -> #0:0 (h264 (native) -> rawvideo (native))\n"
    log = DecoderLog(io.BytesIO((begin + "".join(lines)).encode()), NAMES)
    log.join()
    return [log.is_damaged(number) for number in range(len(log.frame_times_seconds))]


def reports_of(lines: list[str]) -> FrameReports:
    """What is read from the lines of a log."""
    reports = FrameReports(NAMES, 0, "h264")
    for line in "".join(lines).splitlines(keepends=True):
        reports.add(line.encode())
    return reports


def log_of(frames: int) -> list[str]:
    """The log of a sound video, line by line: decoder, source and scaled frame of each frame."""
    return [
        line
        for number in range(frames)
        for line in (decoded(number), report(NAMES.source, number) + "\n", report(NAMES.scaled, number) + "\n")
    ]


@pytest.mark.parametrize(
    "text",
    [
        "Output #1, image2pipe, to 'pipe:7':",
        "  Stream #1",
        ":0: Video: pgm, gray(pc, progressive), 128x96 [SAR 1:1 DAR 4:3], q=2-31, 200 kb/s, 25 fps, 25 tbn",
        "\x1b[0;33mdeprecated pixel format used, make sure you did set range correctly\x1b[0m",
        "\x1b[1;31mApplication provided invalid, non monotonically increasing dts to muxer in stream 0: 2 >= 2\x1b[0m",
        "filter_raw -> pts:0 pts_time:0 time_base:1/60000",
        "error while decoding, in a text that is no error",
    ],
)
@pytest.mark.parametrize("line", [1, 2, 4])
def test_a_message_that_is_no_error_is_no_damage(text: str, line: int) -> None:
    """ffmpeg describes its outputs while it decodes, in parts that follow reports without the end of a line."""
    lines = log_of(3)
    lines[line] = lines[line].rstrip("\n") + text + "\n"

    assert damaged_frames(lines) == [False] * 3


@pytest.mark.parametrize(
    "line",
    [
        "[h264 @ 0x2] [error] " + ERROR + "\n",
        "\x1b[0;36m[h264 @ 0x2] \x1b[0m\x1b[1;31m[error] \x1b[0m" + ERROR + "\n\x1b[0m",
        "\x1b[0;36m[h264 @ 0x2] \x1b[0m\x1b[1;31m[error] \x1b[0m"
        + ERROR
        + "demuxer+ffmpeg -> ist_index:0:0 type:video\n",
        report(NAMES.source, 1) + ERROR + "\n",
        report(NAMES.source, 0) + ERROR + "\n",
        report(NAMES.source, 0) + ERROR + "  Stream #1\n",
        f"[{NAMES.source} @ 0x1] [info] color_range:pc" + ERROR + " color_space:gbr color_primaries:unknown\n",
        "  Stream #1" + ERROR + ":0: Video: pgm, gray(pc, progressive), 128x96\n",
        "\x1b[1;31mof two lines,\nof which the second has no style of its own\n\x1b[0m",
        "x" * 5000 + ERROR + "\n",
    ],
)
def test_an_error_is_damage_wherever_it_is_written(line: str) -> None:
    """An error in the line of another message has no label, but the style of an error."""
    lines = log_of(3)
    lines.insert(3, line)

    assert damaged_frames(lines) == [False, True, True]


@pytest.mark.parametrize("context", ["enc:rawvideo", "swscaler", "out#0/rawvideo"])
def test_an_error_of_an_output_is_no_damage(context: str) -> None:
    """Only errors of the decoder and the demuxer concern the frames."""
    lines = log_of(3)
    lines.insert(3, f"\x1b[0;36m[{context} @ 0x2] \x1b[0m\x1b[1;31m[error] \x1b[0m{ERROR}\n")

    assert damaged_frames(lines) == [False] * 3


def test_a_frame_that_is_called_corrupt_is_an_error() -> None:
    """Also without a message of the decoder, as where a reference is missing; frames before it are sound."""
    lines = log_of(4)
    lines.insert(6, "[vist#0:0/h264 @ 0x1] [warning] corrupt decoded frame\n")
    reports = reports_of(lines)

    assert reports.damage.damaged == [False, False, True, True]
    assert (reports.has_errors(1), reports.has_errors(2)) == (False, True)


@pytest.mark.parametrize(("codec", "damaged"), [("hevc", [True, True, False]), ("vvc", [False] * 3)])
def test_a_stream_of_vvc_begins_with_frames_that_are_no_key_frames(codec: str, damaged: list[bool]) -> None:
    """Its first key frame is decoded before them and shown after them."""
    tracker = DamageTracker(codec)
    for number in range(3):
        tracker.add_frame(float(number), is_key=number == 2, is_bidirectional=number < 2)

    assert tracker.damaged == damaged


def test_a_file_with_many_errors_before_its_description_is_opened() -> None:
    """Not all lines of a log are kept, and its streams are known all the same."""
    errors = [f"[h264 @ 0x2] [error] {ERROR}\n"] * 300
    described = "[info] Input #0, mov,mp4, from 'v.mp4':\n[info]   Stream #0:0: Video: h264\n"
    log = DecoderLog(io.BytesIO("".join([*errors, described, *errors]).encode()), NAMES)
    log.join()

    assert log.failure_reason(1) == "decoder-failed"


@pytest.mark.parametrize("broken", [{1}, {2}, {1, 2}, {4}, {5}, {4, 5}])
def test_a_report_without_its_beginning_is_read(broken: set[int]) -> None:
    """A report that follows an incomplete line has no name of a filter; it is the next report in the sequence."""
    lines = log_of(4)
    for number in broken:
        lines[number] = "[info]   Stream #1" + lines[number].partition("[info] ")[2]
    frames = reports_of(lines).frames

    assert [frame.scaled_size for frame in frames] == [(96, 128)] * 4
    assert [frame.size for frame in frames] == [(96, 128)] * 4
    assert [frame.time_seconds for frame in frames] == [0, 1, 2, 3]


@pytest.mark.parametrize("lost", [{1}, {2}, {1, 2}, {4}, {5}, {4, 5}])
def test_a_lost_report_loses_no_frame(lost: set[int]) -> None:
    """The number of the next report shows that frames are missing."""
    frames = reports_of([line for number, line in enumerate(log_of(4)) if number not in lost]).frames

    assert [frame.scaled_size for frame in frames] == [(96, 128)] * 4
    assert [frame.size for frame in frames] == [(96, 128)] * 4
    assert [frame.time_seconds for frame in frames][2:] == [2, 3]
    # of a frame that no filter has reported, the time is that of the next
    assert len(lost) == 2 or [frame.time_seconds for frame in frames] == [0, 1, 2, 3]
