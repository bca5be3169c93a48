"""One shot of the drawn world: which objects it shows, how they move, and how the camera does."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from watchmove.pipeline.world.scene import Layer, Poses, Scene, draw_layer, poses_from_path
from watchmove.pipeline.world.shapes import SHAPES, shape_coverage
from watchmove.pipeline.world.textures import TEXTURES, background, object_texture

_REFERENCE_PIXELS = 240
"""Speeds and reaches below are for pictures with this shorter side, and grow with it."""

_SIDE_FRACTION = (0.28, 0.45)
_OBJECT_SPEED = (1.6, 3.6)
_CAMERA_SPEED = (0.5, 1.8)
_CAMERA_REACH = (16.0, 36.0)
_ZOOM = 0.03


def draw_object(
    rng: np.random.Generator, class_name: str, side_pixels: int, hue: float
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Texture, uint8 RGB (S, S, 3), and coverage, float32 (S, S), of one object; half of all are shaded."""
    kind = TEXTURES[rng.integers(len(TEXTURES))]
    shaded = bool(rng.random() < 0.5)
    return object_texture(rng, kind, side_pixels, hue, shaded=shaded), shape_coverage(class_name, side_pixels)


def contrasting_hue(rng: np.random.Generator, hue: float) -> float:
    """A hue at least a quarter of the circle away from `hue`."""
    return float(hue + rng.uniform(0.25, 0.75))


def _ellipse(
    rng: np.random.Generator, n_frames: int, centre_xy: NDArray[np.float64], radii_xy: NDArray[np.float64], speed: float
) -> NDArray[np.float64]:
    """A smooth path (T, 2) on an ellipse, at about `speed` pixels a frame and never at rest."""
    turn = rng.choice([-1, 1]) * speed / radii_xy.mean()
    angles = rng.uniform(0, 2 * np.pi) + turn * np.arange(n_frames)
    return np.asarray(centre_xy + radii_xy * np.stack([np.cos(angles), np.sin(angles)], axis=1))


def _swing(rng: np.random.Generator, n_frames: int, amplitude: float) -> NDArray[np.float64]:
    """A slow swing round 1, (T,)."""
    wave = np.sin(rng.uniform(0, 2 * np.pi) + np.arange(n_frames) * rng.uniform(0.05, 0.12))
    return np.asarray(1 + amplitude * wave, np.float64)


def _object_poses(
    rng: np.random.Generator, n_frames: int, side: int, bounds_x: tuple[float, float], size: tuple[int, int]
) -> Poses:
    """A path within `bounds_x` of a picture of `size`; half the objects turn, half swell and shrink."""
    scale = min(size) / _REFERENCE_PIXELS
    low = np.array([bounds_x[0], 0.0]) + 0.45 * side
    high = np.array([bounds_x[1], size[1]]) - 0.45 * side
    room = np.maximum(high - low, 16.0 * scale) / 2
    radii = room * rng.uniform(0.55, 0.95, 2)
    centre = (low + high) / 2 + (room - radii) * rng.uniform(-1, 1, 2)
    path = _ellipse(rng, n_frames, centre, radii, rng.uniform(*_OBJECT_SPEED) * scale)
    turn = np.radians(rng.uniform(0.6, 2.5) * rng.choice([-1, 1])) * (rng.random() < 0.5)
    angles = rng.uniform(-0.4, 0.4) + turn * np.arange(n_frames)
    scales = _swing(rng, n_frames, 0.12 * (rng.random() < 0.5))
    return poses_from_path(path, angles, scales, (side, side))


def _camera(rng: np.random.Generator, n_frames: int, size: tuple[int, int], *, pans: bool) -> tuple[Poses, int]:
    """Poses of a background that is larger than the picture by the returned margin (pixels) on every side."""
    if not pans:
        return np.tile(np.eye(2, 3), (n_frames, 1, 1)), 0
    scale = min(size) / _REFERENCE_PIXELS
    radii = rng.uniform(*_CAMERA_REACH, 2) * scale
    margin = int(radii.max() + _ZOOM * max(size) + 4)
    middle = (np.array(size, np.float64) - 1) / 2
    path = _ellipse(rng, n_frames, middle, radii, rng.uniform(*_CAMERA_SPEED) * scale)
    canvas = (size[0] + 2 * margin, size[1] + 2 * margin)
    return poses_from_path(path, np.zeros(n_frames), _swing(rng, n_frames, _ZOOM), canvas), margin


def _names_and_sides(rng: np.random.Generator, size: tuple[int, int]) -> list[tuple[str, int]]:
    """One object, or two of different shapes, each with its side in pixels."""
    names = rng.permutation(SHAPES)[: 2 if rng.random() < 0.35 else 1]
    return [(str(name), int(rng.uniform(*_SIDE_FRACTION) * min(size))) for name in names]


def moving_shot(
    rng: np.random.Generator, n_frames: int, size: tuple[int, int], *, hue: float, camera_pans: bool
) -> Scene:
    """Objects that move by themselves, each in its own part of the picture's width, before a still or panned scene."""
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
    """The same sort of scene, its objects part of the background: nothing moves by itself, the camera at most."""
    moving = moving_shot(rng, n_frames, size, hue=hue, camera_pans=camera_pans)
    canvas = moving.background.copy()
    owner = np.zeros(canvas.shape[:2], np.uint8)
    margin = np.array([[0, 0, (canvas.shape[1] - size[0]) / 2], [0, 0, (canvas.shape[0] - size[1]) / 2]])
    for layer in moving.layers:
        draw_layer(layer, layer.poses[0] + margin, canvas, owner, 1)
    return Scene(canvas, moving.camera, ())


def shot_lengths(rng: np.random.Generator, n_frames: int) -> Sequence[int]:
    """Two or three shots of like length that fill `n_frames`, of 2 frames at least."""
    n_shots = 3 if n_frames >= 36 and rng.random() < 0.5 else 2
    play = n_frames // (n_shots * 4)
    cuts = [n_frames * i // n_shots + int(rng.integers(-play, play + 1)) for i in range(1, n_shots)]
    return [int(length) for length in np.diff([0, *cuts, n_frames])]
