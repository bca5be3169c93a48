"""How many re-uploads of real videos are found as near-duplicates, and how many different videos are taken for them.

    python tests/bench/near_duplicates.py --data FOLDER [--copies 24] [--set 400000] [--sparse]

With --sparse, videos and copies are read as extraction reads them by default. Prints for each way of copying how many
copies are found, the pairs of videos in FOLDER that are taken for copies, the share of extraction's processor time that
hashing takes, and the time and peak memory of the search in a made-up set. The set has the fingerprints of the real
videos, whose half hashes are put together at random, and 1 in 10 is a copy.
"""

import argparse
import os
import resource
import subprocess
import time
from collections.abc import Callable
from functools import wraps
from itertools import combinations
from multiprocessing import get_context
from multiprocessing.pool import Pool
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tests.bench.sparse_reading import sparse
from watchmove.pipeline.extraction.near_duplicate_videos import near_duplicate_videos
from watchmove.pipeline.extraction.sampled_video import extract_video
from watchmove.pipeline.settings.extraction import ExtractionSettings
from watchmove.pipeline.video.decoder import InterlacedVideo
from watchmove.pipeline.video.ffmpeg import VideoReader
from watchmove.pipeline.video.ffmpeg_commands import Fields, ffmpeg_executable
from watchmove.pipeline.video.fingerprint import MOST_HASHES, Fingerprinter, hashes_of
from watchmove.pipeline.video.shots import shot_thumbnail

H264 = ["-c:v", "libx264", "-preset", "veryfast"]
COPIES = {
    "encoded at low quality (crf 38)": [*H264, "-crf", "38"],
    "half the size": ["-vf", "scale=trunc(iw/4)*2:trunc(ih/4)*2", *H264],
    "20 frames per second, MPEG-4": ["-r", "20", "-c:v", "mpeg4", "-q:v", "5"],
    "10 % brighter": ["-vf", "eq=brightness=0.1", *H264],
    "contrast and gamma": ["-vf", "eq=gamma=1.4:contrast=1.2", *H264],
    "logo in a corner": ["-vf", "drawbox=x=iw*0.8:y=ih*0.05:w=iw*0.15:h=ih*0.1:color=white:t=fill", *H264],
    "black bars above and below": ["-vf", "pad=iw:trunc(ih*2/3)*2:0:-1", *H264],
    "black bars left and right": ["-vf", "pad=trunc(iw*2/3)*2:ih:-1:0", *H264],
    "5 % cropped": ["-vf", "crop=trunc(iw*0.475)*2:trunc(ih*0.475)*2", *H264],
    "10 % cropped": ["-vf", "crop=trunc(iw*0.45)*2:trunc(ih*0.45)*2", *H264],
    "first second cut off": ["-ss", "1", *H264],
    "first 1.1 seconds cut off": ["-ss", "1.1", *H264],
    "mirrored": ["-vf", "hflip", *H264],
}
"""Names and options of ffmpeg."""

LONG_SECONDS = 3.0
"""Videos from this length on are counted for themselves too: of a shorter one, too little remains after a cut."""


def fingerprint_of(work: tuple[Path, bool]) -> tuple[str, float]:
    """The fingerprint of a video, read sparsely or not, and when its last frame is shown, in seconds."""
    cv2.setNumThreads(1)
    path, is_sparse = work
    fields: Fields = ""
    while True:
        fingerprinter, seconds = Fingerprinter(), 0.0
        try:
            with VideoReader(path, fields=fields) as reader:
                for index, image in enumerate(reader):
                    seconds = reader.log.time_of_frame(index)
                    fingerprinter.add(seconds, shot_thumbnail(image))
            reading = sparse(path, fields) if is_sparse else None
        except InterlacedVideo as found:
            fields = found.fields
            continue
        return (reading.fingerprinter if reading else fingerprinter).fingerprint(), seconds


def fingerprint_of_copy(work: tuple[Path, str, bool]) -> str:
    """The fingerprint of a copy of a video, made in one of the ways of COPIES; empty if the copy has no frame."""
    path, name, is_sparse = work
    with TemporaryDirectory() as folder:
        copy = Path(folder) / "copy.mp4"
        command = [
            ffmpeg_executable(),
            "-v",
            "error",
            "-threads",
            "1",
            "-i",
            str(path),
            "-an",
            *COPIES[name],
            str(copy),
        ]
        subprocess.run(command, check=True)
        return fingerprint_of((copy, is_sparse))[0]


def are_copies(first: str, second: str) -> bool:
    """Whether one of two videos would be left out."""
    lists = [hashes_of(first), hashes_of(second)]
    hashes = np.array([value for values in lists for value in values], np.uint64)
    return bool(near_duplicate_videos(hashes, np.array([len(values) for values in lists]), np.arange(2)).any())


def timed(method: Callable[..., Any], spent: list[float]) -> Callable[..., Any]:
    """The same method, which also adds the seconds of processor time of each call to `spent`."""

    @wraps(method)
    def call(*arguments: object) -> object:
        began = time.process_time()
        result = method(*arguments)
        spent.append(time.process_time() - began)
        return result

    return call


def print_share_of_hashing(paths: list[Path]) -> None:
    """Extract some videos, and print the share of the processor time that hashing takes."""
    spent: list[float] = []
    for name in ("add", "fingerprint"):
        setattr(Fingerprinter, name, timed(getattr(Fingerprinter, name), spent))
    decoder, began = _processor_seconds(resource.RUSAGE_CHILDREN), _processor_seconds(resource.RUSAGE_SELF)
    for path in paths:
        extract_video(path, ExtractionSettings())
    decoding = _processor_seconds(resource.RUSAGE_CHILDREN) - decoder
    total = _processor_seconds(resource.RUSAGE_SELF) - began + decoding
    hashing = sum(spent)
    print(f"processor time of {len(paths)} videos: extraction {total:.1f} s, of which ffmpeg {decoding:.1f} s")
    print(f"hashing {hashing:.2f} s: {hashing / total:.2%} of extraction, {hashing / decoding:.1%} of ffmpeg")


def _processor_seconds(who: int) -> float:
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


def search(real: NDArray[np.uint64], videos: int) -> None:
    """Print the time and memory of the search in a made-up set of videos with MOST_HASHES hashes each."""
    rng = np.random.default_rng(0)
    hashes = np.empty((videos, MOST_HASHES), np.uint64)
    for at in range(0, videos, 10_000):
        some = hashes[at : at + 10_000]
        # quarters of real hashes put together at random, because half hashes of random bits are hardly ever equal
        some[:] = 0
        for shift in (0, 16, 32, 48):
            some |= rng.choice(real, some.shape) & np.uint64(0xFFFF << shift)
    copies = videos // 10
    hashes[videos - copies :] = hashes[:copies] ^ np.uint64(3)
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    processor = _processor_seconds(resource.RUSAGE_SELF)
    left_out = near_duplicate_videos(hashes.ravel(), np.full(videos, MOST_HASHES, np.uint8), np.arange(videos))
    seconds, processor = time.perf_counter() - began, _processor_seconds(resource.RUSAGE_SELF) - processor
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        f"search in {videos:,} videos, {hashes.nbytes / 2**20:.0f} MiB of hashes: {seconds:.0f} s, {processor:.0f} s of"
    )
    print(f"the processor, peak of the process {peak / 2**10:.0f} MiB, before the search {before / 2**10:.0f} MiB")
    print(
        f"left out: {left_out[videos - copies :].sum()} of {copies} copies, {left_out[: videos - copies].sum()} others"
    )


def print_copies(pool: Pool, paths: list[Path], prints: list[tuple[str, float]], *, is_sparse: bool) -> None:
    """Print for each way of copying how many copies are found."""
    work = [(number, name) for name in COPIES for number in range(len(paths))]
    copies = pool.map(fingerprint_of_copy, [(paths[number], name, is_sparse) for number, name in work], chunksize=1)
    found = {key: are_copies(prints[key[0]][0], copied) for key, copied in zip(work, copies, strict=True)}
    long = [number for number, (_, seconds) in enumerate(prints) if seconds >= LONG_SECONDS]
    for name in COPIES:
        every, some = (sum(found[number, name] for number in numbers) for numbers in (range(len(paths)), long))
        print(f"{name}: {every} of {len(paths)}; of videos of {LONG_SECONDS:.0f} seconds or more {some} of {len(long)}")


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, required=True, help="folder with videos, also in subfolders")
    parser.add_argument("--copies", type=int, default=24, help="videos that are copied in each way")
    parser.add_argument("--set", type=int, default=400_000, help="videos of the made-up set")
    parser.add_argument("--sparse", action="store_true", help="read videos and copies sparsely")
    arguments = parser.parse_args()
    paths = sorted(path for path in arguments.data.rglob("*") if path.suffix in {".mp4", ".avi", ".mkv"})
    chosen = [round(place) for place in np.linspace(0, len(paths) - 1, arguments.copies)]
    with get_context("spawn").Pool(os.cpu_count()) as pool:
        prints = pool.map(fingerprint_of, [(path, arguments.sparse) for path in paths], chunksize=1)
        known = [prints[number] for number in chosen]
        print_copies(pool, [paths[number] for number in chosen], known, is_sparse=arguments.sparse)
    named = zip(paths, prints, strict=True)
    pairs = [
        f"{a.stem} {b.stem}" for (a, (one, _)), (b, (other, _)) in combinations(named, 2) if are_copies(one, other)
    ]
    print(f"taken for copies: {len(pairs)} of {len(paths) * (len(paths) - 1) // 2} pairs of videos: {pairs}")
    # before any extraction in this process, whose memory would hide that of the search
    search(np.array([value for text, _ in prints for value in hashes_of(text)], np.uint64), arguments.set)
    print_share_of_hashing([paths[number] for number in chosen[::4]])


if __name__ == "__main__":
    main()
