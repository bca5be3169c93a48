"""One ffmpeg process that decodes a video: its pixels, its log, and its samples of fields."""

import contextlib
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from watchmove.pipeline.errors import Unavailable
from watchmove.pipeline.video.decoder_log import LOG_ENVIRONMENT, DecoderLog
from watchmove.pipeline.video.ffmpeg_commands import DecodeChoice, Extent, FilterNames, decode_command
from watchmove.pipeline.video.fields import FieldDetector

_PIPE_BYTES = 1 << 20
"""Size of the pipe of pixels: the largest that Linux permits by default."""


@dataclass(frozen=True)
class DecoderLimits:
    """Bounds on what a decoder gives and takes.

    shorter_side_pixels: of the frames it gives; max_source_pixels: of a frame in the file; memory_mebibytes: address
    space of the process.
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
        names = FilterNames()
        # an interlaced video is known to be one, and key frames do not follow each other: no samples are needed
        samples, samples_end = (None, None) if choice.fields or extent.only_key_frames else os.pipe()
        command = decode_command(
            path,
            choice,
            extent,
            names,
            shorter_side_pixels=limits.shorter_side_pixels,
            max_source_pixels=limits.max_source_pixels,
            samples_descriptor=samples_end,
        )
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=_environment(),
                pass_fds=() if samples_end is None else (samples_end,),
            )
        except OSError as error:
            if samples is not None:
                os.close(samples)
            raise Unavailable(
                f"{command[0]} could not be started ({error.strerror}); install ffmpeg 5.1 or later"
            ) from error
        finally:
            if samples_end is not None:
                os.close(samples_end)
        _enlarge_pipe(self._process.stdout)
        _limit_memory(self._process.pid, limits.memory_mebibytes)
        assert self._process.stdout is not None  # opened as a pipe above
        assert self._process.stderr is not None  # opened as a pipe above
        self.pixels = self._process.stdout
        self.detector = None if samples is None else FieldDetector(os.fdopen(samples, "rb"))
        self.log = DecoderLog(self._process.stderr, names, interlaced=bool(choice.fields))

    @property
    def exit_status(self) -> int | None:
        """The exit status of the process, None while it runs."""
        return self._process.poll()

    def close(self) -> None:
        """End the process if it still runs, and wait until its log has been read completely."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self.log.join()
        if self.detector is not None:
            self.detector.join()
        self.pixels.close()


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


def _limit_memory(pid: int, mebibytes: int) -> None:
    """Bound the address space of the process on Linux; on other platforms only the timeout protects."""
    if sys.platform == "linux":
        import resource

        try:
            # set from outside, because code that runs before exec (preexec_fn) is not safe with threads
            resource.prlimit(pid, resource.RLIMIT_AS, (mebibytes << 20, mebibytes << 20))
        except ProcessLookupError:
            return  # the process has already ended, and its log contains the reason
