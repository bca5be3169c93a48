"""The command lines with which ffmpeg decodes and encodes video files; it can open local files only."""

import secrets
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import ffmpeg
import imageio_ffmpeg

from watchmove.pipeline.errors import Unavailable

# Formats of video or sound; ffmpeg reads the bare stream of Motion JPEG as jpeg_pipe. Playlists (hls, concat, dash) are
# excluded, because they name other files to be opened.
CONTAINERS = (
    "mov,mp4,matroska,webm,avi,mpegts,mpeg,mpegvideo,m4v,h264,hevc,ivf,ogg,flv,asf,dv,mxf,rm,gif,apng,mjpeg,yuv4mpegpipe,"
    "nut,mp3,wav,aac,flac,mpjpeg,jpeg_pipe"
)
LONGEST_TO_SHORTEST = 4
"""Largest ratio of the longer side to the shorter of a frame that is read. A bound on memory, not a tuned value."""

FIRST_SAMPLES, FIRST_SAMPLES_INTERVAL, SAMPLES_INTERVAL = 96, 8, 24
"""Frames from one pair to the next that are tested for fields: in the first frames of a video, and in the others. Set
by hand; the first number is a multiple of the third."""

_FIELD_SAMPLES = f"lt(mod(n,{FIRST_SAMPLES_INTERVAL}),2)*lt(n,{FIRST_SAMPLES})+lt(mod(n,{SAMPLES_INTERVAL}),2)"
"""Which frames are tested for fields: pairs of consecutive frames, more often at the start, where a video is judged
before its first frame is given out. Set by hand: testing every frame would cost as much as decoding."""

_FOUND_ERRORS = "crccheck+bitstream+buffer"
"""What decoders check beyond what they need: checksums, values that the format forbids, and lengths that do not fit.

With it the fuzzer found half as many altered frames of WMV, MSMPEG4 and H.263 that were not called damaged."""

_EACH_OUTPUT: dict[str, Any] = {
    "fps_mode": "passthrough",
    "threads": 1,
    "an": None,
    "sn": None,
    "dn": None,
    # the log describes the outputs while frames are reported already: without text of the file
    "map_metadata": -1,
    "flush_packets": 1,
}
"""Options of both outputs of a decoder."""

_PLACE_OF_FILE = "file:/"
"""Stands for the file while a command is compiled."""

_CONSTANT_RATE_FACTOR = 12
"""Quality of written H.264: visually lossless, as drawn videos are compared with their exact truth. Set by hand."""

Fields = Literal["", "rows", "columns"]
"""Whether a frame holds two fields, and where: in alternating rows, or in columns if the container turns the frame."""


@dataclass(frozen=True)
class DecodeChoice:
    """What is known about a file before it is decoded, which a first attempt finds out.

    stream: index of the video stream in the file, None for the one that ffmpeg chooses as a player does: with packets,
    then marked as default, then largest; fields: how the frames are divided into fields, of which one is read; alpha:
    whether frames are read with their alpha channel; decoder: ffmpeg's name of the decoder, empty for its own choice;
    hardware: whether an NVIDIA GPU decodes what it can. ffmpeg copies its frames to memory, so that filters are the
    same, and decodes other codecs itself.
    """

    stream: int | None = None
    fields: Fields = ""
    alpha: bool = False
    decoder: str = ""
    hardware: bool = False


@dataclass(frozen=True)
class Extent:
    """Which frames of a video are decoded; all of them by default.

    start_seconds: decoding begins at the last key frame that is shown up to this time, from the start of the video;
    None for the first frame of the file; frames: the largest number of frames, None for all; only_key_frames: whether
    all other frames are skipped; is_exact: whether frames before `start_seconds` are only decoded. If they are not,
    those from the key frame on are given out, and earlier ones where the container's index is coarse.
    """

    start_seconds: float | None = None
    frames: int | None = None
    only_key_frames: bool = False
    is_exact: bool = False


EVERYTHING = Extent()
"""All frames of a video."""

ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
"""Decoders that read the alpha channel of a codec, where ffmpeg's own decoder ignores it, by the codec."""


@dataclass(frozen=True)
class FilterNames:
    """Names of the filters that report frames, with a random part, so that no text in a file can look like a report.

    source: the filter before scaling; scaled: the filter after it.
    """

    source: str = field(default_factory=lambda: f"showinfo@{secrets.token_hex(8)}")
    scaled: str = field(default_factory=lambda: f"showinfo@{secrets.token_hex(8)}")


def ffmpeg_executable() -> str:
    """The path of the system's ffmpeg, or of the one in the imageio-ffmpeg wheel if the system has none.

    Raises RuntimeError where that one is missing or does not start, as in a process whose memory is too limited.
    """
    return shutil.which("ffmpeg") or str(imageio_ffmpeg.get_ffmpeg_exe())


def not_started(program: str, why: str | None) -> Unavailable:
    """The error to raise where ffmpeg cannot be started."""
    return Unavailable(f"{program} could not be started ({why}); install ffmpeg 5.1 or later")


def _scaling(shorter_side_pixels: int, fields: Fields) -> str:
    """ffmpeg's scale filter: the shorter side as given, square pixels, the longer side bounded.

    The bound is one pixel above the longest side that is read, so that the reader can recognise longer frames.
    """
    side, limit = shorter_side_pixels, shorter_side_pixels * LONGEST_TO_SHORTEST + 1
    # a single field has half of the frame's rows or columns
    width, height = "iw*2" if fields == "columns" else "iw", "ih*2" if fields == "rows" else "ih"
    shown = f"({width})*sar"
    w = f"if(gte({shown},{height}),min({limit},round({side}*{shown}/({height}))),{side})"
    h = f"if(gte({shown},{height}),{side},min({limit},round({side}*({height})/({shown}))))"
    return f"scale=w='{w}':h='{h}':flags=area+accurate_rnd"


_ONE_FIELD = {
    "": [],
    "rows": ["field=type=top"],
    # this transposition is its own inverse
    "columns": ["transpose=dir=cclock_flip", "field=type=top", "transpose=dir=cclock_flip"],
}
"""Filters that keep one field of each frame. They hold no frame back: filters that do, as deinterlacers, lose frames
where a stream changes its size."""


def decode_command(
    path: Path,
    choice: DecodeChoice,
    extent: Extent,
    names: FilterNames,
    *,
    shorter_side_pixels: int,
    max_source_pixels: int,
    samples_descriptor: int | None,
) -> list[str]:
    """The command line that decodes a video to raw frames on stdout, and reports each frame on stderr.

    Frames are rgb24, or rgba with `choice.alpha`, each of the size that the filter `names.scaled` reports. Grey frames
    at their full size, in pairs, are written as pixmaps to `samples_descriptor`, if that is given.
    """
    source = ffmpeg.input(
        _PLACE_OF_FILE,
        protocol_whitelist="file,pipe",
        format_whitelist=CONTAINERS,
        max_pixels=max_source_pixels,
        err_detect=_FOUND_ERRORS,
        # one thread, because callers use the cores by running one process on each
        threads=1,
        **({f"c:{choice.stream}": choice.decoder} if choice.decoder else {}),
        # device 0 of CUDA_VISIBLE_DEVICES, which computes the masks too
        **({"hwaccel": "cuda"} if choice.hardware else {}),
        **_seeking(extent),
    )
    stream = source if choice.stream is None else source[str(choice.stream)]
    # without side data, of which showinfo writes each byte in a message of its own, between those of other threads
    report = f"sidedata=mode=delete,{names.source}=checksum=0"
    filters = [report, *_ONE_FIELD[choice.fields], _scaling(shorter_side_pixels, choice.fields)]
    # without autoscale, frames after a change of size keep their own shape instead of getting that of the first
    outputs = stream.output(
        "pipe:1",
        format="rawvideo",
        vcodec="rawvideo",
        pix_fmt="rgba" if choice.alpha else "rgb24",
        vf=",".join([*filters, f"{names.scaled}=checksum=0"]),
        noautoscale=None,
        **({} if extent.frames is None else {"frames:v": extent.frames}),
        **_EACH_OUTPUT,
    )
    if samples_descriptor is not None:
        # this output has to end with the other one, because ffmpeg decodes as long as any output takes frames
        end = "" if extent.frames is None else f"trim=end_frame={extent.frames},"
        samples = stream.output(
            f"pipe:{samples_descriptor}",
            format="image2pipe",
            vcodec="pgm",
            vf=f"{end}select='{_FIELD_SAMPLES}',format=gray",
            **_EACH_OUTPUT,
        )
        outputs = ffmpeg.merge_outputs(outputs, samples)
    # `level` marks errors in the log, and `debug_ts` reports frames in the order of the decoder's errors
    quiet = outputs.global_args("-nostdin", "-hide_banner", "-nostats", "-debug_ts", "-loglevel", "repeat+level+info")
    # times after a seek are those that the frames have without it
    timed = quiet if extent.start_seconds is None else quiet.global_args("-copyts", "-start_at_zero")
    return _compiled(timed, path)


def _seeking(extent: Extent) -> dict[str, Any]:
    """Options of the input that restrict it to an extent."""
    options: dict[str, Any] = {}
    if extent.start_seconds is not None:
        options["ss"] = f"{extent.start_seconds:.6f}"
        if not extent.is_exact:
            options["noaccurate_seek"] = None
    return options | ({"skip_frame": "nokey"} if extent.only_key_frames else {})


def encode_command(path: Path, width: int, height: int, frames_per_second: float) -> list[str]:
    """The command line that encodes raw frames from stdin; one thread and bitexact make the bytes reproducible."""
    raw: dict[str, Any] = {"format": "rawvideo", "pix_fmt": "rgb24", "s": f"{width}x{height}", "r": frames_per_second}
    output = ffmpeg.input("pipe:0", **raw).output(
        _PLACE_OF_FILE,
        vcodec="libx264",
        crf=_CONSTANT_RATE_FACTOR,
        pix_fmt="yuv420p",
        threads=1,
        fflags="+bitexact",
    )
    quiet = output.overwrite_output().global_args("-hide_banner", "-loglevel", "level+error")
    return _compiled(quiet, path)


def _compiled(stream: Any, path: Path) -> list[str]:
    """The arguments of a command whose file is `path`.

    ffmpeg-python accepts only names in UTF-8, which those of files need not be, so the name is put in afterwards.
    """
    arguments = [str(part) for part in stream.compile(cmd=ffmpeg_executable())]
    return [f"file:{path.absolute()}" if part == _PLACE_OF_FILE else part for part in arguments]
