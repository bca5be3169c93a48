"""Shots whose truth is exact: the canvas covers everything that the camera sees, and objects stay visible."""

import numpy as np
import pytest

from watchmove.pipeline.world.scene import render
from watchmove.pipeline.world.shots import contrasting_hue, moving_shot, shot_lengths, still_shot

SIZE = (160, 120)


@pytest.mark.parametrize("seed", range(8))
def test_camera_never_looks_beyond_its_background(seed: int) -> None:
    """The corners of the frame are inside the canvas at every moment, so that no mirrored border is visible."""
    scene = moving_shot(np.random.default_rng(seed), 90, SIZE, hue=0.2, camera_pans=True)
    height, width = scene.background.shape[:2]
    corners = np.array([(0, 0, 1), (159, 0, 1), (0, 119, 1), (159, 119, 1)])
    for pose in scene.camera:
        seen = corners @ np.linalg.inv(np.vstack([pose, [0, 0, 1]]))[:2].T
        assert seen.min() >= 0
        assert (seen <= (width - 1, height - 1)).all()


@pytest.mark.parametrize("seed", range(8))
def test_objects_stay_in_sight_and_keep_moving(seed: int) -> None:
    """At least half of each object is visible at every moment, and its middle moves in every step."""
    scene = moving_shot(np.random.default_rng(seed), 60, SIZE, hue=0.2, camera_pans=False)
    for layer in scene.layers:
        middle = np.array([(len(layer.coverage) - 1) / 2] * 2 + [1])
        path = layer.poses @ middle
        steps = np.linalg.norm(np.diff(path, axis=0), axis=1)
        assert (path > 0).all()
        assert (path < SIZE).all()
        assert steps.min() > 0.2
        assert steps.max() < 5


def test_still_shot_shows_objects_but_has_none() -> None:
    """Objects that are drawn into the background are visible and are not in the mask."""
    moving = moving_shot(np.random.default_rng(3), 4, SIZE, hue=0.2, camera_pans=False)
    still = still_shot(np.random.default_rng(3), 4, SIZE, hue=0.2, camera_pans=False)
    image, owner = render(still, 3, *SIZE)

    assert still.layers == ()
    assert not owner.any()
    assert np.array_equal(image, render(moving, 0, *SIZE)[0])


@pytest.mark.parametrize("n_frames", [4, 11, 36, 48, 500])
def test_shots_fill_the_video(n_frames: int) -> None:
    """Two or three shots of at least two frames have the given length together."""
    for seed in range(20):
        lengths = shot_lengths(np.random.default_rng(seed), n_frames)
        assert sum(lengths) == n_frames
        assert len(lengths) in (2, 3)
        assert min(lengths) >= 2


def test_contrasting_hue_is_far() -> None:
    """The hues are at least a quarter of the colour circle apart, in both directions."""
    rng = np.random.default_rng(0)
    apart = [(contrasting_hue(rng, 0.3) - 0.3) % 1 for _ in range(200)]

    assert min(apart) >= 0.25
    assert max(apart) <= 0.75
