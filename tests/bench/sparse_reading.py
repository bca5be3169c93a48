"""Processor time of reading videos, sparsely and completely, as a multiple of decoding every frame to nothing.

    OMP_NUM_THREADS=1 python tests/bench/sparse_reading.py --data $WATCHMOVE_TEST_DATA [--seconds 37]

The processor time is that of this process and of ffmpeg. With --seconds, each video is repeated to that length first,
without encoding it again. Files that ffmpeg cannot read are passed over.
"""

import argparse
import os
import resource
import subprocess
import tempfile
from itertools import pairwise
from pathlib import Path

import cv2
from rich.console import Console
from rich.table import Table

from watchmove.pipeline.errors import UnreadableVideo
from watchmove.pipeline.extraction.complete_reading import Reading, ReadingLimits, read_completely
from watchmove.pipeline.extraction.sparse_reading import NotAsSurveyed, read_sparsely
from watchmove.pipeline.extraction.stretches import plan_stretches
from watchmove.pipeline.extraction.survey import survey_video
from watchmove.pipeline.settings.extraction import ExtractionSettings
from watchmove.pipeline.video.decoder import InterlacedVideo
from watchmove.pipeline.video.ffmpeg_commands import Fields, ffmpeg_executable

SETTINGS = ExtractionSettings()


def processor_seconds() -> float:
    """Processor time of this process and of those that it has started."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def decode(path: Path) -> None:
    """Decode every frame to nothing, in one thread."""
    words = ["-threads", "1", "-i", str(path), "-an", "-sn", "-dn", "-fps_mode", "passthrough", "-f", "null", "-"]
    subprocess.run([ffmpeg_executable(), "-nostdin", *words], check=True, capture_output=True)


def complete(path: Path, fields: Fields = "") -> Reading:
    """Read every frame of a video."""
    reading = Reading()
    for _ in read_completely(path, SETTINGS, reading, ReadingLimits(None, fields)):
        pass
    return reading


def sparse(path: Path, fields: Fields = "") -> Reading | None:
    """Read a video sparsely; None where it has to be read completely."""
    survey = survey_video(path, SETTINGS, fields=fields)
    stretches = plan_stretches(survey, SETTINGS) if survey is not None else None
    if survey is None or stretches is None:
        return None
    reading = Reading()
    try:
        for _ in read_sparsely(path, survey, stretches, SETTINGS, reading, ReadingLimits(None, fields)):
            pass
    except NotAsSurveyed:
        return None
    return reading


def repeated(path: Path, seconds: float, folder: Path) -> Path:
    """A copy of a video that is repeated to a length."""
    longer = folder / f"{path.stem}.mkv"
    words = ["-v", "error", "-y", "-stream_loop", "-1", "-i", str(path), "-map", "0:v:0", "-t", str(seconds)]
    subprocess.run([ffmpeg_executable(), "-nostdin", *words, "-c", "copy", str(longer)], check=True)
    return longer


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=os.environ.get("WATCHMOVE_TEST_DATA", ""), help="folder of videos")
    parser.add_argument("--seconds", type=float, default=0.0, help="length to which videos are repeated")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    table = Table("video", "frames", "decoding, s", "complete", "sparse", "windows", title="processor time")
    sums = [0.0, 0.0, 0.0]
    with tempfile.TemporaryDirectory() as name:
        for path in sorted(Path(options.data).rglob("*")):
            if path.suffix.lower() not in (".mp4", ".mkv", ".avi", ".webm", ".mov"):
                continue
            video = repeated(path, options.seconds, Path(name)) if options.seconds else path
            times = [processor_seconds()]
            try:
                decode(video)
                times.append(processor_seconds())
                whole = complete(video)
                times.append(processor_seconds())
                part = sparse(video)
                if part is None:
                    complete(video)
                times.append(processor_seconds())
            except (UnreadableVideo, InterlacedVideo, subprocess.CalledProcessError) as error:
                table.add_row(path.name, type(error).__name__)
                continue
            spent = [after - before for before, after in pairwise(times)]
            sums = [total + seconds for total, seconds in zip(sums, spent, strict=True)]
            windows = f"{whole.windows}, {part.windows if part else 'read completely'}"
            ratios = [f"{seconds / spent[0]:.2f}" for seconds in spent[1:]]
            table.add_row(path.name, str(whole.frames_seen), f"{spent[0]:.2f}", *ratios, windows)
    table.add_row("all", "", f"{sums[0]:.1f}", *(f"{seconds / sums[0]:.2f}" for seconds in sums[1:]))
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
