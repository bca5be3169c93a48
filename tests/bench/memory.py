"""Measure the peak memory of `segment` and of extraction on a long video.

    python tests/bench/memory.py [--seconds N]

A video of a square in front of a panned background, 640 pixels wide, is processed by each of both in its own process.
Printed are the peak resident memory of each process and of its largest child, the decoder.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from watchmove.pipeline.video.encoder import write_video
from watchmove.pipeline.world.video import moving_square

_EXTRACT = (
    "import resource, sys; from pathlib import Path;"
    "from watchmove.pipeline.extraction.sampled_video import extract_video;"
    "from watchmove.pipeline.settings.extraction import ExtractionSettings;"
    "print(len(extract_video(Path(sys.argv[1]), ExtractionSettings()).frames), 'frames examined');"
)
_SEGMENT = (
    "import resource, sys; from pathlib import Path; from watchmove.service.masks.segment import segment;"
    "from watchmove.pipeline.settings.extraction import ExtractionSettings;"
    "print(segment(Path(sys.argv[1]), Path(sys.argv[2]), ExtractionSettings()), 'frames segmented');"
)
_PEAK = (
    "print([resource.getrusage(who).ru_maxrss // 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)],"
    "'MiB, the process and its decoder')"
)


def frames(count: int) -> Iterator[NDArray[np.uint8]]:
    """`count` frames of a clip of 24 frames that is played forward and backward."""
    clip = moving_square((3.0, 1.0), 24, width=640, height=360, camera_step_pixels=(-3.0, 1.0)).frames
    there_and_back = [*clip, *clip[-2:0:-1]]
    for index in range(count):
        yield there_and_back[index % len(there_and_back)]


def main() -> None:
    """Print both peaks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=180, help="length of the video, at 30 frames a second")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "video.mp4"
        write_video(path, frames(30 * arguments.seconds), 30)
        for script in (_EXTRACT, _SEGMENT):
            command = [sys.executable, "-c", script + _PEAK, str(path), str(Path(folder) / "masks")]
            subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
