"""COCO's encodings of masks, decoded to arrays: polygons, and run lengths as numbers or packed in a string.

Run lengths count pixels down the columns, alternating between background and object, background first. In a packed
string each number is split into 5-bit groups, lowest first, one character for each: 48 is added, bit 5 means that more
groups follow, and bit 4 of the last group is the sign. From the fourth number on, the difference to the number two
places before is stored (COCO API, maskApi.c, rleFrString). Polygons are filled with their border, so that a mask may
exceed COCO's own by a pixel along it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from watchmove.pipeline.errors import UnreadableVideo

UNSURE = 0.55
"""Soft mask of a crowd, between the thresholds of background (0.4) and foreground (0.7): the loss excludes it."""

_SHIFT_BITS = 4
"""Fractional bits of a polygon's corners for OpenCV, 1/16 pixel; set by hand, not tuned."""
_MAX_GROUPS = 6
"""A bound, not a tuned value: six groups hold numbers below 2**29, more than an image's pixels may be."""
_SLACK_PIXELS = 1.0
"""Distance by which a polygon's corner may be outside of the image; set by hand, not tuned."""


def soft_mask_of(annotations: Sequence[Mapping[str, Any]], height: int, width: int) -> NDArray[np.float32]:
    """Union of the annotated objects, float32 (H, W): 1 on any object, UNSURE on crowd regions alone, else 0.

    Raises:
        UnreadableVideo: a mask is not in a COCO encoding (`bad-mask`), or extends beyond the image
            (`mask-beyond-picture`).
    """
    soft_mask = np.zeros((height, width), np.float32)
    # crowds first, so that objects overwrite them
    for annotation in sorted(annotations, key=lambda annotation: not annotation.get("iscrowd")):
        mask = mask_of(annotation.get("segmentation"), height, width)
        soft_mask[mask] = np.float32(UNSURE if annotation.get("iscrowd") else 1)
    return soft_mask


def mask_of(segmentation: object, height: int, width: int) -> NDArray[np.bool_]:
    """Mask bool (H, W) of one annotation's segmentation. Raises UnreadableVideo as `soft_mask_of` does."""
    try:
        if isinstance(segmentation, list):
            return _filled([_corners(polygon, height, width) for polygon in segmentation], height, width)
        if isinstance(segmentation, dict):
            return _unpacked(segmentation, height, width)
    except (TypeError, ValueError, OverflowError) as error:
        raise UnreadableVideo("bad-mask", str(error)[:200]) from error
    raise UnreadableVideo("bad-mask", f"a segmentation is a list or an object, not {type(segmentation).__name__}")


def run_lengths(packed: str) -> list[int]:
    """Run lengths from a packed string. Raises ValueError where it is not one."""
    counts: list[int] = []
    value = groups = 0
    for character in packed:
        code = ord(character) - 48
        if not 0 <= code < 64 or groups == _MAX_GROUPS:
            raise ValueError(f"{character!r} in run lengths")
        value |= (code & 31) << 5 * groups
        groups += 1
        if code & 32:
            continue
        if code & 16:
            value -= 1 << 5 * groups
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = groups = 0
    if groups:
        raise ValueError("run lengths end within a number")
    return counts


def _corners(polygon: object, height: int, width: int) -> NDArray[np.float64]:
    """Corners (n, 2), x then y, in pixels; integers are corners of pixels, not centres."""
    numbers = np.asarray(polygon, np.float64)
    if numbers.ndim != 1 or len(numbers) < 6 or len(numbers) % 2 or not np.isfinite(numbers).all():
        raise ValueError("a polygon is a list of three or more x, y")
    # axes: (2 n,) -> (n, x and y)
    corners = numbers.reshape(-1, 2)
    if corners.min() < -_SLACK_PIXELS or (corners > np.array([width, height]) + _SLACK_PIXELS).any():
        raise UnreadableVideo("mask-beyond-picture", f"a polygon leaves the {width} x {height} pixels")
    return corners


def _filled(polygons: Sequence[NDArray[np.float64]], height: int, width: int) -> NDArray[np.bool_]:
    mask = np.zeros((height, width), np.uint8)
    # one call for each, because overlapping polygons of one call cancel out
    for corners in polygons:
        # pixel centres are at half-integers of COCO's coordinates, at integers of OpenCV's
        points = np.rint((corners - 0.5) * 2**_SHIFT_BITS).astype(np.int32)
        cv2.fillPoly(mask, [points], 1, shift=_SHIFT_BITS)
    return mask.astype(np.bool_)


def _unpacked(segmentation: Mapping[str, Any], height: int, width: int) -> NDArray[np.bool_]:
    if segmentation.get("size") != [height, width]:
        size = str(segmentation.get("size"))[:60]
        raise UnreadableVideo("mask-beyond-picture", f"run lengths of {size}, the image has [{height}, {width}]")
    counts = segmentation.get("counts")
    numbers = np.asarray(run_lengths(counts) if isinstance(counts, str) else counts)
    # each length is bounded before they are summed, so that the sum cannot overflow
    if numbers.ndim != 1 or numbers.dtype.kind != "i" or (numbers < 0).any() or (numbers > height * width).any():
        raise ValueError("run lengths are a list of integers, 0 or more")
    if int(numbers.sum()) != height * width:
        raise ValueError(f"run lengths of {int(numbers.sum())} pixels, not {height * width}")
    # axes: (W H,), column after column -> (H, W)
    return np.repeat(np.arange(len(numbers)) % 2 == 1, numbers).reshape(width, height).T
