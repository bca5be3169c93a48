"""Compare watchmove's cut detector with PySceneDetect's on real clips that are joined at known frames.

    OMP_NUM_THREADS=1 python tests/bench/cuts.py --data $WATCHMOVE_TEST_DATA

The first frames of clips are joined into one video, in order of their names. What any of the detectors reported in the
first 60 frames of a clip alone was checked by eye: none of it is a cut. A detected cut is right if it is at most one
frame away from a join that no other detected cut has claimed. Other clips are read one at a time, and every cut that is
detected in them is a false alarm. All detectors get the same decoded frames and keep their default settings. Processor
time is that of the detector, without decoding.

All clips joined (`--clips 164`), PySceneDetect 0.7.2:

| detector | precision | recall | F1 | ms per frame |
| --- | --: | --: | --: | --: |
| watchmove, cut_difference 8 | 0.980 (149 of 152) | 0.914 (149 of 163) | 0.946 | 1.0 |
| PySceneDetect ContentDetector | 0.965 (110 of 114) | 0.675 (110 of 163) | 0.794 | 1.1 |
| PySceneDetect AdaptiveDetector | 0.993 (141 of 142) | 0.865 (141 of 163) | 0.925 | 0.9 |

In 89 of the 163 joins both clips are from surveillance cameras, whose colours are similar.
"""

import argparse
import itertools
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table
from scenedetect.common import FrameTimecode
from scenedetect.detector import SceneDetector
from scenedetect.detectors import AdaptiveDetector, ContentDetector

from watchmove.pipeline.arrays import Image
from watchmove.pipeline.settings.extraction import ExtractionSettings
from watchmove.pipeline.video.encoder import write_video
from watchmove.pipeline.video.ffmpeg import VideoReader
from watchmove.pipeline.video.shots import CutDetector

FOLDERS = ("clips", "videos/davis_as_mp4")
TOLERANCE_FRAMES = 1
FRAMES_PER_SECOND = 25.0
"""Rate of the joined video. The default settings of all detectors count frames, so that it has no influence."""
JOINED_WIDTH, JOINED_HEIGHT = 320, 240

Detect = Callable[[int, Image], Sequence[int]]
"""Takes a frame's number and the frame, uint8 BGR (H, W, 3); returns the numbers of frames that begin a shot."""


def watchmove(cut_difference: float) -> Detect:
    """A new detector of watchmove, which takes RGB and reports a cut two frames after it."""
    detector, numbers = CutDetector(cut_difference), itertools.count()

    def detect_in(_: int, bgr: Image) -> list[int]:
        marks = zip(detector.add(np.ascontiguousarray(bgr[..., ::-1])), numbers, strict=False)
        return [number for mark, number in marks if mark.begins_shot]

    return detect_in


def pyscenedetect(detector: SceneDetector) -> Detect:
    """A new detector of PySceneDetect, which may report a cut some frames after it."""
    return lambda index, bgr: [
        int(cut.frame_num or 0) for cut in detector.process_frame(FrameTimecode(index, FRAMES_PER_SECOND), bgr)
    ]


class Detections(NamedTuple):
    """Frames at which one detector saw cuts in one video, the number of frames, and its processor seconds."""

    cuts: list[int]
    frames: int
    seconds: float


def detect(frames: Iterable[Image], detectors: Sequence[Detect]) -> list[Detections]:
    """Give each frame (H, W, 3) uint8 RGB to all detectors, one after the other."""
    cuts: list[list[int]] = [[] for _ in detectors]
    seconds, count = [0.0] * len(detectors), 0
    for index, image in enumerate(frames):
        bgr = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2BGR), np.uint8)
        for number, detector in enumerate(detectors):
            start = time.process_time()
            cuts[number] += detector(index, bgr)
            seconds[number] += time.process_time() - start
        count += 1
    return [Detections(found, count, spent) for found, spent in zip(cuts, seconds, strict=True)]


def right_cuts(cuts: Sequence[int], joins: Sequence[int]) -> int:
    """How many joins have a cut within the tolerance; each cut counts for one join at most."""
    left = sorted(cuts)
    right = 0
    for join in joins:
        near = next((cut for cut in left if abs(cut - join) <= TOLERANCE_FRAMES), None)
        if near is not None:
            left.remove(near)
            right += 1
    return right


def evenly(paths: Sequence[Path], count: int) -> list[Path]:
    """`count` of the paths, or all if there are fewer, spread evenly over them."""
    count = min(count, len(paths))
    return [paths[int(place)] for place in np.unique(np.linspace(0, len(paths) - 1, count).round())]


def clip_frames(path: Path, most: int) -> Iterator[Image]:
    """The first frames of a clip, at most `most`, uint8 RGB (H, W, 3), shorter side as extraction decodes it."""
    with closing(VideoReader(path, shorter_side_pixels=JOINED_HEIGHT, max_frames=most)) as reader:
        yield from reader


def cropped(image: Image) -> Image:
    """The middle of a frame, scaled so that it fills the size of the joined video."""
    height, width = image.shape[:2]
    scale = max(JOINED_WIDTH / width, JOINED_HEIGHT / height)
    size = (max(JOINED_WIDTH, round(width * scale)), max(JOINED_HEIGHT, round(height * scale)))
    scaled = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    top, left = (size[1] - JOINED_HEIGHT) // 2, (size[0] - JOINED_WIDTH) // 2
    return scaled[top : top + JOINED_HEIGHT, left : left + JOINED_WIDTH]


def join(paths: Sequence[Path], video: Path, most: int) -> list[int]:
    """Write the first frames of all clips into one video; returns the first frame of every clip but the first."""
    joins: list[int] = []

    def frames() -> Iterator[Image]:
        count = 0
        for path in paths:
            joins.append(count)
            for image in clip_frames(path, most):
                count += 1
                yield cropped(image)

    write_video(video, frames(), FRAMES_PER_SECOND)
    return joins[1:]


def table_of(names: Sequence[str], joined: list[Detections], alone: list[list[Detections]], joins: list[int]) -> Table:
    """One row for each detector."""
    table = Table("detector", "precision", "recall", "F1", "false alarms in clips alone", "processor ms per frame")
    for number, (name, found) in enumerate(zip(names, joined, strict=True)):
        right = right_cuts(found.cuts, joins)
        clips = [detections[number] for detections in alone]
        frames = found.frames + sum(clip.frames for clip in clips)
        seconds = found.seconds + sum(clip.seconds for clip in clips)
        table.add_row(
            name,
            f"{right / max(1, len(found.cuts)):.3f} ({right}/{len(found.cuts)})",
            f"{right / max(1, len(joins)):.3f} ({right}/{len(joins)})",
            f"{2 * right / max(1, len(found.cuts) + len(joins)):.3f}",
            f"{sum(len(clip.cuts) for clip in clips)} in {sum(clip.frames for clip in clips)} frames",
            f"{1000 * seconds / frames:.2f}",
        )
    return table


def main() -> None:
    """Join, detect, and print one row for each detector."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=os.environ.get("WATCHMOVE_TEST_DATA", ""), help="folder with `clips`")
    parser.add_argument("--clips", type=int, default=40, help="clips to join; half as many others are read alone")
    parser.add_argument("--frames", type=int, default=60, help="most frames of each clip")
    default = ExtractionSettings().cut_difference
    parser.add_argument("--cut-difference", type=float, nargs="+", default=[default], help="thresholds of watchmove")
    options = parser.parse_args()
    paths = [path for folder in FOLDERS for path in sorted(Path(options.data, folder).glob("*.mp4"))]
    if not options.data or len(paths) < 2:
        parser.error(f"{options.data}: no clips there; name a folder with `clips` by --data or WATCHMOVE_TEST_DATA")
    cv2.setNumThreads(1)
    names = [f"watchmove, cut_difference {difference:g}" for difference in options.cut_difference]
    names += ["PySceneDetect ContentDetector", "PySceneDetect AdaptiveDetector"]

    def new_detectors() -> list[Detect]:
        ours = [watchmove(difference) for difference in options.cut_difference]
        return [*ours, pyscenedetect(ContentDetector()), pyscenedetect(AdaptiveDetector())]

    joined_paths = evenly(paths, options.clips)
    alone_paths = evenly([path for path in paths if path not in joined_paths], options.clips // 2)
    with tempfile.TemporaryDirectory() as folder:
        video = Path(folder, "joined.mp4")
        joins = join(joined_paths, video, options.frames)
        with VideoReader(video, shorter_side_pixels=JOINED_HEIGHT) as reader:
            joined = detect(reader, new_detectors())
    alone = [detect(clip_frames(path, options.frames), new_detectors()) for path in alone_paths]
    Console(width=140).print(table_of(names, joined, alone, joins))


if __name__ == "__main__":
    main()
