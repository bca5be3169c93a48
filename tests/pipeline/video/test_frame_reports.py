"""Reports of frames in the log: lines of ffmpeg's threads break into each other, and every frame keeps its facts."""

import pytest

from watchmove.pipeline.video.ffmpeg_commands import FilterNames
from watchmove.pipeline.video.frame_reports import FrameReports

NAMES = FilterNames()


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
    "part",
    [
        "Output #1, image2pipe, to 'pipe:7':\n",
        "  Stream #1",
        ":0: Video: pgm, gray(pc, progressive), 128x96 [SAR 1:1 DAR 4:3], q=2-31, 200 kb/s, 25 fps, 25 tbn\n",
        ": Video: rawvideo (RGB[24] / 0x18424752), rgb24(pc, gbr/unknown/unknown), 128x96\n",
        "    encoder         : Lavf63.1.102\n",
        "      encoder         : ",
        "Lavc63.1.102 pgm\n",
        "deprecated pixel format used, make sure you did set range correctly\n",
    ],
)
@pytest.mark.parametrize("line", [1, 2, 4])
def test_a_harmless_message_after_a_report_is_no_damage(part: str, line: int) -> None:
    """ffmpeg describes its outputs while it decodes; these parts and messages were found after reports."""
    lines = log_of(3)
    lines[line] = lines[line].rstrip("\n") + part.rstrip("\n") + "\n"

    assert reports_of(lines).damage.damaged == [False] * 3


def test_another_message_after_a_report_is_damage() -> None:
    """A message without its level, broken into a report, can be an error: the worst is assumed."""
    lines = log_of(3)
    lines[4] = lines[4].rstrip("\n") + "error while decoding MB 3 4, bytestream 22\n"

    assert reports_of(lines).damage.damaged == [False, False, True]


@pytest.mark.parametrize("broken", [{1}, {2}, {1, 2}, {4}, {5}, {4, 5}])
def test_a_report_without_its_beginning_loses_no_frame(broken: set[int]) -> None:
    """A report that follows an incomplete line has no name of a filter; its frame is counted all the same."""
    lines = log_of(4)
    for number in broken:
        lines[number] = "[info]   Stream #1" + lines[number].partition("[info] ")[2]
    frames = reports_of(lines).frames

    assert [frame.scaled_size for frame in frames] == [(96, 128)] * 4
    assert [frame.size for frame in frames] == [(96, 128)] * 4
    assert [frame.time_seconds for frame in frames][2:] == [2, 3]
    # of a frame that no filter has reported, the time is that of the next
    assert len(broken) == 2 or [frame.time_seconds for frame in frames] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "message",
    [
        "color_range:pcslice CRC mismatch 944EDDC1! color_space:gbr color_primaries:unknownat 0.28 seconds",
        "color_range:pc color_space:gbrerror while decoding MB 3 4, bytestream 22",
    ],
)
def test_an_error_inside_the_colours_of_a_frame_is_damage(message: str) -> None:
    """The fuzzer found the first: an FFV1 frame with a wrong checksum that was taken as sound."""
    lines = log_of(3)
    lines.insert(3, f"[{NAMES.source} @ 0x1] [info] {message}\n")

    assert reports_of(lines).damage.damaged == [False, True, True]


@pytest.mark.parametrize(
    "text",
    [
        "config in time_base: 1/12800, frame_rate: 25/1",
        "config out time_base: 0/0, frame_rate: 0/0",
        "color_range:tv color_space:bt709 color_primaries:unknown color_trc:arib-std-b67",
        " color_primaries:unknown color_trc:unknown",
        "color_range:pc color_space:gbr  Stream #1:0: Video: pgm, gray(pc, progressive), 128x96, q=2-31, 25 tbn",
        "color_range:pc color_space:gbrOutput #1, image2pipe, to 'pipe:9':",
        "color_range:pc color_space:gbrfilter_raw -> pts:0 pts_time:0 time_base:1/60000",
    ],
)
def test_what_a_filter_writes_beside_its_reports_is_no_damage(text: str) -> None:
    """Configuration and colours of frames, complete, interrupted or continued, are no errors."""
    lines = log_of(3)
    lines.insert(3, f"[{NAMES.source} @ 0x1] [info] {text}\n")

    assert reports_of(lines).damage.damaged == [False] * 3


def test_an_error_whose_line_another_thread_ends_is_damage() -> None:
    """The end of an error can come after a message of another thread."""
    lines = log_of(3)
    lines.insert(3, "[h264 @ 0x2] [error] slice CRC mismatch 944EDDC1!demuxer+ffmpeg -> ist_index:0:0 type:video\n")

    assert reports_of(lines).damage.damaged == [False, True, True]
