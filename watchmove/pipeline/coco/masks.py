"""COCO's ways of writing masks, as arrays: polygons, and run lengths as numbers or packed in a string.

Run lengths go down the columns, off first. Packed, each is a number of 5-bit groups from the lowest, a character each
(48 added, bit 5: more follow, bit 4 of the last: negative); from the fourth on the difference to the last but one is
written (COCO API, maskApi.c, rleFrString). Polygons are filled with their border, so a mask may exceed COCO's own by a
pixel along it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from watchmove.pipeline.errors import UnreadableVideo

UNSURE = 0.55
"""Soft mask of a crowd, between the thresholds of background and foreground: nobody learns from it."""

_SHIFT_BITS = 4
_MOST_GROUPS = 6
_SLACK_PIXELS = 1.0


def soft_mask_of(annotations: Sequence[Mapping[str, Any]], height: int, width: int) -> NDArray[np.float32]:
    """(H, W) in [0, 1]: 1 where any object is, UNSURE where there is only a crowd, else 0.

    Raises:
        UnreadableVideo: a mask is not written as COCO does (`bad-mask`), or reaches beyond (`mask-beyond-picture`).
    """
    soft_mask = np.zeros((height, width), np.float32)
    for one in sorted(annotations, key=lambda one: not one.get("iscrowd")):  # crowds first: objects lie over them
        mask = mask_of(one.get("segmentation"), height, width)
        soft_mask[mask] = np.float32(UNSURE if one.get("iscrowd") else 1)
    return soft_mask


def mask_of(segmentation: object, height: int, width: int) -> NDArray[np.bool_]:
    """(H, W) of one annotation's segmentation. Raises as `soft_mask_of` does."""
    try:
        if isinstance(segmentation, list):
            return _filled([_corners(one, height, width) for one in segmentation], height, width)
        if isinstance(segmentation, dict):
            return _unpacked(segmentation, height, width)
    except (TypeError, ValueError, OverflowError) as error:
        raise UnreadableVideo("bad-mask", str(error)[:200]) from error
    raise UnreadableVideo("bad-mask", f"a segmentation is a list or an object, not {type(segmentation).__name__}")


def run_lengths(packed: str) -> list[int]:
    """The numbers in a packed string. Raises ValueError where it is none."""
    counts: list[int] = []
    value = groups = 0
    for character in packed:
        code = ord(character) - 48
        if not 0 <= code < 64 or groups == _MOST_GROUPS:
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
    """Corners (n, 2), x then y, in pixels; whole numbers are corners of pixels."""
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
    for corners in polygons:
        # pixel centres are at half-integers of COCO's coordinates, at integers of OpenCV's
        points = np.rint((corners - 0.5) * 2**_SHIFT_BITS).astype(np.int32)
        cv2.fillPoly(mask, [points], 1, shift=_SHIFT_BITS)
    return mask.astype(np.bool_)


def _unpacked(segmentation: Mapping[str, Any], height: int, width: int) -> NDArray[np.bool_]:
    if segmentation.get("size") != [height, width]:
        size = str(segmentation.get("size"))[:60]
        raise UnreadableVideo("mask-beyond-picture", f"run lengths of {size}, the picture has [{height}, {width}]")
    counts = segmentation.get("counts")
    numbers = np.asarray(run_lengths(counts) if isinstance(counts, str) else counts)
    if numbers.ndim != 1 or numbers.dtype.kind != "i" or (numbers < 0).any() or (numbers > height * width).any():
        raise ValueError("run lengths are a list of whole numbers from 0 on")
    if int(numbers.sum()) != height * width:
        raise ValueError(f"run lengths of {int(numbers.sum())} pixels, not {height * width}")
    # axes: (W H,), column after column -> (H, W)
    return np.repeat(np.arange(len(numbers)) % 2 == 1, numbers).reshape(width, height).T
