"""Writing of video files with ffmpeg 5.1 or later."""

import subprocess
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import numpy as np

from watchmove.pipeline.arrays import Image
from watchmove.pipeline.errors import InvalidInput, Unavailable
from watchmove.pipeline.video.decoder_log import DecoderLog
from watchmove.pipeline.video.ffmpeg_commands import encode_command, not_started


def write_video(path: Path, frames: Iterable[Image], frames_per_second: float) -> None:
    """Write frames, uint8 RGB (H, W, 3) of one even size, as nearly lossless H.264 (crf 12, yuv420p).

    The same frames and the same ffmpeg give the same bytes.

    Raises:
        InvalidInput: there is no frame, or the size is odd or changes.
        Unavailable: ffmpeg fails or cannot be started.
    """
    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        raise InvalidInput(f"{path}: no frames to write; give at least one")
    height, width = first.shape[:2]
    if height % 2 or width % 2:
        raise InvalidInput(f"{path}: {width}x{height} frames; yuv420p video needs an even width and height")
    command = encode_command(path, width, height, frames_per_second)
    try:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    except OSError as error:
        raise not_started(command[0], error.strerror) from error
    assert process.stdin is not None  # opened as a pipe above
    assert process.stderr is not None  # opened as a pipe above
    log = DecoderLog(process.stderr)
    try:
        process.stdin.write(np.ascontiguousarray(first).tobytes())
        for frame in frames:
            if frame.shape != first.shape:
                raise InvalidInput(f"{path}: a frame is {frame.shape}, the first was {first.shape}; give one size")
            process.stdin.write(np.ascontiguousarray(frame).tobytes())
    except BrokenPipeError:
        pass  # the encoder ended early; its exit status and log are read below
    except BaseException:
        # an interrupt, or an error of the frames themselves: the encoder would wait for more input forever
        process.kill()
        raise
    finally:
        with suppress(BrokenPipeError):  # it writes what is still in its buffer
            process.stdin.close()
        status = process.wait()
        log.join()
    if status:
        raise Unavailable(f"{path}: ffmpeg could not write it ({log.failure_message()}); check the folder and the disk")
