"""Decoding by the GPU's own decoder (NVDEC) against ffmpeg's, with the readers of extraction."""

from collections.abc import Callable, Iterator
from itertools import cycle, islice
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from tests.bench.gpu_check.masks import drawn_shots
from tests.bench.gpu_check.rows import Figure, Row, Stopwatch, skipped
from tests.bench.gpu_check.setup import Setup
from watchmove.pipeline.settings.extraction import ExtractionSettings
from watchmove.pipeline.video.decoder import HardwareFailed
from watchmove.pipeline.video.encoder import write_video
from watchmove.pipeline.video.ffmpeg_commands import EVERYTHING, Extent
from watchmove.pipeline.video.frames import open_video

MEAN_DIFFERENCE = 0.1
"""Most mean difference of frames, in levels of 255. Set by hand: H.264 defines its pixels exactly."""
_STARTS = 4
"""Readers that are started one after another: as many as a sparse reading starts."""
_SETTINGS = ExtractionSettings()
Images = list[NDArray[np.uint8]]


def decoding_rows(setup: Setup) -> Iterator[tuple[str, Callable[[], Row]]]:
    """All frames of a video, and the start of readers, of which each has to start CUDA."""
    whole, start = "decoding, all frames", "decoding, key frames of four readers"
    yield whole, lambda: decoding_row(whole, _video(setup), EVERYTHING, 1)
    yield start, lambda: decoding_row(start, _video(setup), Extent(only_key_frames=True), _STARTS)


def decoding_row(what: str, path: Path, extent: Extent, readers: int) -> Row:
    """Compare frames, times and speed of both decoders; skipped where the GPU does not decode the video."""
    watches = (Stopwatch(), Stopwatch())
    try:
        ours, our_times = watches[0].of(lambda: _decoded(path, extent, readers, hardware=True))
    except HardwareFailed as error:
        return skipped(what, f"not available: {error}")
    theirs, times = watches[1].of(lambda: _decoded(path, extent, readers, hardware=False))
    apart = [float(np.abs(a.astype(np.float32) - b).mean()) for a, b in zip(ours, theirs, strict=False)]
    figures = (
        Figure("mean difference of a frame, levels", max(apart), MEAN_DIFFERENCE),
        Figure("frames too few or too many", abs(len(ours) - len(theirs)), 0),
        Figure("other times", float(our_times != times), 0),
    )
    device, cpu = (len(frames) / watch.seconds for frames, watch in zip((ours, theirs), watches, strict=True))
    return Row(what, figures, "frames", (device, cpu))


def _decoded(path: Path, extent: Extent, readers: int, *, hardware: bool) -> tuple[Images, list[float]]:
    """The frames that some readers give one after another, and their times."""
    settings = _SETTINGS.model_copy(update={"hardware_decoding": hardware})
    images: Images = []
    times: list[float] = []
    for _ in range(readers):
        with open_video(path, settings, max_frames=None, extent=extent) as reader:
            images += reader
        times += reader.log.frame_times_seconds
    return images, times


def _video(setup: Setup) -> Path:
    """A drawn shot, forth and back, at the size of camera videos; written once."""
    path = setup.folder / "decoded.mp4"
    if not path.exists():
        frames = drawn_shots(setup.sizes)[0].frames
        size = (setup.sizes.decoded_width, setup.sizes.decoded_height)
        forth = [np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_CUBIC), np.uint8) for frame in frames]
        write_video(path, islice(cycle([*forth, *forth[-2:0:-1]]), setup.sizes.decoded_frames), 25.0)
    return path
