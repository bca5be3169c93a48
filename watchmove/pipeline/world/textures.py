"""Textures of the drawn world: the surfaces of its objects, and the backgrounds in front of which they move.

All ranges are set by hand: objects are saturated and backgrounds muted, and both have detail that optical flow can
follow. Saturation and value are those of the HSV colour model, in [0, 1].
"""

import colorsys
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from watchmove.pipeline.arrays import FloatArray
from watchmove.pipeline.world.shapes import SUBPIXEL_BITS

TEXTURES = ("stripes", "checks", "blotches", "plain")

Pattern = Callable[[np.random.Generator, str, int], FloatArray]
"""Draws one of several textures: how much of the second of two colours each pixel has, (side, side) in [0, 1]."""

_PERIOD_SIDES = (0.16, 0.3)
"""Range of the period of stripes and checks, in sides of the object."""

_BLOTCH_SIDES, _LEAST_BLOTCH_PIXELS = 0.14, 2.0
"""Size of blotches, in sides of the object, and at least in pixels."""

_SHADOW, _LIGHT_RANGE = 0.55, 0.6
"""Brightness of a shaded object on its dark side, and how much it grows to its light side."""

_OBJECT_GRAIN = ((7.0, 0.05), (2.0, 0.045))
"""Scale in pixels and strength of the noise on objects, in [0, 1] of full brightness."""

_BACKGROUND_GRAIN_PIXELS, _BACKGROUND_GRAIN = (14.0, 5.0, 2.0), 0.027
"""Scales of the noise on backgrounds, and its strength."""

_LAND_PIXELS, _LAND_CONTRAST = 48.0, 0.3
"""Scale at which the two tones of a background alternate, and how strongly."""

_CLUTTER_COUNT, _CLUTTER_AREA_PIXELS = (5, 11), 240 * 320
"""Range of the number of patches of clutter, largest excluded, for this area of background."""

_CLUTTER_CORNERS = (4, 8)
"""Range of the number of corners of a patch of clutter, largest excluded."""

_BLUR_PIXELS = 0.6
"""Standard deviation of the blur of finished textures: without it, motion by part of a pixel makes them shimmer."""


def smooth_noise(rng: np.random.Generator, height: int, width: int, scale_pixels: float) -> FloatArray:
    """Noise without structure finer than `scale_pixels`: float32 (height, width) of mean 0 and standard deviation 1."""
    # cubic interpolation reads one grid point before and two after a position, hence 4 here and 1 below
    rows, columns = int(height / scale_pixels) + 4, int(width / scale_pixels) + 4
    grid = rng.standard_normal((rows, columns), dtype=np.float32)
    x = np.arange(width, dtype=np.float32) / np.float32(scale_pixels) + 1
    y = np.arange(height, dtype=np.float32) / np.float32(scale_pixels) + 1
    map_x, map_y = np.meshgrid(x, y)
    noise = np.asarray(cv2.remap(grid, map_x, map_y, cv2.INTER_CUBIC), np.float32)
    return np.asarray((noise - noise.mean()) / max(float(noise.std()), 1e-6), np.float32)


def rgb_from_hsv(hue: float, saturation: float, value: float) -> FloatArray:
    """One RGB colour, float32 (3,) in [0, 1]; hues repeat at whole numbers."""
    return np.array(colorsys.hsv_to_rgb(hue % 1.0, saturation, value), np.float32)


def object_pattern(rng: np.random.Generator, kind: str, side: int) -> FloatArray:
    """How much of the second of two colours each pixel has, float32 (side, side) in [0, 1], with soft borders."""
    y, x = np.mgrid[:side, :side].astype(np.float32)
    angle, period = rng.uniform(0, np.pi), rng.uniform(*_PERIOD_SIDES) * side
    along = (np.cos(angle) * x + np.sin(angle) * y) * np.float32(2 * np.pi / period)
    across = (np.cos(angle) * y - np.sin(angle) * x) * np.float32(2 * np.pi / period)
    if kind == "stripes":
        wave = np.sin(along)
    elif kind == "checks":
        wave = np.sin(along) * np.sin(across) * 2
    elif kind == "blotches":
        wave = smooth_noise(rng, side, side, max(_LEAST_BLOTCH_PIXELS, _BLOTCH_SIDES * side))
    else:
        wave = np.full((side, side), -1.0)
    # an eighth of the period makes all borders about a pixel wide, whatever the period is
    return np.asarray(np.clip(0.5 + wave * period / 8, 0, 1), np.float32)


def _shading(rng: np.random.Generator, side: int) -> FloatArray:
    """Brightness factors for light from one side, float32 (side, side, 1), between 0.55 and 1.15."""
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[:side, :side].astype(np.float32) / np.float32(side) - np.float32(0.5)
    light = np.clip(np.cos(angle) * x + np.sin(angle) * y + 0.5, 0, 1)
    return np.asarray(_SHADOW + _LIGHT_RANGE * light, np.float32)[..., None]


def object_texture(
    rng: np.random.Generator, kind: str, side: int, hue: float, *, shaded: bool, pattern: Pattern = object_pattern
) -> NDArray[np.uint8]:
    """The texture of an object, uint8 RGB (side, side, 3): a pattern of two tones of one hue, and noise of two scales.

    `kind` is one of the textures that `pattern` knows: TEXTURES for `object_pattern`.
    """
    value = rng.uniform(0.75, 1.0)
    first = rgb_from_hsv(hue, rng.uniform(0.65, 0.95), value)
    second = rgb_from_hsv(hue + rng.uniform(-0.06, 0.06), rng.uniform(0.25, 0.6), rng.uniform(0.45, 1.0) * value)
    blend = pattern(rng, kind, side)[..., None]
    texture = first * (1 - blend) + second * blend
    coarse, fine = (smooth_noise(rng, side, side, scale) * strength for scale, strength in _OBJECT_GRAIN)
    grain = coarse + fine
    texture = texture + grain[..., None]
    if shaded:
        texture = texture * _shading(rng, side)
    return as_bytes(texture)


def _add_clutter(rng: np.random.Generator, scene: FloatArray, hue: float) -> None:
    """Blend one irregular, half-transparent patch of muted colour into `scene`, float32 (height, width, 3)."""
    height, width, _ = scene.shape
    n_corners = int(rng.integers(*_CLUTTER_CORNERS))
    angles = np.sort(rng.uniform(0, 2 * np.pi, n_corners))
    radii = rng.uniform(0.07, 0.22) * min(height, width) * rng.uniform(0.6, 1.4, n_corners)
    centre = rng.uniform(0, 1, 2) * (width, height)
    corners = centre + radii[:, None] * np.stack([np.sin(angles), np.cos(angles)], axis=1)
    colour = rgb_from_hsv(hue + rng.uniform(-0.1, 0.1), rng.uniform(0.08, 0.3), rng.uniform(0.25, 0.75))
    opacity = rng.uniform(0.6, 0.95)
    # the part of the scene that the patch can touch, at least one pixel, so that patches outside need no special case
    x0, y0 = np.clip(np.floor(corners.min(axis=0)).astype(int) - 1, 0, (width - 1, height - 1))
    x1, y1 = np.clip(np.ceil(corners.max(axis=0)).astype(int) + 2, 1, (width, height))
    patch = scene[y0:y1, x0:x1]
    coverage = np.zeros(patch.shape[:2], np.uint8)
    fixed_point = np.rint((corners - (x0, y0)) * (1 << SUBPIXEL_BITS)).astype(np.int32)
    cv2.fillPoly(coverage, [fixed_point], 255, cv2.LINE_AA, shift=SUBPIXEL_BITS)
    patch += (colour - patch) * np.asarray(coverage * (opacity / 255), np.float32)[..., None]


def background(rng: np.random.Generator, height: int, width: int, hue: float) -> NDArray[np.uint8]:
    """A muted scene, uint8 RGB (height, width, 3): land of two tones of one hue, clutter, and noise of three scales."""
    dark = rgb_from_hsv(hue + rng.uniform(-0.08, 0.08), rng.uniform(0.15, 0.35), rng.uniform(0.25, 0.4))
    light = rgb_from_hsv(hue, rng.uniform(0.1, 0.3), rng.uniform(0.55, 0.7))
    blend = np.clip(0.5 + _LAND_CONTRAST * smooth_noise(rng, height, width, _LAND_PIXELS), 0, 1)[..., None]
    scene = np.asarray(dark * (1 - blend) + light * blend, np.float32)
    for _ in range(int(rng.integers(*_CLUTTER_COUNT)) * height * width // _CLUTTER_AREA_PIXELS):
        _add_clutter(rng, scene, hue)
    grain = sum(smooth_noise(rng, height, width, scale) * _BACKGROUND_GRAIN for scale in _BACKGROUND_GRAIN_PIXELS)
    return as_bytes(scene + np.asarray(grain, np.float32)[..., None])


def as_bytes(image: FloatArray) -> NDArray[np.uint8]:
    """An image in [0, 1], lightly blurred, as uint8."""
    blurred = cv2.GaussianBlur(np.clip(image, 0, 1).astype(np.float32), (0, 0), _BLUR_PIXELS)
    return np.rint(np.asarray(blurred) * 255).astype(np.uint8)
