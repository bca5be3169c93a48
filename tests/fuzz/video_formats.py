"""Small videos of the formats that are fuzzed, made by ffmpeg from drawn frames."""

import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
from numpy.typing import NDArray

from watchmove.pipeline.video.ffmpeg_commands import ffmpeg_executable

SHORTER_SIDE = 96
"""Shorter side of the drawn frames in pixels, a size that every codec but DV can write."""

_FRAMES = 30
"""Frames of a file: more than three groups with a key frame each. Set by hand: few, so that many files are tried."""

_BETWEEN_KEYS = ("-g", "8")
"""Frames from one key frame to the next, so that damage has both its start and its end in a file."""


@dataclass(frozen=True)
class Format:
    """A container with a codec.

    suffix: of the file's name; codec: ffmpeg's encoder, and options; begin, end: the bytes before and after the body,
    None where there are no such bytes; checksums: whether checksums protect all bytes of the body.
    """

    suffix: str
    codec: tuple[str, ...]
    begin: bytes | None = None
    end: bytes | None = None
    checksums: bool = False


_X264 = ("libx264", "-pix_fmt", "yuv420p", *_BETWEEN_KEYS, "-bf", "2", "-x264-params", "threads=1")
_X265 = (
    "libx265",
    "-pix_fmt",
    "yuv420p",
    "-x265-params",
    "keyint=8:bframes=2:pools=none:frame-threads=1:log-level=none",
)
_MPEG2 = ("mpeg2video", "-q:v", "3", *_BETWEEN_KEYS, "-bf", "2")
_MDAT, _MOVI, _IDX1 = b"mdat", b"movi", b"idx1"
_INDEX_FIRST = ("-movflags", "+faststart")
_CLUSTER, _CUES = bytes.fromhex("1f43b675"), bytes.fromhex("1c53bb6b")

FORMATS: dict[str, Format] = {
    "mp4-h264": Format("mp4", _X264, _MDAT, b"moov"),
    "mp4-h264-index-first": Format("mp4", (*_X264, *_INDEX_FIRST), _MDAT),
    "mp4-h264-fragmented": Format("mp4", (*_X264, "-movflags", "frag_keyframe+empty_moov"), _MDAT),
    "mp4-hevc": Format("mp4", (*_X265, *_INDEX_FIRST), _MDAT),
    "mp4-mpeg4": Format("mp4", ("mpeg4", "-q:v", "3", *_BETWEEN_KEYS, "-bf", "2", *_INDEX_FIRST), _MDAT),
    "mp4-av1": Format("mp4", ("libaom-av1", "-cpu-used", "8", *_BETWEEN_KEYS, *_INDEX_FIRST), _MDAT),
    "mov-mjpeg": Format("mov", ("mjpeg", "-q:v", "3", *_INDEX_FIRST), _MDAT),
    "mov-prores": Format("mov", ("prores_ks", *_INDEX_FIRST), _MDAT),
    "mkv-h264": Format("mkv", _X264, _CLUSTER, _CUES),
    "mkv-ffv1": Format("mkv", ("ffv1", "-level", "3", "-slicecrc", "1"), _CLUSTER, _CUES, checksums=True),
    "webm-vp8": Format("webm", ("libvpx", "-b:v", "1M", "-deadline", "realtime", *_BETWEEN_KEYS), _CLUSTER, _CUES),
    "webm-vp9": Format("webm", ("libvpx-vp9", "-b:v", "1M", "-deadline", "realtime", *_BETWEEN_KEYS), _CLUSTER, _CUES),
    "webm-av1": Format("webm", ("libaom-av1", "-cpu-used", "8", *_BETWEEN_KEYS), _CLUSTER, _CUES),
    "avi-mpeg4": Format("avi", ("mpeg4", "-q:v", "3", *_BETWEEN_KEYS, "-bf", "2"), _MOVI, _IDX1),
    "avi-msmpeg4": Format("avi", ("msmpeg4", "-q:v", "3", *_BETWEEN_KEYS), _MOVI, _IDX1),
    "avi-mjpeg": Format("avi", ("mjpeg", "-q:v", "3"), _MOVI, _IDX1),
    "avi-huffyuv": Format("avi", ("huffyuv", "-pix_fmt", "yuv422p"), _MOVI, _IDX1),
    "flv-flv1": Format("flv", ("flv", "-q:v", "3", *_BETWEEN_KEYS)),
    "flv-h264": Format("flv", _X264),
    "3gp-h263": Format("3gp", ("h263", "-q:v", "3", *_BETWEEN_KEYS, *_INDEX_FIRST), _MDAT),
    "mpg-mpeg1": Format("mpg", ("mpeg1video", "-q:v", "3", *_BETWEEN_KEYS, "-bf", "2")),
    "vob-mpeg2": Format("vob", _MPEG2),
    "ts-h264": Format("ts", _X264),
    "ts-mpeg2": Format("ts", _MPEG2),
    "m2ts-h264": Format("m2ts", _X264),
    "wmv-wmv2": Format("wmv", ("wmv2", "-q:v", "3", *_BETWEEN_KEYS)),
    "asf-wmv1": Format("asf", ("wmv1", "-q:v", "3", *_BETWEEN_KEYS)),
    "ogv-theora": Format("ogv", ("libtheora", "-q:v", "8", *_BETWEEN_KEYS), checksums=True),
    "mxf-mpeg2": Format("mxf", _MPEG2),
    "dv": Format("dv", ("dvvideo", "-s", "720x576", "-pix_fmt", "yuv420p", "-frames:v", "8")),
    "gif": Format("gif", ("gif",)),
    "rm-rv10": Format("rm", ("rv10", "-q:v", "3", *_BETWEEN_KEYS)),
    "m4v-mpeg4": Format("m4v", ("mpeg4", "-q:v", "3", *_BETWEEN_KEYS)),
    "h264": Format("h264", _X264),
    "y4m": Format("y4m", ("wrapped_avframe", "-pix_fmt", "yuv420p", "-frames:v", "10")),
}
"""All formats by name. `checksums`: FFV1's slices and the pages of Ogg, each with a CRC of 32 bits."""


def drawn_frames(variant: int) -> NDArray[np.uint8]:
    """Frames (30, 96, 128, 3) RGB of a textured square that crosses a textured ground, which moves too.

    Textures are smooth: ffmpeg's own test patterns look interlaced when they move.
    """
    rng = np.random.default_rng(variant)
    ground, square = (
        cv2.resize(rng.uniform(low, high, (12, 20, 3)), size, interpolation=cv2.INTER_CUBIC)
        for low, high, size in ((60, 150, (200, SHORTER_SIDE)), (20, 235, (36, 36)))
    )
    frames = np.stack([ground[:, 2 * number : 2 * number + 128] for number in range(_FRAMES)])
    for number, frame in enumerate(frames):
        frame[6 + number : 42 + number, 4 + 2 * number : 40 + 2 * number] = square
    return np.clip(frames, 0, 255).astype(np.uint8)


@cache
def file_of(name: str, variant: int = 0) -> bytes:
    """The bytes of a small video of a format. Variant 1 has other pictures."""
    form = FORMATS[name]
    quiet = (ffmpeg_executable(), "-hide_banner", "-loglevel", "error")
    raw = f"-f rawvideo -pix_fmt rgb24 -s 128x{SHORTER_SIDE} -r 25 -i pipe:0".split()
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"v.{form.suffix}"
        subprocess.run(
            [*quiet, *raw, "-c:v", *form.codec, "-threads", "1", "-fflags", "+bitexact", str(path)],
            input=drawn_frames(variant).tobytes(),
            check=True,
        )
        return path.read_bytes()


def body_of(name: str, data: bytes) -> tuple[int, int]:
    """The first byte and the end of the part of a file that holds the pictures, without header and index."""
    form = FORMATS[name]
    begin = data.index(form.begin) + 16 if form.begin is not None else min(1024, len(data) // 8)
    end = data.rfind(form.end) if form.end is not None else -1
    return begin, end - 4 if end > begin else len(data)
