"""Reading and writing of video files with ffmpeg 5.1 or later, a child process that can open local files only.

A video is read in one pass and not probed first: the decoder writes portable pixmaps (a header with the size, then raw
rgb24), so that every frame carries its own size. Its log on stderr carries the time of each frame and the reason where
no frame could be decoded.
"""

import os
import select
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType

import numpy as np

from watchmove.pipeline.arrays import Image
from watchmove.pipeline.errors import InvalidInput, Unavailable, UnreadableVideo
from watchmove.pipeline.video.decoder_log import DecoderLog
from watchmove.pipeline.video.ffmpeg_commands import LONGEST_TO_SHORTEST, decode_command, encode_command


def _limit_memory(pid: int, mebibytes: int) -> None:
    """Bound the address space of the child on Linux; on other platforms only the timeout protects."""
    if sys.platform == "linux":
        import resource

        try:
            # set from outside, because code that runs before exec (preexec_fn) is not safe with threads
            resource.prlimit(pid, resource.RLIMIT_AS, (mebibytes << 20, mebibytes << 20))
        except ProcessLookupError:
            return  # the child has already ended, and its log contains the reason


class VideoReader:
    """The frames of one video file, decoded on demand; a context manager that can be iterated once.

    Yields uint8 RGB (H, W, 3) with the shorter side `shorter_side_pixels`; rotation and pixel aspect ratio are applied.
    All frames have the size of the first, even if the size changes within the stream. Of a damaged stream, the frames
    that decode are yielded. `log` has the time of every frame once the reader is closed. If `max_frames` is None, all
    frames are read and `timeout_seconds` limits the wait for each frame; otherwise it limits the sum of all waits.

    Raises:
        UnreadableVideo: with reason `missing-file` or `empty-file` on creation; `decoder-timeout` at any frame;
            `absurd-size` also where the longer side is at least 4 times the shorter; and, if no frame decodes,
            `not-a-video`, `truncated`, `no-picture-stream`, `absurd-size`, `decoder-memory` or `decoder-failed`.
        Unavailable: ffmpeg cannot be started.
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
        self._timeout_per_frame = max_frames is None
        self._longest_side = shorter_side_pixels * LONGEST_TO_SHORTEST
        command = decode_command(path, shorter_side_pixels, max_frames, max_source_pixels)
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
        except OSError as error:
            raise Unavailable(
                f"{command[0]} could not be started ({error.strerror}); install ffmpeg 5.1 or later"
            ) from error
        _limit_memory(self._process.pid, memory_mebibytes)
        assert self._process.stdout is not None  # opened as a pipe above
        assert self._process.stderr is not None  # opened as a pipe above
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
        """The exit status of the decoder, None while it runs."""
        return self._process.poll()

    def close(self) -> None:
        """End the decoder if it still runs, and wait until its log has been read completely."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self.log.join()
        self._pixels.close()

    def __iter__(self) -> Iterator[Image]:
        count = 0
        while (image := self._next_image()) is not None:
            # the scale filter bounds the longer side at this length, so a frame that reaches it was at least as long
            if max(image.shape[:2]) >= self._longest_side:
                raise UnreadableVideo("absurd-size", f"{self._path}: longer side over {LONGEST_TO_SHORTEST} x shorter")
            count += 1
            yield image
        # later failures are no error: what a damaged stream still holds has been yielded
        if count == 0:
            status = self._process.wait()
            self.log.join()
            raise UnreadableVideo(self.log.failure_reason(status), f"{self._path}: {self.log.last_line()}")

    def _next_image(self) -> Image | None:
        """The next frame, (H, W, 3) uint8 RGB, or None at the end of the stream; an incomplete frame ends it."""
        if self._timeout_per_frame:
            self._waited_seconds = 0.0
        header = b""
        while header.count(b"\n") < 3:  # P6, then width and height, then the largest value, each on its own line
            # byte by byte, because the header has no fixed length and what is read beyond it cannot be put back
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
        """Read `n_bytes` from the decoder, or fewer at the end of the stream.

        Only time spent waiting for the decoder counts towards the timeout, not the time in which the caller works.
        """
        parts = bytearray()
        # the bare descriptor, because select does not see what the buffer of the pipe object holds
        descriptor = self._pixels.fileno()
        while len(parts) < n_bytes:
            start = time.monotonic()
            remaining = max(0.0, self._timeout_seconds - self._waited_seconds)
            ready, _, _ = select.select([descriptor], [], [], remaining)
            self._waited_seconds += time.monotonic() - start
            if not ready:
                self.close()
                detail = (
                    f"{self._path}: the decoder took over {self._timeout_seconds:g} s; raise decoder_timeout_seconds"
                )
                raise UnreadableVideo("decoder-timeout", detail)
            part = os.read(descriptor, n_bytes - len(parts))
            if not part:
                break
            parts += part
        return bytes(parts)


def write_video(path: Path, frames: Iterable[Image], frames_per_second: float) -> None:
    """Write frames, uint8 RGB (H, W, 3) of one even size, as nearly lossless H.264 (crf 12, yuv420p).

    The same frames and the same ffmpeg give the same bytes.

    Raises:
        InvalidInput: there is no frame, or the size is odd or changes.
        Unavailable: ffmpeg fails.
    """
    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        raise InvalidInput(f"{path}: no frames to write; give at least one")
    height, width = first.shape[:2]
    if height % 2 or width % 2:
        raise InvalidInput(f"{path}: {width}x{height} frames; yuv420p video needs an even width and height")
    command = encode_command(path, width, height, frames_per_second)
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stdin is not None  # opened as a pipe above
    assert process.stderr is not None  # opened as a pipe above
    log = DecoderLog(process.stderr)
    try:
        process.stdin.write(np.ascontiguousarray(first).tobytes())
        for frame in frames:
            if frame.shape != first.shape:
                raise InvalidInput(f"{path}: a frame is {frame.shape}, the first was {first.shape}; give one size")
            process.stdin.write(np.ascontiguousarray(frame).tobytes())
        process.stdin.close()
    except BrokenPipeError:
        pass  # the encoder ended early; its exit status and log are read below
    except BaseException:
        # an interrupt, or an error of the frames themselves: the encoder would wait for more input forever
        process.kill()
        raise
    finally:
        status = process.wait()
        log.join()
    if status:
        raise Unavailable(f"{path}: ffmpeg could not write it ({log.last_line()}); check the folder and the disk")
