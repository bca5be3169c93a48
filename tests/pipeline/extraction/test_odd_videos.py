"""Extraction of videos that are damaged, hold repeated frames, or take too long."""

import time
from pathlib import Path
from typing import Any, cast

import numpy as np

from tests.pipeline.video.test_inputs import encode, wrecked
from watchmove.pipeline.extraction.sampled_video import extract_video
from watchmove.pipeline.masks.choice import ShotSegmenter, shot_segmenter
from watchmove.pipeline.settings.extraction import ExtractionSettings
from watchmove.pipeline.video.encoder import write_video
from watchmove.pipeline.world.drawing import moving_square

SETTINGS = ExtractionSettings()


def frames_of(count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Frames (N, 320, W, 3) of a moving square."""
    return np.stack(list(moving_square((3, 0), count, height=320).frames))


def test_damaged_frames_are_rejected_by_name(tmp_path: Path) -> None:
    """No frame between the error and the next key frame is kept, and those before and after it are."""
    whole = encode(tmp_path / "whole.avi", frames_of(72), "-c:v", "mpeg4", "-q:v", "2", "-g", "24")
    found = extract_video(wrecked(whole, tmp_path / "v.avi", (0.5,)), SETTINGS).frames
    damaged = [frame.index for frame in found if frame.reject_reason == "damaged"]
    kept = [frame.index for frame in found if frame.reject_reason is None]

    assert damaged
    assert all("damaged" in frame.conditions for frame in found if frame.reject_reason == "damaged")
    assert min(kept) < 24
    assert max(kept) >= 48
    assert not [index for index in kept if damaged[0] <= index < 48]


def test_repeated_frames_are_taken_out_before_windows_are_cut(tmp_path: Path) -> None:
    """Ten frames a second inside sixty are kept, with the numbers that they have in the file."""
    write_video(tmp_path / "v.mp4", np.repeat(frames_of(36), 6, axis=0), 60.0)
    kept = [frame for frame in extract_video(tmp_path / "v.mp4", SETTINGS).frames if frame.reject_reason is None]

    assert kept
    assert all("duplicates" in frame.conditions for frame in kept)
    assert max(frame.index for frame in kept) > 100


def test_at_the_deadline_what_was_found_stays(tmp_path: Path) -> None:
    """A deadline that passes while the first shot is segmented leaves its frames, and a word instead of the rest."""
    shots = [frames_of(24), 255 - frames_of(24), frames_of(60)[:, ::-1]]
    write_video(tmp_path / "v.mp4", np.concatenate(shots), 24.0)
    deadline = time.monotonic() + 8.0

    def slow(*shot: Any) -> Any:
        time.sleep(max(0.0, deadline - time.monotonic()) + 0.1)
        return shot_segmenter(SETTINGS)(*shot)

    found = extract_video(tmp_path / "v.mp4", SETTINGS, cast(ShotSegmenter, slow), deadline)

    assert found.ended_early == "time-limit"
    assert max(frame.index for frame in found.frames) < 48
    assert [frame for frame in found.frames if frame.reject_reason is None]
