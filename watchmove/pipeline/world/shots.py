"""One shot of the drawn world: its objects, their motion, and the motion of the camera.

All ranges and shares are set by hand and not tuned.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from watchmove.pipeline.world.scene import Layer, Poses, Scene, draw_layer, poses_from_path
from watchmove.pipeline.world.shapes import SHAPES, shape_coverage
from watchmove.pipeline.world.textures import TEXTURES, background, object_texture

_REFERENCE_PIXELS = 240
"""Shorter side of the frames for which speeds and radii in pixels are given; they are scaled for other sizes."""

_SIDE_FRACTION = (0.28, 0.45)
"""Range of the sides of objects, as fractions of the shorter side of the frame."""

SHADED_SHARE = 0.5
"""Share of the objects that are shaded."""

_HUE_CONTRAST = (0.25, 0.75)
"""Range of the difference in hue of an object and the background, as a fraction of the colour circle."""

_OBJECT_SPEED_PIXELS = (1.6, 3.6)
"""Range of the speeds of objects, in pixels per frame."""

_MARGIN_SIDES = 0.45
"""Least distance of the path of an object from the border of its part of the frame, in sides of the object."""

_LEAST_ROOM_PIXELS = 16.0
"""Least extent of the path of an object along each axis, so that large objects move too."""

_RADIUS_RANGE = (0.55, 0.95)
"""Range of the radii of a path, as fractions of the room."""

TILT_RADIANS = 0.4
"""Largest rotation of an object in an image or in the first frame of a video, to either side."""

_ROTATING_SHARE, _ROTATION_DEGREES = 0.5, (0.6, 2.5)
"""Share of the objects that rotate, and the range of their rotation, in degrees per frame."""

_SCALING_SHARE, _SCALING_AMPLITUDE = 0.5, 0.12
"""Share of the objects that grow and shrink, and by how much, relative to their size."""

_SWING_RADIANS = (0.05, 0.12)
"""Range of the phase per frame with which scales change: a period is 50 to 125 frames."""

_CAMERA_SPEED_PIXELS = (0.5, 1.8)
"""Range of the speeds of a panning camera, in pixels per frame."""

_CAMERA_RADIUS_PIXELS = (16.0, 36.0)
"""Range of the radii of the path of a panning camera."""

_CAMERA_ZOOM = 0.03
"""Amplitude with which a panning camera zooms."""

_CAMERA_SPARE_PIXELS = 4
"""Pixels of the background beyond what the camera sees, for interpolation."""

_PAIR_SHARE = 0.35
"""Share of the shots with two objects instead of one."""

_THREE_SHOTS_FRAMES, _THREE_SHOTS_SHARE = 36, 0.5
"""Fewest frames of a video of three shots, and the share of such videos that have three instead of two."""


def draw_object(
    rng: np.random.Generator, class_name: str, side_pixels: int, hue: float
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Draw one object: its texture, uint8 RGB (S, S, 3), and its coverage, float32 (S, S) in [0, 1]."""
    kind = TEXTURES[rng.integers(len(TEXTURES))]
    shaded = bool(rng.random() < SHADED_SHARE)
    return object_texture(rng, kind, side_pixels, hue, shaded=shaded), shape_coverage(class_name, side_pixels)


def contrasting_hue(rng: np.random.Generator, hue: float) -> float:
    """A hue at least a quarter of the circle away from `hue`."""
    return float(hue + rng.uniform(*_HUE_CONTRAST))


def _ellipse(
    rng: np.random.Generator, n_frames: int, centre_xy: NDArray[np.float64], radii_xy: NDArray[np.float64], speed: float
) -> NDArray[np.float64]:
    """A smooth path (T, 2) on an ellipse, x then y, at about `speed` pixels per frame; it never rests."""
    turn = rng.choice([-1, 1]) * speed / radii_xy.mean()
    angles = rng.uniform(0, 2 * np.pi) + turn * np.arange(n_frames)
    return np.asarray(centre_xy + radii_xy * np.stack([np.cos(angles), np.sin(angles)], axis=1))


def _swing(rng: np.random.Generator, n_frames: int, amplitude: float) -> NDArray[np.float64]:
    """Scales (T,) that swing slowly around 1."""
    wave = np.sin(rng.uniform(0, 2 * np.pi) + np.arange(n_frames) * rng.uniform(*_SWING_RADIANS))
    return np.asarray(1 + amplitude * wave, np.float64)


def _object_poses(
    rng: np.random.Generator, n_frames: int, side: int, bounds_x: tuple[float, float], size: tuple[int, int]
) -> Poses:
    """Poses (T, 2, 3) of an object of `side` pixels within `bounds_x` of a frame of (width, height) `size`."""
    scale = min(size) / _REFERENCE_PIXELS
    low = np.array([bounds_x[0], 0.0]) + _MARGIN_SIDES * side
    high = np.array([bounds_x[1], size[1]]) - _MARGIN_SIDES * side
    room = np.maximum(high - low, _LEAST_ROOM_PIXELS * scale) / 2
    radii = room * rng.uniform(*_RADIUS_RANGE, 2)
    centre = (low + high) / 2 + (room - radii) * rng.uniform(-1, 1, 2)
    path = _ellipse(rng, n_frames, centre, radii, rng.uniform(*_OBJECT_SPEED_PIXELS) * scale)
    # multiplied by 0 or 1 instead of skipped, so that every object takes the same number of random draws
    turn = np.radians(rng.uniform(*_ROTATION_DEGREES) * rng.choice([-1, 1])) * (rng.random() < _ROTATING_SHARE)
    angles = rng.uniform(-TILT_RADIANS, TILT_RADIANS) + turn * np.arange(n_frames)
    scales = _swing(rng, n_frames, _SCALING_AMPLITUDE * (rng.random() < _SCALING_SHARE))
    return poses_from_path(path, angles, scales, (side, side))


def _camera(rng: np.random.Generator, n_frames: int, size: tuple[int, int], *, pans: bool) -> tuple[Poses, int]:
    """Poses (T, 2, 3) of the background, and by how many pixels it is larger than the frame on every side."""
    if not pans:
        return np.tile(np.eye(2, 3), (n_frames, 1, 1)), 0
    scale = min(size) / _REFERENCE_PIXELS
    radii = rng.uniform(*_CAMERA_RADIUS_PIXELS, 2) * scale
    # room for the path, for the zoom, and for interpolation: the camera never sees the border of the canvas
    margin = int(radii.max() + _CAMERA_ZOOM * max(size) + _CAMERA_SPARE_PIXELS)
    middle = (np.array(size, np.float64) - 1) / 2
    path = _ellipse(rng, n_frames, middle, radii, rng.uniform(*_CAMERA_SPEED_PIXELS) * scale)
    canvas = (size[0] + 2 * margin, size[1] + 2 * margin)
    return poses_from_path(path, np.zeros(n_frames), _swing(rng, n_frames, _CAMERA_ZOOM), canvas), margin


def _names_and_sides(rng: np.random.Generator, size: tuple[int, int]) -> list[tuple[str, int]]:
    """The shapes of one object, or of two different ones, each with its side in pixels."""
    names = rng.permutation(SHAPES)[: 2 if rng.random() < _PAIR_SHARE else 1]
    return [(str(name), int(rng.uniform(*_SIDE_FRACTION) * min(size))) for name in names]


def moving_shot(
    rng: np.random.Generator, n_frames: int, size: tuple[int, int], *, hue: float, camera_pans: bool
) -> Scene:
    """A shot with one or two objects that move, each in its own part of the width, in front of a still or panned scene.

    `size` is (width, height) in pixels; `hue` is the background's, as a fraction of the colour circle.
    """
    camera, margin = _camera(rng, n_frames, size, pans=camera_pans)
    scene = background(rng, size[1] + 2 * margin, size[0] + 2 * margin, hue)
    objects = _names_and_sides(rng, size)
    edges = np.linspace(0, size[0], len(objects) + 1)
    layers = []
    for (name, side), left, right in zip(objects, edges[:-1], edges[1:], strict=True):
        texture, coverage = draw_object(rng, name, side, contrasting_hue(rng, hue))
        layers.append(
            Layer(name, texture, coverage, _object_poses(rng, n_frames, side, (float(left), float(right)), size))
        )
    return Scene(scene, camera, tuple(layers))


def still_shot(
    rng: np.random.Generator, n_frames: int, size: tuple[int, int], *, hue: float, camera_pans: bool
) -> Scene:
    """A shot like `moving_shot`, but with the objects drawn into the background, so that only the camera can move."""
    moving = moving_shot(rng, n_frames, size, hue=hue, camera_pans=camera_pans)
    canvas = moving.background.copy()
    owner = np.zeros(canvas.shape[:2], np.uint8)
    margin = np.array([[0, 0, (canvas.shape[1] - size[0]) / 2], [0, 0, (canvas.shape[0] - size[1]) / 2]])
    for layer in moving.layers:
        draw_layer(layer, layer.poses[0] + margin, canvas, owner, 1)
    return Scene(canvas, moving.camera, ())


def shot_lengths(rng: np.random.Generator, n_frames: int) -> Sequence[int]:
    """The lengths of two or three shots, about equal and at least 2 frames each, that fill `n_frames` frames."""
    n_shots = 3 if n_frames >= _THREE_SHOTS_FRAMES and rng.random() < _THREE_SHOTS_SHARE else 2
    jitter = n_frames // (n_shots * 4)  # a quarter of a shot, so that no shot can vanish
    cuts = [n_frames * i // n_shots + int(rng.integers(-jitter, jitter + 1)) for i in range(1, n_shots)]
    return [int(length) for length in np.diff([0, *cuts, n_frames])]
