"""Extraction from video files: frames with moving objects are kept, and others are rejected with a reason."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pydantic
import pytest

from watchmove.pipeline.errors import UnreadableVideo
from watchmove.pipeline.extraction.sampled_video import REJECT_REASONS, UNREADABLE_REASONS, Extraction, extract_video
from watchmove.pipeline.settings.extraction import ExtractionSettings
from watchmove.pipeline.settings.world import WorldSettings
from watchmove.pipeline.video.encoder import write_video
from watchmove.pipeline.world.drawing import draw_video
from watchmove.pipeline.world.video import moving_square

SETTINGS = ExtractionSettings(window_frames=10, windows_per_shot=2, frames_per_window=2)
WORLD = WorldSettings(frames_per_video=24)


def kept(extraction: Extraction) -> list[int]:
    """The numbers of the kept frames."""
    return [frame.index for frame in extraction.frames if frame.reject_reason is None]


@pytest.fixture(scope="module")
def square_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty frames of a square that moves 3 pixels per frame."""
    path = tmp_path_factory.mktemp("extraction") / "square.mp4"
    write_video(path, moving_square((3.0, 0.0), 20).frames, 10)
    return path


def test_a_moving_square_is_kept_with_its_mask(square_video: Path) -> None:
    """Kept frames have masks with IoU above 0.85, and are shown at a tenth of their number in seconds."""
    truth = moving_square((3.0, 0.0), 20).masks
    extraction = extract_video(square_video, SETTINGS)
    frames = [frame for frame in extraction.frames if frame.reject_reason is None]
    masks = [(frame.soft_mask >= 0.5, truth[frame.index]) for frame in frames]

    assert (extraction.frames_seen, extraction.shots) == (20, 1)
    assert len(frames) >= 2
    assert min((a & b).sum() / (a | b).sum() for a, b in masks) > 0.85
    assert [frame.time_seconds for frame in frames] == pytest.approx([frame.index / 10 for frame in frames])


def test_the_same_file_gives_the_same_result(square_video: Path) -> None:
    """Two runs give the same frames, masks and confidences, bit for bit."""
    first, second = (extract_video(square_video, SETTINGS).frames for _ in range(2))

    assert [(f.index, f.confidence, f.reject_reason) for f in first] == [
        (f.index, f.confidence, f.reject_reason) for f in second
    ]
    assert all(np.array_equal(a.soft_mask, b.soft_mask) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("kind", ["still", "camera", "noise"])
def test_nothing_is_kept_where_nothing_moves_by_itself(kind: str, tmp_path: Path) -> None:
    """Frames of still scenes, panned scenes and noise are examined and rejected, each with its reason."""
    write_video(tmp_path / "v.mp4", draw_video(5, WORLD, kind).frames, 24)
    extraction = extract_video(tmp_path / "v.mp4", SETTINGS)

    assert kept(extraction) == []
    assert {frame.reject_reason for frame in extraction.frames} <= set(REJECT_REASONS)
    assert extraction.frames


def test_shots_are_numbered_from_zero(tmp_path: Path) -> None:
    """Every frame has the number of its shot, and shots are examined independently."""
    video = draw_video(9, WORLD, "cuts")
    write_video(tmp_path / "v.mp4", video.frames, 24)
    extraction = extract_video(tmp_path / "v.mp4", SETTINGS)
    shots = [int(np.searchsorted(video.cuts, frame.index, side="right")) for frame in extraction.frames]

    assert extraction.shots == 1 + len(video.cuts)
    assert [frame.shot for frame in extraction.frames] == shots


def test_a_short_shot_is_named_so(tmp_path: Path) -> None:
    """A shot of three frames gives one frame, which is rejected as `short-shot`."""
    write_video(tmp_path / "v.mp4", moving_square(frames=3).frames, 10)
    extraction = extract_video(tmp_path / "v.mp4", SETTINGS)

    assert [frame.reject_reason for frame in extraction.frames] == ["short-shot"]


def test_one_frame_is_too_short(tmp_path: Path) -> None:
    """A video of one frame has no motion and is unreadable."""
    write_video(tmp_path / "v.mp4", moving_square(frames=1).frames, 10)
    with pytest.raises(UnreadableVideo) as caught:
        extract_video(tmp_path / "v.mp4", SETTINGS)

    assert caught.value.reason == "too-short"
    assert caught.value.reason in UNREADABLE_REASONS


def test_the_number_of_windows_is_bounded(tmp_path: Path) -> None:
    """If one window is allowed for the whole video, reading ends with the first shot."""
    video = draw_video(9, WORLD, "cuts")
    write_video(tmp_path / "v.mp4", video.frames, 24)
    extraction = extract_video(tmp_path / "v.mp4", SETTINGS.model_copy(update={"windows_per_video": 1}))

    assert extraction.frames_seen == video.cuts[0]
    assert {frame.shot for frame in extraction.frames} == {0}


def test_memory_does_not_grow_with_length(tmp_path: Path) -> None:
    """Reading 600 frames takes at most 60 MiB more than reading 60; all of them in memory would take 132 MiB."""
    frames = moving_square((0.0, 0.0), 2).frames
    script = (
        "import resource, sys; from pathlib import Path;"
        "from watchmove.pipeline.extraction.sampled_video import extract_video;"
        "from watchmove.pipeline.settings.extraction import ExtractionSettings as S;"
        "s = S(window_frames=10, windows_per_shot=2, frames_per_window=2);"
        "print(extract_video(Path(sys.argv[1]), s).frames_seen, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    peaks = []
    for length in (60, 600):
        write_video(tmp_path / f"{length}.mp4", (frames[0] for _ in range(length)), 25)
        command = [sys.executable, "-c", script, str(tmp_path / f"{length}.mp4")]
        seen, peak = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        assert int(seen) == length
        peaks.append(int(peak))

    assert peaks[1] - peaks[0] < 60 * 1024


def test_settings_that_contradict_each_other_are_refused() -> None:
    """If the smallest mask is larger than the largest one, the message names both settings."""
    with pytest.raises(pydantic.ValidationError, match=r"min_area_fraction.*max_area_fraction"):
        ExtractionSettings(min_area_fraction=0.6, max_area_fraction=0.5)


def test_a_hardly_moving_real_video_gives_nothing(test_data: Path) -> None:
    """A tree in the wind, filmed by a camera that hardly moves."""
    assert kept(extract_video(test_data / "videos/opencv-doc/tree.avi", ExtractionSettings())) == []


@pytest.mark.parametrize("name", ["bmx", "bus", "elephant", "lucia", "motorbike", "surf"])
def test_real_videos_with_one_moving_object_give_frames(name: str, test_data: Path) -> None:
    """Each of the six videos gives at least one frame."""
    assert kept(extract_video(test_data / f"videos/davis_as_mp4/{name}.mp4", ExtractionSettings()))
