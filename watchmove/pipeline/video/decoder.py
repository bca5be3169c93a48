"""One ffmpeg process that decodes a video: its pixels, its log, and its samples of fields."""

import contextlib
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from watchmove.pipeline.errors import Unavailable
from watchmove.pipeline.video.decoder_log import LOG_ENVIRONMENT, DecoderLog
from watchmove.pipeline.video.ffmpeg_commands import (
    DecodeChoice,
    Extent,
    Fields,
    FilterNames,
    decode_command,
    not_started,
)
from watchmove.pipeline.video.fields import FieldDetector

_PIPE_BYTES = 1 << 20
"""Size of the pipe of pixels: the largest that Linux permits by default."""


class InterlacedVideo(Exception):
    """A video is interlaced, which its first frames did not show; it must be read again, with these `fields`."""

    def __init__(self, fields: Fields) -> None:
        super().__init__(f"interlaced in {fields}")
        self.fields = fields


class HardwareFailed(Exception):
    """The GPU does not decode a video, or an error was reported meanwhile; it must be read again without the GPU.

    The message is the first error of the log. Whether the file is damaged is for ffmpeg's own decoders to say.
    """


@dataclass(frozen=True)
class DecoderLimits:
    """Bounds on what a decoder gives and takes.

    shorter_side_pixels: of the frames it gives; max_source_pixels: of a frame in the file; memory_mebibytes: address
    space of the process, or its data alone where a GPU decodes.
    """

    shorter_side_pixels: int
    max_source_pixels: int
    memory_mebibytes: int


class Decoder:
    """A running ffmpeg process.

    pixels: the pipe with the frames; log: its log, which is read in a thread; detector: judges whether the video is
    interlaced, None where the choice says that it is, and where key frames only are decoded. Raises Unavailable where
    ffmpeg cannot be started.
    """

    def __init__(self, path: Path, choice: DecodeChoice, extent: Extent, limits: DecoderLimits) -> None:
        names, self._is_hardware = FilterNames(), choice.hardware
        # an interlaced video is known to be one, and key frames do not follow each other: no samples are needed
        samples, samples_end = (None, None) if choice.fields or extent.only_key_frames else os.pipe()
        try:
            command = decode_command(
                path,
                choice,
                extent,
                names,
                shorter_side_pixels=limits.shorter_side_pixels,
                max_source_pixels=limits.max_source_pixels,
                samples_descriptor=samples_end,
            )
            with _unlimited_address_space() if choice.hardware else contextlib.nullcontext():
                self._process = _started(command, () if samples_end is None else (samples_end,))
        except (Unavailable, RuntimeError):
            if samples is not None:
                os.close(samples)
            raise
        finally:
            if samples_end is not None:
                os.close(samples_end)
        _enlarge_pipe(self._process.stdout)
        _limit_memory(self._process.pid, limits.memory_mebibytes, only_data=choice.hardware)
        assert self._process.stdout is not None  # opened as a pipe above
        assert self._process.stderr is not None  # opened as a pipe above
        self.pixels = self._process.stdout
        self.detector = None if samples is None else FieldDetector(os.fdopen(samples, "rb"))
        self.log = DecoderLog(self._process.stderr, names, interlaced=bool(choice.fields))

    @property
    def exit_status(self) -> int | None:
        """The exit status of the process, None while it runs."""
        return self._process.poll()

    def judge_hardware(self, index: int | None = None) -> None:
        """Raise HardwareFailed where a GPU decodes and an error was reported before frame `index`, which was read.

        None stands for the end of the stream: it is an error too if there was no frame.
        """
        if not self._is_hardware:
            return
        if index is None:
            self.close()  # the log is complete
        reports, facts = self.log.reports, None if index is None else self.log.frame(index)
        if reports is None or not reports.frames:
            raise HardwareFailed(self.log.failure_message())
        seconds = math.inf if facts is None else facts.time_seconds
        if reports.has_errors(seconds) or (index is not None and self.log.is_damaged(index)):
            raise HardwareFailed(self.log.failure_message())

    def close(self) -> None:
        """End the process if it still runs, and wait until its log has been read completely."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self.log.join()
        if self.detector is not None:
            self.detector.join()
        self.pixels.close()


def _started(command: list[str], descriptors: tuple[int, ...]) -> subprocess.Popen[bytes]:
    """The process of a command, which inherits some descriptors. Raises Unavailable where it cannot be started."""
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=_environment(),
            pass_fds=descriptors,
        )
    except OSError as error:
        raise not_started(command[0], error.strerror) from error


def _environment() -> dict[str, str]:
    """The environment of ffmpeg, in which nothing keeps it from writing the colours of its log."""
    # NO_COLOR and all other variables of colours are removed
    return {name: value for name, value in os.environ.items() if "COLOR" not in name} | LOG_ENVIRONMENT


def _enlarge_pipe(pipe: IO[bytes] | None) -> None:
    """Let a pipe hold a frame or more on Linux, so that the two processes take turns less often."""
    if sys.platform == "linux" and pipe is not None:
        import fcntl

        with contextlib.suppress(OSError):  # users can have a lower limit
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)


@contextlib.contextmanager
def _unlimited_address_space() -> Iterator[None]:
    """Let child processes that start in the block have any address space: CUDA reserves more than there is memory."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _limit_memory(pid: int, mebibytes: int, *, only_data: bool) -> None:
    """Bound the address space of the process, or its data, on Linux; on other platforms only the timeout protects.

    Data is what can be written and is not shared, which address space that CUDA only reserves is not.
    """
    if sys.platform == "linux":
        import resource

        kind = resource.RLIMIT_DATA if only_data else resource.RLIMIT_AS
        try:
            # set from outside, because code that runs before exec (preexec_fn) is not safe with threads
            resource.prlimit(pid, kind, (mebibytes << 20, mebibytes << 20))
        except ProcessLookupError:
            return  # the process has already ended, and its log contains the reason
