"""A square that moves by 3 pixels is found almost to the pixel, with and without a moving camera."""

from collections.abc import Sequence

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from watchmove.pipeline.masks.chain import SegmentedFrame
from watchmove.pipeline.masks.cpu.segmentation import segment_shot
from watchmove.pipeline.settings.extraction import ExtractionSettings
from watchmove.pipeline.settings.world import WorldSettings
from watchmove.pipeline.world.drawing import draw_video
from watchmove.pipeline.world.video import moving_square

SETTINGS = ExtractionSettings()


def segment_one(images: Sequence[NDArray[np.uint8]], settings: ExtractionSettings) -> tuple[SegmentedFrame, ...]:
    """Segment all frames of a shot that is one window."""
    return segment_shot([images], settings)[0]


@pytest.mark.parametrize("camera_step", [(0.0, 0.0), (-2.0, 1.0)])
def test_moving_square_is_found(camera_step: tuple[float, float]) -> None:
    """IoU above 0.9 in every frame, and a box within 6 pixels of the true one."""
    cv2.setNumThreads(1)
    video = moving_square((3.0, 0.0), 10, camera_step_pixels=camera_step)
    masks = np.stack([frame.soft_mask >= 0.5 for frame in segment_one(list(video.frames), SETTINGS)])
    overlap = (masks & video.masks).sum(axis=(1, 2)) / (masks | video.masks).sum(axis=(1, 2))
    boxes = []
    for mask in masks:
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        boxes.append([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])

    assert overlap.min() > 0.9
    assert np.abs(np.array(boxes) - video.boxes_xyxy[:, 0]).max() <= 6


def test_independent_motion_is_in_pixels_per_frame() -> None:
    """Inside the square the motion relative to the camera is 3 pixels per frame, whatever the gaps of the fields."""
    video = moving_square((1.0, 1.0), 6, camera_step_pixels=(-2.0, 1.0))
    frame = segment_one(list(video.frames), SETTINGS)[3]
    inner = cv2.erode(video.masks[3].astype(np.uint8), np.ones((31, 31), np.uint8))[::4, ::4] > 0

    assert np.median(frame.independent_motion[inner]) == pytest.approx(3, abs=0.3)


@pytest.mark.parametrize("position", [2, 5])
def test_the_maps_of_the_stages_are_those_of_the_frame(position: int) -> None:
    """Flow to the next frame, of the last one too, and evidence that is high in the square and low outside."""
    video = moving_square((3.0, 0.0), 6)
    frame = segment_shot([list(video.frames)], SETTINGS, [[position]])[0][0]
    assert frame.stages is not None
    true = video.masks[position].astype(np.uint8)
    inside = cv2.erode(true, np.ones((21, 21), np.uint8))[::4, ::4] > 0
    outside = cv2.dilate(true, np.ones((41, 41), np.uint8))[::4, ::4] == 0
    stages = frame.stages

    assert np.median(stages.flow[inside], axis=0) == pytest.approx((3, 0), abs=0.3)
    assert np.median(stages.flow[outside], axis=0) == pytest.approx((0, 0), abs=0.1)
    for values in (stages.motion, stages.appearance, stages.votes):
        assert values.shape == frame.independent_motion.shape
        assert values[inside].mean() > 0.7 > 0.3 > values[outside].mean()


@pytest.mark.parametrize("kind", ["still", "camera"])
def test_nothing_is_found_without_independent_motion(kind: str) -> None:
    """A still scene and a panned one have empty masks."""
    video = draw_video(3, WorldSettings(frames_per_video=8), kind)
    frames = segment_one(list(video.frames), SETTINGS)

    assert max(float((frame.soft_mask >= 0.5).mean()) for frame in frames) < 0.01


def test_same_frames_give_the_same_bytes() -> None:
    """The masks of two runs are equal bit for bit."""
    frames = list(moving_square(frames=6).frames)
    first, second = segment_one(frames, SETTINGS), segment_one(frames, SETTINGS)

    assert all(np.array_equal(a.soft_mask, b.soft_mask) for a, b in zip(first, second, strict=True))


def test_two_frames_and_odd_sizes_are_enough() -> None:
    """A window of two frames of odd width and height."""
    frames = [frame[:-1, :-1] for frame in moving_square(frames=2).frames]
    masks = [frame.soft_mask for frame in segment_one(frames, SETTINGS)]

    assert [mask.shape for mask in masks] == [(239, 319)] * 2
    assert all(mask.dtype == np.float32 and mask.min() >= 0 and mask.max() <= 1 for mask in masks)
