"""Shapes, textures and backgrounds that no drawn video has, for a detection set on which features must transfer.

All ranges are set by hand and not tuned.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from watchmove.pipeline.arrays import FloatArray
from watchmove.pipeline.world.textures import as_bytes, rgb_from_hsv, smooth_noise

UNSEEN_SHAPES = ("heart", "crescent", "arrow", "angle", "bolt", "hourglass")

UNSEEN_TEXTURES = ("dots", "zigzags", "bricks", "rings")

_PERIOD_SIDES = (0.16, 0.3)
"""Range of the period of a texture, in sides of the object: that of the videos' textures."""

_CURVE_CORNERS = 60
"""Corners of the polygons that approximate curves."""

_CRESCENT_CENTRE, _CRESCENT_RADIUS = 0.55, 0.85
"""Centre and radius of the circle that is cut out of a disk of radius 1 to leave a crescent."""

_CELL_AREA_PIXELS = 1600
"""Mean area of the cells of a background."""

_LINES_AREA_PIXELS = 12_000
"""Area of a background for each straight line across it."""

_GRAIN_PIXELS, _GRAIN = (9.0, 2.0), 0.03
"""Scales of the noise on backgrounds, and its strength in [0, 1] of full brightness."""


def _heart() -> NDArray[np.float64]:
    angles = np.arange(_CURVE_CORNERS) * 2 * np.pi / _CURVE_CORNERS
    x = 16 * np.sin(angles) ** 3
    y = -(13 * np.cos(angles) - 5 * np.cos(2 * angles) - 2 * np.cos(3 * angles) - np.cos(4 * angles))
    # 17 is the largest coordinate, at the tip
    return np.asarray(np.stack([x, y], axis=1) / 17)


def _crescent() -> NDArray[np.float64]:
    # both circles meet where x = (1 + c² − r²) / 2c
    meeting = (1 + _CRESCENT_CENTRE**2 - _CRESCENT_RADIUS**2) / (2 * _CRESCENT_CENTRE)
    outer = np.linspace(np.arccos(meeting), 2 * np.pi - np.arccos(meeting), _CURVE_CORNERS)
    half = np.arccos((meeting - _CRESCENT_CENTRE) / _CRESCENT_RADIUS)
    inner = np.linspace(2 * np.pi - half, half, _CURVE_CORNERS)
    arcs = [
        np.stack([np.cos(outer), np.sin(outer)], axis=1),
        np.stack([_CRESCENT_CENTRE + _CRESCENT_RADIUS * np.cos(inner), _CRESCENT_RADIUS * np.sin(inner)], axis=1),
    ]
    return np.concatenate(arcs)


UNSEEN_OUTLINES: dict[str, NDArray[np.float64]] = {
    "heart": _heart(),
    "crescent": _crescent(),
    "arrow": np.array([(-1, -0.3), (0, -0.3), (0, -0.85), (1, 0), (0, 0.85), (0, 0.3), (-1, 0.3)]),
    "angle": np.array([(-0.8, -1), (-0.2, -1), (-0.2, 0.4), (0.8, 0.4), (0.8, 1), (-0.8, 1)]),
    "bolt": np.array([(0.15, -1), (-0.65, 0.15), (-0.1, 0.15), (-0.35, 1), (0.65, -0.25), (0.1, -0.25), (0.5, -1)]),
    "hourglass": np.array([(-0.85, -0.95), (0.85, -0.95), (0.2, 0), (0.85, 0.95), (-0.85, 0.95), (-0.2, 0)]),
}
"""Outline of each shape, a closed polygon float64 (n, 2) of x then y, within [-1, 1]; y points down."""


def unseen_pattern(rng: np.random.Generator, kind: str, side: int) -> FloatArray:
    """How much of the second of two colours each pixel has, float32 (side, side) in [0, 1]; `kind` is a texture."""
    y, x = np.mgrid[:side, :side].astype(np.float32) - np.float32(side / 2)
    angle, period = rng.uniform(0, np.pi), rng.uniform(*_PERIOD_SIDES) * side
    along = (np.cos(angle) * x + np.sin(angle) * y) * np.float32(2 * np.pi / period)
    across = (np.cos(angle) * y - np.sin(angle) * x) * np.float32(2 * np.pi / period)
    if kind == "dots":
        wave = np.cos(along) + np.cos(across) - 0.7
    elif kind == "zigzags":
        wave = np.sin(along + 2 * np.arcsin(np.sin(across)))
    elif kind == "bricks":
        shifted = along / 2 + np.pi / 2 * (np.floor(across / (2 * np.pi)) % 2)
        wave = 4 * np.maximum(np.cos(across) - 0.8, np.cos(2 * shifted) - 0.9)
    else:
        wave = np.sin(np.hypot(along, across))
    # an eighth of the period makes borders about a pixel wide, whatever the period is
    return np.asarray(np.clip(0.5 + wave * period / 8, 0, 1), np.float32)


def unseen_background(rng: np.random.Generator, height: int, width: int, hue: float) -> NDArray[np.uint8]:
    """A mosaic of muted cells, uint8 RGB (height, width, 3), with straight lines across it and noise of two scales."""
    sites = np.ones((height, width), np.uint8)
    count = max(2, height * width // _CELL_AREA_PIXELS)
    sites[rng.integers(height, size=count), rng.integers(width, size=count)] = 0
    _, labels = cv2.distanceTransformWithLabels(sites, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    colours = np.stack(
        [
            rgb_from_hsv(hue + rng.uniform(-0.12, 0.12), rng.uniform(0.08, 0.35), rng.uniform(0.25, 0.75))
            for _ in range(int(labels.max()) + 1)
        ]
    )
    scene = np.ascontiguousarray(colours[labels])
    for _ in range(height * width // _LINES_AREA_PIXELS):
        ends = rng.integers(0, (width, height), (2, 2))
        colour = rgb_from_hsv(hue, rng.uniform(0.05, 0.3), rng.uniform(0.2, 0.8)).tolist()
        cv2.line(scene, ends[0].tolist(), ends[1].tolist(), colour, int(rng.integers(1, 4)), cv2.LINE_AA)
    grain = sum(smooth_noise(rng, height, width, scale) * _GRAIN for scale in _GRAIN_PIXELS)
    return as_bytes(scene + np.asarray(grain, np.float32)[..., None])
