"""Conditions that are drawn into frames are detected and corrected; clean frames are not changed."""

import numpy as np
from numpy.typing import NDArray

from watchmove.pipeline.arrays import Image
from watchmove.pipeline.extraction.conditions import (
    CONDITIONS,
    active_area,
    flicker_gains,
    prepare_shot,
    static_overlay,
)
from watchmove.pipeline.world.video import moving_square


def panned(frames: int = 12) -> list[Image]:
    """A square in front of a textured background, over which the camera pans."""
    return list(moving_square((3.0, 0.0), frames, camera_step_pixels=(-5.0, 2.0)).frames)


def faded(frames: list[Image], factors: NDArray[np.floating]) -> list[Image]:
    """Frames, each multiplied by its factor."""
    return [np.clip(frame * factor, 0, 255).astype(np.uint8) for frame, factor in zip(frames, factors, strict=True)]


def greys(frames: list[Image]) -> NDArray[np.uint8]:
    """The green channel of frames, (N, H, W), in place of grey."""
    return np.stack(frames)[..., 1]


def test_clean_frames_are_left_as_they_are() -> None:
    """No condition is named, and the pixels are the same."""
    frames = panned()
    shot = prepare_shot([frames])

    assert shot.windows[0].conditions == ()
    assert all(np.array_equal(a, b) for a, b in zip(shot.windows[0].images, frames, strict=True))
    assert shot.overlay is None


def test_black_bars_are_cut_off_and_stay_empty() -> None:
    """Bars of 30 rows at the top and bottom: a mask of the part inside has nothing in them."""
    frames = [frame.copy() for frame in panned()]
    for frame in frames:
        frame[:30], frame[-30:] = 3, 0
    shot = prepare_shot([frames])
    whole = shot.in_full_frame(np.ones((180, 320), np.float32), 240, 320)

    assert shot.windows[0].conditions == ("borders",)
    assert shot.windows[0].images[0].shape == (180, 320, 3)
    assert whole[30:210].min() == 1
    assert whole[:30].max() == whole[210:].max() == 0


def test_a_dark_frame_has_no_bars() -> None:
    """A frame that is black, or black except for a small light, has no bars."""
    dark = np.zeros((4, 100, 100), np.uint8)
    lit = dark.copy()
    lit[:, 45:55, 45:55] = 200

    assert active_area(dark) == (slice(0, 100), slice(0, 100))
    assert active_area(lit) == (slice(0, 100), slice(0, 100))


def test_a_logo_that_stays_put_is_masked_out() -> None:
    """A striped plate stays in a corner while the scene changes; in a still scene it cannot be detected."""
    frames = [np.random.default_rng(t).integers(0, 150, (60, 80), dtype=np.uint8) for t in range(12)]
    frames = [np.kron(frame, np.ones((4, 4), np.uint8)) for frame in frames]
    for frame in frames:
        frame[10:40, 10:60] = 255
        frame[10:40, 10:60:5] = 0
    overlay = static_overlay(np.stack(frames))

    assert overlay is not None
    assert overlay[12:36, 14:56].mean() > 0.9
    assert overlay[60:].sum() == overlay[:, 90:].sum() == 0
    assert static_overlay(np.stack([frames[0]] * 12)) is None


def test_an_object_that_the_camera_follows_is_no_overlay() -> None:
    """A plate on an object that the camera follows hardly moves, but its edges change more than those of an overlay."""
    frames = [np.random.default_rng(t).integers(0, 150, (60, 80), dtype=np.uint8) for t in range(12)]
    frames = [np.kron(frame, np.ones((4, 4), np.uint8)) for frame in frames]
    for t, frame in enumerate(frames):
        frame[10:40, 10:60] = 200 + 5 * (-1) ** t
        frame[10:40, 10:60:5] = 20 + 5 * (-1) ** t

    assert static_overlay(np.stack(frames)) is None


def test_flicker_is_equalized() -> None:
    """Every second frame is a tenth darker and is equalized to within 2 %. A slow change of light is left as it is."""
    frames = panned()
    jumping = faded(frames, np.where(np.arange(12) % 2, 0.9, 1.0))
    window = prepare_shot([jumping]).windows[0]
    brightness = [float(image.mean()) for image in window.images]

    assert window.conditions == ("flicker",)
    assert max(brightness) / min(brightness) < 1.02
    assert flicker_gains(greys(faded(frames, np.linspace(1, 0.8, 12))).astype(np.float32)) is None


def test_repeated_frames_are_removed() -> None:
    """Each frame is there twice: half of them remain, and both of a pair have the same source."""
    frames = panned(8)
    window = prepare_shot([[frame for frame in frames for _ in range(2)]]).windows[0]

    assert window.conditions == ("duplicates",)
    assert len(window.images) == 8
    assert window.sources == tuple(t // 2 for t in range(16))


def test_a_still_scene_is_not_repeated() -> None:
    """Where nothing changes, all frames remain, because the scene is still and no frame is a repetition."""
    window = prepare_shot([[panned()[0]] * 8]).windows[0]

    assert window.conditions == ()
    assert len(window.images) == 8


def test_names_are_a_closed_list() -> None:
    """Several conditions at once give names from the list, each at most once."""
    frames = faded([frame.copy() for frame in panned(8) for _ in range(2)], np.linspace(1, 0.2, 16))
    for frame in frames:
        frame[:30] = 0
    names = prepare_shot([frames]).windows[0].conditions

    assert set(names) <= set(CONDITIONS)
    assert len(set(names)) == len(names)
    assert "borders" in names
