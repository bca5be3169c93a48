"""A survey numbers the frames of a file as reading it does, and is refused where it could be wrong."""

from pathlib import Path

import numpy as np
import pytest

from tests.pipeline.video.test_inputs import HEIGHT, Frames, encode, ffmpeg, source_frames, wrecked
from watchmove.pipeline.extraction.survey import Survey, survey_video
from watchmove.pipeline.settings.extraction import ExtractionSettings
from watchmove.pipeline.video.ffmpeg import VideoReader

SETTINGS = ExtractionSettings(shorter_side_pixels=HEIGHT)
X264 = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-sc_threshold", "0")
KINDS = {
    "bidirectional.mp4": (*X264, "-bf", "3", "-g", "20"),
    "low-delay.mkv": (*X264, "-bf", "0", "-g", "20"),
    "hevc.mp4": ("-c:v", "libx265", "-pix_fmt", "yuv420p", "-x265-params", "keyint=20:min-keyint=20:scenecut=0"),
    "mpeg4.avi": ("-c:v", "mpeg4", "-q:v", "3", "-g", "20"),
    "late.mkv": (*X264, "-bf", "2", "-g", "20", "-output_ts_offset", "5"),
}
"""File names, and options of ffmpeg with a key frame in every twenty frames."""


@pytest.fixture(scope="module")
def source() -> Frames:
    """Sixty frames that all differ."""
    return source_frames(60)


@pytest.mark.parametrize("name", KINDS)
def test_a_survey_numbers_frames_as_a_reader_does(name: str, source: Frames, tmp_path: Path) -> None:
    """It has the time of every frame, and every twentieth is a key frame with its own thumbnail."""
    path = encode(tmp_path / name, source, *KINDS[name])
    survey = survey_video(path, SETTINGS)
    with VideoReader(path, shorter_side_pixels=HEIGHT) as reader:
        images = list(reader)

    assert survey is not None
    assert survey.times_seconds == pytest.approx(reader.log.frame_times_seconds, abs=1e-4)
    assert [key.number for key in survey.key_frames] == [0, 20, 40]
    assert all(key.thumbnail.shape == (48, 64, 3) for key in survey.key_frames)
    assert len(images) == len(survey.times_seconds)


@pytest.mark.parametrize("first", [20, 27])
@pytest.mark.parametrize("name", KINDS)
def test_frames_after_a_seek_are_those_of_a_complete_reading(
    name: str, first: int, source: Frames, tmp_path: Path
) -> None:
    """Bit for bit, and with their times; where earlier frames come first, they can be told by theirs."""
    path = encode(tmp_path / name, source, *KINDS[name])
    survey = survey_video(path, SETTINGS)
    assert survey is not None
    with VideoReader(path, shorter_side_pixels=HEIGHT) as complete:
        images = list(complete)
    with VideoReader(path, shorter_side_pixels=HEIGHT, extent=survey.extent(20, first, 12)) as reader:
        found = list(enumerate(reader))
    numbers = [int(np.argmin(np.abs(survey.times_seconds - reader.log.time_of_frame(at)))) for at, _ in found]

    assert all(survey.is_time_of(number, reader.log.time_of_frame(at)) for at, number in enumerate(numbers))
    assert {first, first + 1, first + 2} <= set(numbers)
    assert first == 20 or min(numbers) == first
    assert len(found) <= 12
    assert all(np.array_equal(image, images[numbers[at]]) for at, image in found if numbers[at] >= 20)


def test_frames_after_the_largest_number_are_left_out(source: Frames, tmp_path: Path) -> None:
    """So are their key frames."""
    path = encode(tmp_path / "v.mp4", source, *KINDS["bidirectional.mp4"])
    survey = survey_video(path, SETTINGS.model_copy(update={"max_frames": 30}))

    assert survey is not None
    assert len(survey.times_seconds) == 30
    assert [key.number for key in survey.key_frames] == [0, 20]


def odd_file(kind: str, source: Frames, folder: Path) -> Path:
    """A file of a kind that has no survey."""
    if kind == "transport stream":
        return encode(folder / "v.ts", source, *KINDS["bidirectional.mp4"])
    if kind == "every frame is a key frame":
        return encode(folder / "v.avi", source, "-c:v", "mjpeg", "-pix_fmt", "yuvj420p")
    if kind == "no video":
        (folder / "v.mp4").write_bytes(b"no video" * 100)
        return folder / "v.mp4"
    if kind == "VP9":
        return encode(folder / "v.webm", source, "-c:v", "libvpx-vp9", "-g", "20", "-b:v", "400k", "-cpu-used", "8")
    if kind == "open groups":
        return encode(folder / "v.mp4", source, *KINDS["bidirectional.mp4"], "-x264-params", "open-gop=1")
    whole = encode(folder / "whole.mp4", source, *KINDS["bidirectional.mp4"])
    if kind == "hidden beginning":
        ffmpeg("-ss", "0.4", "-i", whole, "-c", "copy", folder / "v.mp4")
        return folder / "v.mp4"
    if kind == "wrecked key frame":
        return wrecked(whole, folder / "v.mp4", (0.3, 0.33, 0.36, 0.39, 0.42, 0.45, 0.48))
    assert kind == "cut off"
    index_first = folder / "index-first.mp4"
    ffmpeg("-i", whole, "-c", "copy", "-movflags", "faststart", index_first)
    (folder / "v.mp4").write_bytes(index_first.read_bytes()[: index_first.stat().st_size * 2 // 3])
    return folder / "v.mp4"


@pytest.mark.parametrize(
    "kind",
    [
        "transport stream",
        "every frame is a key frame",
        "no video",
        "VP9",
        "open groups",
        "hidden beginning",
        "wrecked key frame",
        "cut off",
    ],
)
def test_odd_files_have_no_survey(kind: str, source: Frames, tmp_path: Path) -> None:
    """They are read from start to end, which relies on nothing that a file says of itself."""
    assert survey_video(odd_file(kind, source, tmp_path), SETTINGS) is None


def test_equal_times_are_those_of_one_frame() -> None:
    """ffmpeg writes times with six digits, so that times differ by rounding."""
    survey = Survey(np.array([0.0, 1000.03, 1000.07]), ())

    assert survey.is_time_of(1, 1000.0333)
    assert not survey.is_time_of(1, 1000.0667)
