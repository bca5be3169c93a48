"""Near-duplicate videos: hashes of pictures, and the choice of the videos that are left out."""

import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchmove.pipeline.extraction.near_duplicate_videos import near_duplicate_videos
from watchmove.pipeline.extraction.sampled_video import extract_video
from watchmove.pipeline.settings.extraction import ExtractionSettings
from watchmove.pipeline.video.encoder import write_video
from watchmove.pipeline.video.ffmpeg_commands import ffmpeg_executable
from watchmove.pipeline.video.fingerprint import MOST_HASHES, Fingerprinter, hashes_of, picture_hash
from watchmove.pipeline.world.drawing import moving_square

COUNT = 12


def left_out(videos: list[list[int]], order: list[int]) -> list[int]:
    """The numbers of the videos that are left out."""
    counts = np.array([len(hashes) for hashes in videos], np.int64)
    hashes = np.array([value for hashes in videos for value in hashes], np.uint64)
    return np.flatnonzero(near_duplicate_videos(hashes, counts, np.array(order, np.int64))).tolist()


def random_videos(seed: int) -> list[list[int]]:
    """Twelve videos of eight hashes each."""
    rng = np.random.default_rng(seed)
    return [[int(value) for value in rng.integers(0, 2**64, 8, np.uint64)] for _ in range(COUNT)]


def test_a_copy_is_left_out_and_the_better_one_stays() -> None:
    """Two bits of each hash differ, and one of the hashes in half of its bits."""
    videos = random_videos(0)
    videos[7] = [value ^ 0b11 for value in videos[2][:7]] + [videos[2][7] ^ 0xFFFFFFFF]

    assert left_out(videos, list(range(COUNT))) == [7]
    assert left_out(videos, list(reversed(range(COUNT)))) == [2]


@pytest.mark.parametrize("copies", [5, 100])
def test_of_many_copies_one_stays(copies: int) -> None:
    """Also where the scene stands still, so that all pictures have one hash."""
    moving, still = random_videos(2)[0], [random_videos(3)[0][0]] * 16

    assert left_out([moving] * copies, list(range(copies))) == list(range(1, copies))
    assert left_out([still] * copies, list(range(copies))) == list(range(1, copies))


def test_videos_of_few_pictures_are_no_copies() -> None:
    """Two equal pictures are too little evidence."""
    assert left_out([[1 << 40, 7 << 20]] * 2, [0, 1]) == []
    assert left_out([], []) == []


def test_a_common_title_makes_no_copies() -> None:
    """Videos that share three of eight pictures stay."""
    videos = random_videos(1)
    for video in videos:
        video[:3] = videos[0][:3]

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


def test_long_videos_have_hashes_of_the_whole() -> None:
    """However long a video is, at most 16 hashes are spread over it; flat pictures have none."""
    rng, fingerprinter = np.random.default_rng(0), Fingerprinter()
    for second in range(1000):
        fingerprinter.add(float(second), rng.integers(0, 255, (48, 64, 3)).astype(np.uint8))

    assert MOST_HASHES // 2 <= len(hashes_of(fingerprinter.fingerprint())) <= MOST_HASHES
    assert picture_hash(np.full((48, 64, 3), 90, np.uint8)) is None


@pytest.mark.parametrize(
    "options", [["-crf", "35"], ["-vf", "scale=256:192"], ["-vf", "eq=brightness=0.05"], ["-r", "15"]]
)
def test_a_copy_of_a_video_has_its_fingerprint(options: list[str], tmp_path: Path) -> None:
    """After another encoding, at another size, brightness or rate, extraction gives nearly the same hashes."""
    settings = ExtractionSettings()
    write_video(tmp_path / "a.mp4", moving_square((3, 0), 60, height=320).frames, 24.0)
    command = [ffmpeg_executable(), "-v", "error", "-i", str(tmp_path / "a.mp4"), *options, str(tmp_path / "b.mp4")]
    subprocess.run(command, check=True)
    first, second = (hashes_of(extract_video(tmp_path / name, settings).fingerprint) for name in ("a.mp4", "b.mp4"))

    assert len(first) >= 4
    assert left_out([first, second], [0, 1]) == [1]
