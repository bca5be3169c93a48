"""Textures of the drawn world: what covers its objects, and the backgrounds they move over."""

import colorsys

import cv2
import numpy as np
from numpy.typing import NDArray

from watchmove.pipeline.arrays import FloatArray

TEXTURES = ("stripes", "checks", "blotches", "plain")


def smooth_noise(rng: np.random.Generator, height: int, width: int, scale_pixels: float) -> FloatArray:
    """Noise without structure finer than `scale_pixels`, float32 (height, width), mean 0 and deviation about 1."""
    rows, columns = int(height / scale_pixels) + 4, int(width / scale_pixels) + 4
    grid = rng.standard_normal((rows, columns), dtype=np.float32)
    x = np.arange(width, dtype=np.float32) / np.float32(scale_pixels) + 1
    y = np.arange(height, dtype=np.float32) / np.float32(scale_pixels) + 1
    map_x, map_y = np.meshgrid(x, y)
    noise = np.asarray(cv2.remap(grid, map_x, map_y, cv2.INTER_CUBIC), np.float32)
    return np.asarray((noise - noise.mean()) / max(float(noise.std()), 1e-6), np.float32)


def rgb_from_hsv(hue: float, saturation: float, value: float) -> FloatArray:
    """One colour, float32 (3,) in [0, 1]; the hue wraps round."""
    return np.array(colorsys.hsv_to_rgb(hue % 1.0, saturation, value), np.float32)


def _pattern(rng: np.random.Generator, kind: str, side: int) -> FloatArray:
    """Which of two colours, float32 (side, side) in [0, 1], soft at the borders between them."""
    y, x = np.mgrid[:side, :side].astype(np.float32)
    angle, period = rng.uniform(0, np.pi), rng.uniform(0.16, 0.3) * side
    along = (np.cos(angle) * x + np.sin(angle) * y) * np.float32(2 * np.pi / period)
    across = (np.cos(angle) * y - np.sin(angle) * x) * np.float32(2 * np.pi / period)
    if kind == "stripes":
        wave = np.sin(along)
    elif kind == "checks":
        wave = np.sin(along) * np.sin(across) * 2
    elif kind == "blotches":
        wave = smooth_noise(rng, side, side, max(2.0, 0.14 * side))
    else:
        wave = np.full((side, side), -1.0)
    return np.asarray(np.clip(0.5 + wave * period / 8, 0, 1), np.float32)


def _shading(rng: np.random.Generator, side: int) -> FloatArray:
    """Light from one side, float32 (side, side, 1), from 0.55 in the shadow to 1.15 in the light."""
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[:side, :side].astype(np.float32) / np.float32(side) - np.float32(0.5)
    light = np.clip(np.cos(angle) * x + np.sin(angle) * y + 0.5, 0, 1)
    return np.asarray(0.55 + 0.6 * light, np.float32)[..., None]


def object_texture(rng: np.random.Generator, kind: str, side: int, hue: float, *, shaded: bool) -> NDArray[np.uint8]:
    """Texture of an object, uint8 RGB (side, side, 3): two tones of one hue in a pattern, with noise at two scales."""
    value = rng.uniform(0.75, 1.0)
    first = rgb_from_hsv(hue, rng.uniform(0.65, 0.95), value)
    second = rgb_from_hsv(hue + rng.uniform(-0.06, 0.06), rng.uniform(0.25, 0.6), rng.uniform(0.45, 1.0) * value)
    which = _pattern(rng, kind, side)[..., None]
    texture = first * (1 - which) + second * which
    grain = smooth_noise(rng, side, side, 7.0) * 0.05 + smooth_noise(rng, side, side, 2.0) * 0.045
    texture = texture + grain[..., None]
    if shaded:
        texture = texture * _shading(rng, side)
    return _to_bytes(texture)


def _add_clutter(rng: np.random.Generator, scene: FloatArray, hue: float) -> None:
    """Blend one irregular, half-transparent patch of muted colour into `scene`, float32 (height, width, 3)."""
    height, width, _ = scene.shape
    n_corners = int(rng.integers(4, 8))
    angles = np.sort(rng.uniform(0, 2 * np.pi, n_corners))
    radii = rng.uniform(0.07, 0.22) * min(height, width) * rng.uniform(0.6, 1.4, n_corners)
    centre = rng.uniform(0, 1, 2) * (width, height)
    corners = centre + radii[:, None] * np.stack([np.sin(angles), np.cos(angles)], axis=1)
    colour = rgb_from_hsv(hue + rng.uniform(-0.1, 0.1), rng.uniform(0.08, 0.3), rng.uniform(0.25, 0.75))
    opacity = rng.uniform(0.6, 0.95)
    # the part it can touch, one pixel at least, so that drawing beyond the border needs no case of its own
    x0, y0 = np.clip(np.floor(corners.min(axis=0)).astype(int) - 1, 0, (width - 1, height - 1))
    x1, y1 = np.clip(np.ceil(corners.max(axis=0)).astype(int) + 2, 1, (width, height))
    patch = scene[y0:y1, x0:x1]
    coverage = np.zeros(patch.shape[:2], np.uint8)
    cv2.fillPoly(coverage, [np.rint((corners - (x0, y0)) * 16).astype(np.int32)], 255, cv2.LINE_AA, shift=4)
    patch += (colour - patch) * np.asarray(coverage * (opacity / 255), np.float32)[..., None]


def background(rng: np.random.Generator, height: int, width: int, hue: float) -> NDArray[np.uint8]:
    """A muted scene, uint8 RGB (height, width, 3): land of two tones of one hue, clutter, and grain at three scales."""
    dark = rgb_from_hsv(hue + rng.uniform(-0.08, 0.08), rng.uniform(0.15, 0.35), rng.uniform(0.25, 0.4))
    light = rgb_from_hsv(hue, rng.uniform(0.1, 0.3), rng.uniform(0.55, 0.7))
    blend = np.clip(0.5 + 0.3 * smooth_noise(rng, height, width, 48.0), 0, 1)[..., None]
    scene = np.asarray(dark * (1 - blend) + light * blend, np.float32)
    for _ in range(int(rng.integers(5, 11)) * height * width // (240 * 320)):
        _add_clutter(rng, scene, hue)
    grain = sum(smooth_noise(rng, height, width, scale) * 0.027 for scale in (14.0, 5.0, 2.0))
    return _to_bytes(scene + np.asarray(grain, np.float32)[..., None])


def _to_bytes(image: FloatArray) -> NDArray[np.uint8]:
    """[0, 1] to uint8, lightly blurred so that moving by part of a pixel does not make the texture shimmer."""
    blurred = cv2.GaussianBlur(np.clip(image, 0, 1).astype(np.float32), (0, 0), 0.6)
    return np.rint(np.asarray(blurred) * 255).astype(np.uint8)
