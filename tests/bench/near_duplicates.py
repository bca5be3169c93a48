"""How many re-uploads of real clips are found as near-duplicates, and how many different clips are taken for them.

    python tests/bench/near_duplicates.py --clips FOLDER [--copies 12]

Prints for each way of copying the share of copies that are found, the pairs of different clips that are taken for
copies, the time of hashing beside that of decoding, and the time of the search in 100,000 random fingerprints.
"""

import argparse
import subprocess
import time
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np

from watchmove.pipeline.extraction.near_duplicate_videos import near_duplicate_videos
from watchmove.pipeline.video.ffmpeg import InterlacedVideo, VideoReader
from watchmove.pipeline.video.ffmpeg_commands import ffmpeg_executable
from watchmove.pipeline.video.fingerprint import Fingerprinter, hashes_of

COPIES = {
    "low quality": ["-c:v", "libx264", "-crf", "38"],
    "half the size": ["-vf", "scale=trunc(iw/4)*2:trunc(ih/4)*2", "-c:v", "libx264"],
    "25 frames per second": ["-r", "25", "-c:v", "mpeg4", "-q:v", "5"],
    "10 % brighter": ["-vf", "eq=brightness=0.1", "-c:v", "libx264"],
    "5 % cropped": ["-vf", "crop=trunc(iw*0.475)*2:trunc(ih*0.475)*2", "-c:v", "libx264"],
    "first second cut off": ["-ss", "1", "-c:v", "libx264"],
    "logo": ["-vf", "drawbox=x=iw*0.8:y=ih*0.05:w=iw*0.15:h=ih*0.1:color=white:t=fill", "-c:v", "libx264"],
    "mirrored": ["-vf", "hflip", "-c:v", "libx264"],
}
"""Names and options of ffmpeg."""


def fingerprint_of(path: Path) -> tuple[str, float, float]:
    """The fingerprint of a video, and the seconds that decoding and hashing took."""
    fields: dict[str, str] = {}
    while True:
        fingerprinter, hashing, began = Fingerprinter(), 0.0, time.perf_counter()
        try:
            with VideoReader(path, **fields) as reader:  # type: ignore[arg-type]
                for index, image in enumerate(reader):
                    thumbnail = np.asarray(cv2.resize(image, (64, 48), interpolation=cv2.INTER_AREA), np.uint8)
                    start = time.perf_counter()
                    fingerprinter.add(reader.log.time_of_frame(index), thumbnail)
                    hashing += time.perf_counter() - start
        except InterlacedVideo as found:
            fields = {"fields": found.fields}
            continue
        return fingerprinter.fingerprint(), time.perf_counter() - began, hashing


def are_copies(first: str, second: str) -> bool:
    """Whether one of two videos would be left out."""
    lists = [hashes_of(first), hashes_of(second)]
    counts = np.array([len(values) for values in lists], np.int64)
    return bool(
        near_duplicate_videos(
            np.array([value for values in lists for value in values], np.uint64), counts, np.arange(2)
        ).any()
    )


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument("--copies", type=int, default=12)
    arguments = parser.parse_args()
    clips = sorted(arguments.clips.rglob("*.mp4"))
    results = [fingerprint_of(path) for path in clips]
    prints = [result[0] for result in results]
    share = sum(result[2] for result in results) / sum(result[1] for result in results)
    print(f"{len(clips)} clips, {sum(len(text) >= 48 for text in prints)} with three hashes or more")
    print(f"hashing takes {share:.2%} of the time of decoding")
    named = zip(clips, prints, strict=True)
    pairs = [f"{one.stem} {other.stem}" for (one, a), (other, b) in combinations(named, 2) if are_copies(a, b)]
    print(f"different clips taken for copies: {len(pairs)} of {len(clips) * (len(clips) - 1) // 2} pairs {pairs}")
    chosen = [n for n in range(len(clips)) if len(prints[n]) >= 48]
    chosen = chosen[:: max(1, len(chosen) // arguments.copies)][: arguments.copies]
    with TemporaryDirectory() as folder:
        for name, options in COPIES.items():
            found = 0
            for number in chosen:
                copy = Path(folder) / "copy.mp4"
                source = ["-i", str(clips[number]), "-an"]
                subprocess.run([ffmpeg_executable(), "-v", "error", "-y", *source, *options, str(copy)], check=True)
                found += are_copies(prints[number], fingerprint_of(copy)[0])
            print(f"{name}: {found} of {len(chosen)} found")
    many = np.random.default_rng(0).integers(0, 2**64, (100_000, 16), np.uint64)
    many[50_000:] = many[:50_000] ^ np.uint64(3)
    start = time.perf_counter()
    left_out = near_duplicate_videos(many.ravel(), np.full(len(many), 16), np.arange(len(many)))
    print(f"search in {len(many)} fingerprints: {time.perf_counter() - start:.1f} s, {left_out.sum()} left out")


if __name__ == "__main__":
    main()
