"""Video files in and out, through ffmpeg as a child process that may only touch local files.

One pass, no probe: the decoder writes portable pixmaps (a size line, then raw rgb24), so each frame says its own size,
and its log on stderr says the time of each frame and, where nothing came, why. Needs ffmpeg 5.1 or later.
"""

import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import ffmpeg
import imageio_ffmpeg
import numpy as np

from watchmove.pipeline.arrays import Image
from watchmove.pipeline.errors import InvalidInput, Unavailable, UnreadableVideo
from watchmove.pipeline.video.decoder_log import DecoderLog

# Containers of pictures or sound. Playlists (hls, concat, dash) are left out: they name other files to be opened.
_CONTAINERS = (
    "mov,mp4,matroska,webm,avi,mpegts,mpeg,mpegvideo,m4v,h264,hevc,ivf,ogg,flv,asf,dv,mxf,rm,gif,apng,mjpeg,yuv4mpegpipe,"
    "nut,mp3,wav,aac,flac,mpjpeg"
)
LONGEST_TO_SHORTEST = 4
_COMBED = 1.3
"""How much more the rows of a frame must disagree than those of its fields; ffmpeg's 1.04 is met by sharp patterns."""


def ffmpeg_executable() -> str:
    """Path of the system's ffmpeg, else of the one that the imageio-ffmpeg wheel carries."""
    return shutil.which("ffmpeg") or str(imageio_ffmpeg.get_ffmpeg_exe())


def _scaling(shorter_side_pixels: int) -> dict[str, str]:
    """The scale filter's arguments: shorter side as asked, square pixels, longer side bounded for any source."""
    side, limit = shorter_side_pixels, shorter_side_pixels * LONGEST_TO_SHORTEST
    return {
        "w": f"if(gte(iw*sar,ih),min({limit},round({side}*iw*sar/ih)),{side})",
        "h": f"if(gte(iw*sar,ih),{side},min({limit},round({side}*ih/(iw*sar))))",
        "flags": "bicubic+accurate_rnd",
    }


def _decode_command(path: Path, shorter_side_pixels: int, max_frames: int | None, max_source_pixels: int) -> list[str]:
    source = ffmpeg.input(
        f"file:{path.absolute()}",
        protocol_whitelist="file,pipe",
        format_whitelist=_CONTAINERS,
        max_pixels=max_source_pixels,
        threads=1,
    )
    # whether a frame holds two fields is seen in its pixels, as streams often say nothing or the wrong thing
    told = source.video.filter("idet", intl_thres=_COMBED).filter("showinfo", checksum=0)
    frames = told.filter("yadif", deint="interlaced").filter("scale", **_scaling(shorter_side_pixels))
    # without a pixel format, pictures of more than eight bits become pixmaps of sixteen
    picture = {"format": "image2pipe", "vcodec": "ppm", "pix_fmt": "rgb24", "fps_mode": "passthrough", "threads": 1}
    output = frames.output("pipe:1", **picture, **({} if max_frames is None else {"vframes": max_frames}))
    quiet = output.global_args("-nostdin", "-hide_banner", "-nostats", "-filter_complex_threads", "1")
    return [str(part) for part in quiet.compile(cmd=ffmpeg_executable())]


def _limit_memory(pid: int, mebibytes: int) -> None:
    """Bound the child's address space, where the platform lets a parent do so; elsewhere the timeout alone protects."""
    if sys.platform == "linux":
        import resource

        try:
            resource.prlimit(pid, resource.RLIMIT_AS, (mebibytes << 20, mebibytes << 20))
        except ProcessLookupError:
            return  # it has already ended, and its log will say why


class VideoReader:
    """Frames of one video file, decoded as they are asked for; a context manager, iterated once.

    Yields uint8 RGB (H, W, 3) at working size: shorter side `shorter_side_pixels`, rotation and pixel aspect honoured;
    all of the first one's size, also where the stream changes its own. A damaged stream yields what decodes. `log`
    holds the time of each frame after the reader is closed. With `max_frames` None all frames are read, and
    `timeout_seconds` is the longest wait for each of them, else for all together.

    Raises UnreadableVideo: `missing-file` and `empty-file` when made; `decoder-timeout` at any frame; `not-a-video`,
    `truncated`, `no-picture-stream`, `absurd-size` (also: longer side over 4 times the shorter), `decoder-memory` or
    `decoder-failed` where no frame decodes. Raises Unavailable where ffmpeg cannot be started.
    """

    def __init__(
        self,
        path: Path,
        *,
        shorter_side_pixels: int = 240,
        max_frames: int | None = 20_000,
        max_source_pixels: int = 36_000_000,
        timeout_seconds: float = 120.0,
        memory_mebibytes: int = 2048,
    ) -> None:
        if not path.is_file():
            raise UnreadableVideo("missing-file", f"{path}: no such file")
        if path.stat().st_size == 0:
            raise UnreadableVideo("empty-file", f"{path}: the file has no bytes")
        self._path = path
        self._timeout_seconds = timeout_seconds
        self._waited_seconds = 0.0
        self._waits_anew = max_frames is None
        self._longest_side = shorter_side_pixels * LONGEST_TO_SHORTEST
        command = _decode_command(path, shorter_side_pixels, max_frames, max_source_pixels)
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
        except OSError as error:
            raise Unavailable(f"{command[0]} could not be started ({error.strerror}); install ffmpeg 5.1+") from error
        _limit_memory(self._process.pid, memory_mebibytes)
        assert self._process.stdout is not None  # asked for as a pipe
        assert self._process.stderr is not None  # likewise
        self._pixels = self._process.stdout
        self.log = DecoderLog(self._process.stderr)

    def __enter__(self) -> "VideoReader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def exit_status(self) -> int | None:
        """The decoder's exit status, or None while it runs."""
        return self._process.poll()

    def close(self) -> None:
        """End the decoder, if it still runs, and wait until its log is read to the end."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self.log.join()
        self._pixels.close()

    def __iter__(self) -> Iterator[Image]:
        count = 0
        while (image := self._next_image()) is not None:
            if max(image.shape[:2]) >= self._longest_side:
                raise UnreadableVideo("absurd-size", f"{self._path}: longer side over {LONGEST_TO_SHORTEST} x shorter")
            count += 1
            yield image
        if count == 0:
            status = self._process.wait()
            self.log.join()
            raise UnreadableVideo(self.log.failure_reason(status), f"{self._path}: {self.log.last_line()}")

    def _next_image(self) -> Image | None:
        """The next frame, or None where the stream ends, cleanly or in the middle of one."""
        if self._waits_anew:
            self._waited_seconds = 0.0
        header = b""
        while header.count(b"\n") < 3:
            byte = self._read(1)
            if not byte:
                return None
            header += byte
        width, height = (int(word) for word in header.split()[1:3])
        data = self._read(width * height * 3)
        if len(data) < width * height * 3:
            return None
        return np.frombuffer(data, np.uint8).reshape(height, width, 3)

    def _read(self, n_bytes: int) -> bytes:
        """`n_bytes` from the decoder, fewer at the end. Only time spent waiting counts against the time limit."""
        parts = bytearray()
        descriptor = self._pixels.fileno()
        while len(parts) < n_bytes:
            start = time.monotonic()
            remaining = max(0.0, self._timeout_seconds - self._waited_seconds)
            ready, _, _ = select.select([descriptor], [], [], remaining)
            self._waited_seconds += time.monotonic() - start
            if not ready:
                self.close()
                detail = f"{self._path}: no end after {self._timeout_seconds:g} s; raise decoder_timeout_seconds"
                raise UnreadableVideo("decoder-timeout", detail)
            part = os.read(descriptor, n_bytes - len(parts))
            if not part:
                break
            parts += part
        return bytes(parts)


def _encode_command(path: Path, width: int, height: int, frames_per_second: float) -> list[str]:
    raw: dict[str, Any] = {"format": "rawvideo", "pix_fmt": "rgb24", "s": f"{width}x{height}", "r": frames_per_second}
    output = ffmpeg.input("pipe:0", **raw).output(
        f"file:{path.absolute()}", vcodec="libx264", crf=12, pix_fmt="yuv420p", threads=1, fflags="+bitexact"
    )
    quiet = output.overwrite_output().global_args("-hide_banner", "-loglevel", "error")
    return [str(part) for part in quiet.compile(cmd=ffmpeg_executable())]


def write_video(path: Path, frames: Iterable[Image], frames_per_second: float) -> None:
    """Write frames, uint8 RGB (H, W, 3) of one even size, as nearly lossless H.264 (crf 12, yuv420p).

    Same frames, same bytes. Raises InvalidInput for no frame, an odd or a changing size, Unavailable where ffmpeg
    fails.
    """
    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        raise InvalidInput(f"{path}: no frames to write; give at least one")
    height, width = first.shape[:2]
    if height % 2 or width % 2:
        raise InvalidInput(f"{path}: {width}x{height} frames; yuv420p video needs an even width and height")
    command = _encode_command(path, width, height, frames_per_second)
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stdin is not None  # asked for as a pipe
    assert process.stderr is not None  # likewise
    log = DecoderLog(process.stderr)
    try:
        process.stdin.write(np.ascontiguousarray(first).tobytes())
        for frame in frames:
            if frame.shape != first.shape:
                raise InvalidInput(f"{path}: a frame is {frame.shape}, the first was {first.shape}; give one size")
            process.stdin.write(np.ascontiguousarray(frame).tobytes())
        process.stdin.close()
    except BrokenPipeError:
        pass  # the encoder ended early; its exit status and log, read below, say why
    except BaseException:
        process.kill()
        raise
    finally:
        status = process.wait()
        log.join()
    if status:
        raise Unavailable(f"{path}: ffmpeg could not write it ({log.last_line()}); check the folder and the disk")
