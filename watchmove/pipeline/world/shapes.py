"""The six shapes of the drawn world, as antialiased coverage."""

import cv2
import numpy as np
from numpy.typing import NDArray

from watchmove.pipeline.errors import InvalidInput

SHAPES = ("disk", "square", "triangle", "star", "cross", "ring")

_SUPERSAMPLING = 8
_RING_HOLE = 0.52
_CROSS_ARM = 0.34
_STAR_INNER = 0.45


def _regular(radii: NDArray[np.float64]) -> NDArray[np.float64]:
    """Corners (n, 2) at even angles from straight up, each at its own radius."""
    angles = np.arange(len(radii)) * 2 * np.pi / len(radii)
    return np.asarray(radii[:, None] * np.stack([np.sin(angles), -np.cos(angles)], axis=1), np.float64)


def shape_outline(name: str) -> NDArray[np.float64]:
    """Outer outline of a shape as a closed polygon, float64 (n, 2), x then y, within [-1, 1]; y points down."""
    if name in ("disk", "ring"):
        return _regular(np.ones(90))
    if name == "square":
        return np.array([(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)])
    if name == "triangle":
        return np.asarray(_regular(np.ones(3)) + np.array([0, 0.2]))
    if name == "star":
        return _regular(np.tile([1.0, _STAR_INNER], 5))
    if name == "cross":
        arm = _CROSS_ARM
        quarter = np.array([(arm, -arm), (arm, -1.0), (-arm, -1.0)])[::-1]
        turns = [np.array([(0, -1), (1, 0)]), np.array([(-1, 0), (0, -1)]), np.array([(0, 1), (-1, 0)])]
        return np.concatenate([quarter, *(quarter @ turn.T for turn in turns)])
    raise InvalidInput(f"shape {name!r} is not drawn here; one of {', '.join(SHAPES)} is")


def shape_coverage(name: str, side_pixels: int) -> NDArray[np.float32]:
    """How much of each pixel the shape covers, float32 (side, side) in [0, 1]; a clear margin of 1 pixel all round."""
    large = side_pixels * _SUPERSAMPLING
    radius = (side_pixels / 2 - 1) * _SUPERSAMPLING
    coverage = np.zeros((large, large), np.uint8)
    corners = shape_outline(name) * radius + (large - 1) / 2
    cv2.fillPoly(coverage, [np.rint(corners * 16).astype(np.int32)], 255, shift=4)
    if name == "ring":
        hole = shape_outline("disk") * radius * _RING_HOLE + (large - 1) / 2
        cv2.fillPoly(coverage, [np.rint(hole * 16).astype(np.int32)], 0, shift=4)
    small = cv2.resize(coverage, (side_pixels, side_pixels), interpolation=cv2.INTER_AREA)
    return np.asarray(small / np.float32(255), np.float32)
