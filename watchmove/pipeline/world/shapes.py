"""The six shapes of the drawn world: their outlines and their antialiased coverage."""

import cv2
import numpy as np
from numpy.typing import NDArray

from watchmove.pipeline.errors import InvalidInput

SHAPES = ("disk", "square", "triangle", "star", "cross", "ring")

_SUPERSAMPLING = 8
"""Subpixels per pixel along each axis, from which coverage is averaged. Set by hand: 64 levels look smooth."""

_RING_HOLE = 0.52
"""Radius of the hole of a ring, relative to its outer radius. Set by hand."""

_CROSS_ARM = 0.34
"""Half the width of the arms of a cross, relative to their length. Set by hand."""

_STAR_INNER = 0.45
"""Inner radius of a star, relative to its outer radius. Set by hand."""

_DISK_CORNERS = 90
"""Corners of the polygon that approximates a disk: at any drawn size, its error is well below a pixel."""

SUBPIXEL_BITS = 4
"""Fractional bits of the coordinates that OpenCV's fillPoly takes (its argument `shift`)."""


def _regular(radii: NDArray[np.float64]) -> NDArray[np.float64]:
    """Corners (n, 2), x then y, at equal angles starting at the top, each at its own radius."""
    angles = np.arange(len(radii)) * 2 * np.pi / len(radii)
    return np.asarray(radii[:, None] * np.stack([np.sin(angles), -np.cos(angles)], axis=1), np.float64)


def shape_outline(name: str) -> NDArray[np.float64]:
    """The outer outline of a shape, a closed polygon float64 (n, 2) of x then y, within [-1, 1]; y points down.

    Raises:
        InvalidInput: `name` is not one of `SHAPES`.
    """
    if name in ("disk", "ring"):
        return _regular(np.ones(_DISK_CORNERS))
    if name == "square":
        return np.array([(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)])
    if name == "triangle":
        # the corners reach from -1 to 0.5 vertically: moved down, the triangle is about in the middle
        return np.asarray(_regular(np.ones(3)) + np.array([0, 0.2]))
    if name == "star":
        return _regular(np.tile([1.0, _STAR_INNER], 5))
    if name == "cross":
        arm = _CROSS_ARM
        quarter = np.array([(arm, -arm), (arm, -1.0), (-arm, -1.0)])[::-1]
        turns = [np.array([(0, -1), (1, 0)]), np.array([(-1, 0), (0, -1)]), np.array([(0, 1), (-1, 0)])]
        return np.concatenate([quarter, *(quarter @ turn.T for turn in turns)])
    raise InvalidInput(f"shape {name!r}: is unknown; use one of {', '.join(SHAPES)}")


def shape_coverage(name: str, side_pixels: int) -> NDArray[np.float32]:
    """The fraction of each pixel that a shape covers, float32 (side, side) in [0, 1]; outermost pixels are empty."""
    return outline_coverage(shape_outline(name), side_pixels, hole=name == "ring")


def outline_coverage(outline: NDArray[np.float64], side_pixels: int, *, hole: bool = False) -> NDArray[np.float32]:
    """The fraction of each pixel that an outline encloses, float32 (side, side); with `hole`, less that of a ring."""
    large = side_pixels * _SUPERSAMPLING
    radius = (side_pixels / 2 - 1) * _SUPERSAMPLING
    coverage = np.zeros((large, large), np.uint8)
    corners = outline * radius + (large - 1) / 2
    unit = 1 << SUBPIXEL_BITS
    cv2.fillPoly(coverage, [np.rint(corners * unit).astype(np.int32)], 255, shift=SUBPIXEL_BITS)
    if hole:
        inner = shape_outline("disk") * radius * _RING_HOLE + (large - 1) / 2
        cv2.fillPoly(coverage, [np.rint(inner * unit).astype(np.int32)], 0, shift=SUBPIXEL_BITS)
    small = cv2.resize(coverage, (side_pixels, side_pixels), interpolation=cv2.INTER_AREA)
    return np.asarray(small / np.float32(255), np.float32)
