"""The command lines with which ffmpeg decodes and encodes video files; it can open local files only."""

import shutil
from pathlib import Path
from typing import Any

import ffmpeg
import imageio_ffmpeg

# Formats of video or sound. Playlists (hls, concat, dash) are excluded, because they name other files to be opened.
_CONTAINERS = (
    "mov,mp4,matroska,webm,avi,mpegts,mpeg,mpegvideo,m4v,h264,hevc,ivf,ogg,flv,asf,dv,mxf,rm,gif,apng,mjpeg,yuv4mpegpipe,"
    "nut,mp3,wav,aac,flac,mpjpeg"
)
LONGEST_TO_SHORTEST = 4
"""Ratio of the longer side to the shorter from which a frame is refused. A bound on memory, not a tuned value."""

_INTERLACE_THRESHOLD = 1.3
"""How much more the rows of an interlaced frame must differ than those of its fields (`intl_thres` of ffmpeg's idet).

Set by hand: sharp patterns in progressive video exceed ffmpeg's default of 1.04.
"""

_CONSTANT_RATE_FACTOR = 12
"""Quality of written H.264: visually lossless, as drawn videos are compared with their exact truth. Set by hand."""


def ffmpeg_executable() -> str:
    """The path of the system's ffmpeg, or of the one in the imageio-ffmpeg wheel if the system has none."""
    return shutil.which("ffmpeg") or str(imageio_ffmpeg.get_ffmpeg_exe())


def _scaling(shorter_side_pixels: int) -> dict[str, str]:
    """Arguments of ffmpeg's scale filter: the shorter side as given, square pixels, the longer side bounded."""
    side, limit = shorter_side_pixels, shorter_side_pixels * LONGEST_TO_SHORTEST
    return {
        "w": f"if(gte(iw*sar,ih),min({limit},round({side}*iw*sar/ih)),{side})",
        "h": f"if(gte(iw*sar,ih),{side},min({limit},round({side}*ih/(iw*sar))))",
        "flags": "bicubic+accurate_rnd",
    }


def decode_command(path: Path, shorter_side_pixels: int, max_frames: int | None, max_source_pixels: int) -> list[str]:
    """The command line that decodes a video to pixmaps on stdout and reports each frame on stderr."""
    source = ffmpeg.input(
        f"file:{path.absolute()}",
        protocol_whitelist="file,pipe",
        format_whitelist=_CONTAINERS,
        max_pixels=max_source_pixels,
        # one thread, because callers use the cores by running one process on each
        threads=1,
    )
    # interlacing is detected in the pixels, because the flags of many streams are missing or wrong
    reported = source.video.filter("idet", intl_thres=_INTERLACE_THRESHOLD).filter("showinfo", checksum=0)
    # showinfo follows idet, which sets the flag it reports, and precedes scale, as the log has the size in the file
    frames = reported.filter("yadif", deint="interlaced").filter("scale", **_scaling(shorter_side_pixels))
    # without a pixel format, frames of more than eight bits would become pixmaps of sixteen bits
    pixmaps = {"format": "image2pipe", "vcodec": "ppm", "pix_fmt": "rgb24", "fps_mode": "passthrough", "threads": 1}
    # passthrough: other modes repeat or drop frames, and image n would no longer belong to line n of the log
    output = frames.output("pipe:1", **pixmaps, **({} if max_frames is None else {"vframes": max_frames}))
    # the log level stays at info, the level of showinfo and of the description of the streams
    quiet = output.global_args("-nostdin", "-hide_banner", "-nostats", "-filter_complex_threads", "1")
    return [str(part) for part in quiet.compile(cmd=ffmpeg_executable())]


def encode_command(path: Path, width: int, height: int, frames_per_second: float) -> list[str]:
    """The command line that encodes raw frames from stdin; one thread and bitexact make the bytes reproducible."""
    raw: dict[str, Any] = {"format": "rawvideo", "pix_fmt": "rgb24", "s": f"{width}x{height}", "r": frames_per_second}
    output = ffmpeg.input("pipe:0", **raw).output(
        f"file:{path.absolute()}",
        vcodec="libx264",
        crf=_CONSTANT_RATE_FACTOR,
        pix_fmt="yuv420p",
        threads=1,
        fflags="+bitexact",
    )
    quiet = output.overwrite_output().global_args("-hide_banner", "-loglevel", "error")
    return [str(part) for part in quiet.compile(cmd=ffmpeg_executable())]
