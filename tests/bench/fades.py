"""How many frames of dissolves are named, and how many that are none: `python tests/bench/fades.py --davis DIR`.

Every sequence of a folder in DAVIS's layout dissolves into the next one and into the seventh after it, both going on
as they do. Counted are the frames in which the second has a share between a quarter and three quarters, the frames of
nothing but one sequence, up to 24 on either side, and those of the undisturbed sequences.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from watchmove.pipeline.video.fades import fade_thumbnail, fading_frames

LENGTHS = (8, 16, 24, 36)
NEXT = (1, 7)
BESIDE = 24

Clip = NDArray[np.uint8]


def read_clip(folder: Path) -> Clip:
    """Small pictures of the frames of a sequence, (T, h, w, 3)."""
    return np.stack([fade_thumbnail(np.asarray(cv2.imread(str(path)))) for path in sorted(folder.glob("*.jpg"))])


def dissolved(first: Clip, second: Clip, length: int) -> tuple[Clip, NDArray[np.float64]] | None:
    """The end of one clip dissolving into the start of another, and the second's share in each frame."""
    beside = min(BESIDE, len(first) - length, len(second) - length)
    if beside < 6:
        return None
    share = np.concatenate([np.zeros(beside), np.arange(1, length + 1) / (length + 1), np.ones(beside)])
    before, after = first[-(beside + length) :], second[: beside + length]
    mixed = np.concatenate([before, np.repeat(before[-1:], beside, 0)]) * (1 - share)[:, None, None, None]
    mixed += np.concatenate([np.repeat(after[:1], beside, 0), after]) * share[:, None, None, None]
    return np.rint(mixed).astype(np.uint8), share


def named(clips: list[Clip], length: int) -> Iterator[tuple[float, float]]:
    """Of each dissolve, the share of its middle frames and of those beside it that are named."""
    for index, clip in enumerate(clips):
        for step in NEXT:
            made = dissolved(clip, clips[(index + step) % len(clips)], length)
            if made is not None:
                fading, share = fading_frames(list(made[0])), made[1]
                yield fading[np.abs(share - 0.5) < 0.25].mean(), fading[(share == 0) | (share == 1)].mean()


def main() -> None:
    """Print the shares."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--davis", type=Path, required=True, help="folder with JPEGImages/")
    clips = [read_clip(folder) for folder in sorted((parser.parse_args().davis / "JPEGImages").iterdir())]
    for length in LENGTHS:
        middle, beside = np.mean(list(named(clips, length)), axis=0)
        print(f"dissolves of {length} frames: {middle:.0%} of their middle frames named, {beside:.0%} of those beside")
    wrong = sum(int(fading_frames(list(clip)).sum()) for clip in clips)
    print(f"undisturbed sequences: {wrong} of {sum(map(len, clips))} frames named")


if __name__ == "__main__":
    main()
