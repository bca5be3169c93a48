"""Near-duplicate videos: fingerprints of copies, and the choice of the videos that are left out."""

import subprocess
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchmove.pipeline.arrays import Image
from watchmove.pipeline.extraction import near_duplicate_videos as module
from watchmove.pipeline.extraction.near_duplicate_videos import near_duplicate_videos
from watchmove.pipeline.settings.extraction import ExtractionSettings
from watchmove.pipeline.settings.world import WorldSettings
from watchmove.pipeline.video.encoder import write_video
from watchmove.pipeline.video.ffmpeg import VideoReader
from watchmove.pipeline.video.ffmpeg_commands import ffmpeg_executable
from watchmove.pipeline.video.fingerprint import HASHES_PER_PART, MOST_HASHES, Fingerprinter, hashes_of
from watchmove.pipeline.video.shots import detect_cuts
from watchmove.pipeline.world.drawing import draw_video, moving_square

COUNT = 12

COPIES = {
    "low quality": ["-crf", "38"],
    "half the size": ["-vf", "scale=160:120"],
    "other frame rate": ["-r", "15"],
    "brighter": ["-vf", "eq=brightness=0.1"],
    "gamma": ["-vf", "eq=gamma=1.4:contrast=1.2"],
    "logo": ["-vf", "drawbox=x=250:y=10:w=50:h=24:color=white:t=fill"],
    "bars above and below": ["-vf", "pad=320:320:0:-1"],
    "bars left and right": ["-vf", "pad=426:240:-1:0"],
    "cropped": ["-vf", "crop=288:216"],
    "first second cut": ["-ss", "1"],
}
"""Options of ffmpeg that make a copy of a video of 320x240 pixels."""


def left_out(videos: list[list[int]], order: list[int]) -> list[int]:
    """The numbers of the videos that are left out."""
    counts = np.array([len(hashes) for hashes in videos], np.int64)
    hashes = np.array([value for hashes in videos for value in hashes], np.uint64)
    return np.flatnonzero(near_duplicate_videos(hashes, counts, np.array(order, np.int64))).tolist()


def random_hashes(seed: int, videos: int, hashes: int) -> np.ndarray:
    """Hashes of videos that have nothing in common, uint64 (videos, hashes)."""
    return np.random.default_rng(seed).integers(0, 2**64, (videos, hashes), np.uint64)


def random_videos(seed: int) -> list[list[int]]:
    """Twelve videos of eight parts each."""
    videos: list[list[int]] = random_hashes(seed, COUNT, 8 * HASHES_PER_PART).tolist()
    return videos


def fingerprint_of(thumbnails: list[Image], frames_per_second: float = 24.0) -> list[int]:
    """The hashes of a video from its thumbnails."""
    fingerprinter = Fingerprinter()
    for number, thumbnail in enumerate(thumbnails):
        fingerprinter.add(number / frames_per_second, thumbnail)
    return hashes_of(fingerprinter.fingerprint())


def thumbnails_of(images: np.ndarray) -> list[Image]:
    """The thumbnails of frames, as extraction makes them."""
    return [mark.thumbnail for mark in detect_cuts(images, ExtractionSettings().cut_difference)]


def fingerprint_of_file(path: Path) -> list[int]:
    """The hashes of a video file."""
    with VideoReader(path) as reader:
        images = np.stack(list(reader))
        return fingerprint_of(thumbnails_of(images), 1 / reader.log.time_of_frame(1))


def drawn(seed: int, frames: int = 96) -> np.ndarray:
    """Frames of a drawn video of 24 frames per second with moving objects, 320x240 pixels."""
    return draw_video(seed, WorldSettings(frames_per_video=frames), "moving").frames


def test_a_copy_is_left_out_and_the_better_one_stays() -> None:
    """Two bits of each hash differ, and in one part half of the bits."""
    videos = random_videos(0)
    videos[7] = [value ^ 0b11 for value in videos[2][:14]] + [value ^ 0xFFFFFFFF for value in videos[2][14:]]

    assert left_out(videos, list(range(COUNT))) == [7]
    assert left_out(videos, list(reversed(range(COUNT)))) == [2]


@pytest.mark.parametrize("better", ["original", "copy"])
def test_a_copy_with_the_inner_hashes_of_another_is_left_out(better: str) -> None:
    """The complete hashes of a cropped copy are those of the inner area of its original."""
    videos = random_videos(4)
    videos[7][0::2] = videos[2][1::2]
    order = list(range(COUNT)) if better == "original" else list(reversed(range(COUNT)))

    assert left_out(videos, order) == [7 if better == "original" else 2]


def test_only_videos_in_the_order_are_compared() -> None:
    """A copy of a video that is not in `order` stays."""
    videos = random_videos(5)
    videos[7] = videos[3] = videos[2]

    assert left_out(videos, [1, 7, 3]) == [3]
    assert left_out(videos, [7, 4]) == []


@pytest.mark.parametrize("copies", [5, 100])
def test_of_many_copies_one_stays(copies: int) -> None:
    """One of many equal videos stays, also where all hashes of the video are equal."""
    moving, still = random_videos(2)[0], [random_videos(3)[0][0]] * 16

    assert left_out([moving] * copies, list(range(copies))) == list(range(1, copies))
    assert left_out([still] * copies, list(range(copies))) == list(range(1, copies))


def test_videos_of_few_parts_are_no_copies() -> None:
    """Five equal parts are too little evidence, and six are enough."""
    hashes = random_videos(6)[0]

    assert left_out([hashes[:10]] * 2, [0, 1]) == []
    assert left_out([hashes[:12]] * 2, [0, 1]) == [1]
    assert left_out([], []) == []


def test_a_common_title_makes_no_copies() -> None:
    """Videos that share four of eight parts stay."""
    videos = random_videos(1)
    for video in videos:
        video[:8] = videos[0][:8]

    assert left_out(videos, list(range(COUNT))) == []


@given(st.permutations(range(COUNT)), st.integers(0, 100))
def test_the_choice_does_not_depend_on_the_order_of_records(places: list[int], seed: int) -> None:
    """The same videos are left out wherever they are stored; each repeats one that stays."""
    videos = random_videos(seed)
    for copy, source in ((5, 1), (6, 5), (9, 1), (11, 3)):
        videos[copy] = [value ^ (1 << 63) for value in videos[source]]
    moved = [videos[number] for number in places]
    order = [places.index(number) for number in range(COUNT)]

    assert sorted(places[place] for place in left_out(moved, order)) == [5, 6, 9, 11]


def test_the_memory_of_the_search_is_bounded() -> None:
    """In addition to the hashes, of 256 bytes for each video, it takes at most as much, and 48 MiB."""
    hashes = random_hashes(0, 200_000, MOST_HASHES)
    counts, order = np.full(len(hashes), MOST_HASHES, np.uint8), np.arange(len(hashes))
    hashes[-100:] = hashes[:100]
    tracemalloc.start()
    found = near_duplicate_videos(hashes.ravel(), counts, order)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert found.sum() == found[-100:].sum() == 100
    assert peak < hashes.nbytes + 48 * 2**20


def test_the_number_of_compared_pairs_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unrelated videos that all share a half hash are not compared all with all, but each with six others at most."""
    compared: list[int] = []
    are_copies = module._are_copies

    def counting(*arguments: np.ndarray) -> np.ndarray:
        compared.append(len(arguments[-1]))
        return are_copies(*arguments)

    monkeypatch.setattr(module, "_are_copies", counting)
    hashes = random_hashes(0, 1000, 2 * HASHES_PER_PART * 4)
    hashes[:, 0] = 1

    assert left_out(hashes.tolist(), list(range(1000))) == []
    assert 999 <= sum(compared) <= 2 * 5 * 1000


def test_long_videos_have_hashes_of_all_of_their_length() -> None:
    """However long a video is, at most MOST_HASHES are spread over it."""
    rng = np.random.default_rng(0)
    changing = [rng.integers(0, 255, (48, 64, 3)).astype(np.uint8) for _ in range(1000)]
    hashes = fingerprint_of(changing, 1.0)
    half = fingerprint_of(changing[:500] + [changing[0]] * 500, 1.0)

    assert MOST_HASHES // 2 <= len(hashes) <= MOST_HASHES
    assert len(set(hashes)) == len(hashes)
    assert len(set(half)) < len(half)


def test_a_video_in_which_nothing_changes_has_no_hash() -> None:
    """Whatever its image shows, and whatever noise of two levels lies on it."""
    noise = np.random.default_rng(0).integers(0, 3, (96, 48, 64, 3)).astype(np.uint8)

    assert fingerprint_of([]) == []
    assert fingerprint_of(thumbnails_of(drawn(0, 4)[:1]) * 96) == []
    assert fingerprint_of(list(thumbnails_of(drawn(0, 4)[:1])[0] // 2 + noise)) == []


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a drawn video of four seconds."""
    path = tmp_path_factory.mktemp("near_duplicates") / "original.mp4"
    write_video(path, drawn(0), 24.0)
    return path


@pytest.mark.parametrize("kind", COPIES)
def test_a_copy_of_a_video_is_found(kind: str, original: Path, tmp_path: Path) -> None:
    """A file that ffmpeg makes from another one is its near-duplicate."""
    command = [ffmpeg_executable(), "-v", "error", "-i", str(original), *COPIES[kind], str(tmp_path / "copy.mp4")]
    subprocess.run(command, check=True)
    first, second = fingerprint_of_file(original), fingerprint_of_file(tmp_path / "copy.mp4")

    assert left_out([first, second], [0, 1]) == [1]


def test_different_videos_are_not_taken_for_copies() -> None:
    """Drawn videos of eight seeds all stay."""
    videos = [fingerprint_of(thumbnails_of(drawn(seed, 48))) for seed in range(8)]

    assert min(len(hashes) for hashes in videos) >= 6 * HASHES_PER_PART
    assert left_out(videos, list(range(8))) == []


def test_videos_of_one_fixed_camera_are_not_taken_for_copies() -> None:
    """One scene, in which the same square takes other ways, gives other hashes."""
    steps = [(3, 0), (0, 3), (2, 2), (2, -2), (1, 3)]
    videos = [
        fingerprint_of(thumbnails_of(moving_square(step, 72, height=320, side_pixels=96).frames)) for step in steps
    ]

    assert min(len(hashes) for hashes in videos) >= 6 * HASHES_PER_PART
    assert left_out(videos, list(range(len(steps)))) == []
