"""Measure how many frames of dissolves are named as fading, and how many other frames are.

    python tests/bench/fades.py --davis DIR

Every sequence of a folder in DAVIS's layout dissolves into the next one, and into the seventh after it, while both
continue. The figures count the middle frames, in which the second sequence has a share between a quarter and three
quarters; the frames of one sequence alone, up to 24 on either side of the dissolve; and those of undisturbed sequences.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from watchmove.pipeline.video.fades import fade_thumbnail, fading_frames

LENGTHS = (8, 16, 24, 36)
"""Lengths of the dissolves, in frames."""
NEXT = (1, 7)
"""Which of the following sequences a sequence dissolves into."""
MOST_FRAMES_BESIDE = 24
"""Most frames of one sequence alone on either side of a dissolve."""
LEAST_FRAMES_BESIDE = 6
"""Fewest such frames: shorter sequences are left out."""

Clip = NDArray[np.uint8]


def read_clip(folder: Path) -> Clip:
    """Thumbnails of the frames of a sequence, (T, h, w, 3)."""
    return np.stack([fade_thumbnail(np.asarray(cv2.imread(str(path)))) for path in sorted(folder.glob("*.jpg"))])


def dissolved(first: Clip, second: Clip, length: int) -> tuple[Clip, NDArray[np.float64]] | None:
    """A dissolve of the end of one clip into the start of another, and the share of the second in each frame."""
    beside = min(MOST_FRAMES_BESIDE, len(first) - length, len(second) - length)
    if beside < LEAST_FRAMES_BESIDE:
        return None
    share = np.concatenate([np.zeros(beside), np.arange(1, length + 1) / (length + 1), np.ones(beside)])
    before, after = first[-(beside + length) :], second[: beside + length]
    mixed = np.concatenate([before, np.repeat(before[-1:], beside, 0)]) * (1 - share)[:, None, None, None]
    mixed += np.concatenate([np.repeat(after[:1], beside, 0), after]) * share[:, None, None, None]
    return np.rint(mixed).astype(np.uint8), share


def named(clips: list[Clip], length: int) -> Iterator[tuple[float, float]]:
    """For each dissolve, the shares of its middle frames and of the frames beside it that are named."""
    for index, clip in enumerate(clips):
        for step in NEXT:
            made = dissolved(clip, clips[(index + step) % len(clips)], length)
            if made is not None:
                fading, share = fading_frames(list(made[0])), made[1]
                yield fading[np.abs(share - 0.5) < 0.25].mean(), fading[(share == 0) | (share == 1)].mean()


def main() -> None:
    """Print the shares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--davis", type=Path, required=True, help="folder with JPEGImages/")
    clips = [read_clip(folder) for folder in sorted((parser.parse_args().davis / "JPEGImages").iterdir())]
    for length in LENGTHS:
        middle, beside = np.mean(list(named(clips, length)), axis=0)
        print(f"dissolves of {length} frames: {middle:.0%} of their middle frames named, {beside:.0%} of those beside")
    wrong = sum(int(fading_frames(list(clip)).sum()) for clip in clips)
    print(f"undisturbed sequences: {wrong} of {sum(map(len, clips))} frames named")


if __name__ == "__main__":
    main()
