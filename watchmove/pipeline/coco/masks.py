"""COCO's encodings of masks, decoded to arrays: polygons, and run lengths as numbers or packed in a string.

Run lengths count pixels down the columns, alternating between background and object, background first. In a packed
string each number is split into 5-bit groups, lowest first, one character for each: 48 is added, bit 5 means that more
groups follow, and bit 4 of the last group is the sign. From the fourth number on, the difference to the number two
places before is stored (COCO API, maskApi.c, rleFrString). Polygons give exactly the pixels that the COCO API gives
(rleFrPoly): their outline is drawn at five times the resolution, and a pixel belongs to the polygon where the number of
outline crossings above its centre is odd. Parts outside of the image are cut off.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from watchmove.pipeline.errors import UnreadableVideo
from watchmove.pipeline.files.numbers import number_if_text

UNSURE = 0.55
"""Soft mask of a crowd, between the thresholds of background (0.4) and foreground (0.7): the loss excludes it."""

_OUTLINE_SCALE = 5
"""Resolution of a polygon's outline, relative to pixels, as in the COCO API."""
_MAX_GROUPS = 6
"""A bound, not a tuned value: six groups hold numbers below 2**29, more than an image's pixels may be."""
_LONGEST_OUTLINE = 2**22
"""Points of one polygon's outline above which it is refused. A bound on memory (some 300 MB), not a tuned value."""
_CROWD: dict[str, bool] = {
    **dict.fromkeys(("1", "1.0", "true"), True),
    **dict.fromkeys(("0", "0.0", "false", "none", ""), False),
}
"""Values of `iscrowd`, some of which tools write as text."""


class SoftMask(NamedTuple):
    """The mask of an image: `soft_mask` float32 (H, W), and what is wrong with each object that was left out."""

    soft_mask: NDArray[np.float32]
    problems: tuple[str, ...]


def soft_mask_of(annotations: Sequence[Mapping[str, Any]], height: int, width: int) -> SoftMask:
    """Union of the annotated objects: 1 on any object, UNSURE on crowd regions alone, else 0.

    An object whose mask cannot be decoded is left out, and the box that it has is UNSURE where no other object is, so
    that it is not learnt as background.

    Raises:
        UnreadableVideo: no object's mask can be decoded (`bad-mask`).
    """
    soft_mask = np.zeros((height, width), np.float32)
    objects, problems = [], []
    for number, annotation in enumerate(annotations, start=1):
        try:
            crowd = _is_crowd(annotation.get("iscrowd"))
            objects.append((crowd, mask_of(annotation.get("segmentation"), height, width)))
        except UnreadableVideo as error:
            problems.append(f"object {number}: {error.detail}")
            rows, columns = _box(annotation.get("bbox"), height, width)
            soft_mask[rows, columns] = UNSURE
    if problems and not objects:
        raise UnreadableVideo("bad-mask", problems[0])
    # crowds first, so that objects overwrite them
    for crowd, mask in sorted(objects, key=lambda found: not found[0]):
        soft_mask[mask] = np.float32(UNSURE if crowd else 1)
    return SoftMask(soft_mask, tuple(problems))


def _is_crowd(value: object) -> bool:
    """Whether an annotation is of a crowd. Raises UnreadableVideo for a value that does not say."""
    crowd = _CROWD.get(str(value).strip().lower())
    if crowd is None:
        raise UnreadableVideo("bad-mask", f"iscrowd is {str(value)[:40]!r}; it is 0 or 1")
    return crowd


def _box(box: object, height: int, width: int) -> tuple[slice, slice]:
    """Rows and columns of a box (x, y, width, height) in pixels; the whole image where there is no such box."""
    numbers = box if isinstance(box, list) and len(box) == 4 else []
    if not numbers or not all(isinstance(number, int | float) and abs(number) < 2**31 for number in numbers):
        return slice(0, height), slice(0, width)
    x, y, across, down = (float(number) for number in numbers)
    if across <= 0 or down <= 0:
        return slice(0, height), slice(0, width)
    return (
        slice(max(0, int(y)), max(0, math.ceil(y + down))),
        slice(max(0, int(x)), max(0, math.ceil(x + across))),
    )


def mask_of(segmentation: object, height: int, width: int) -> NDArray[np.bool_]:
    """Mask bool (H, W) of one annotation's segmentation. Raises UnreadableVideo as `soft_mask_of` does."""
    try:
        if isinstance(segmentation, list):
            if not segmentation:  # written by tools that annotate boxes alone
                raise ValueError("a segmentation without a polygon")
            return _filled([_corners(polygon) for polygon in segmentation], height, width)
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


def _corners(polygon: object) -> NDArray[np.float64]:
    """Corners (n, 2), x then y, in pixels; integers are corners of pixels, not centres."""
    # text by the one strict reader: NumPy's own takes "1_0" for 10
    numbers = np.asarray([number_if_text(entry) for entry in polygon] if isinstance(polygon, list) else (), np.float64)
    if numbers.ndim != 1 or len(numbers) < 6 or len(numbers) % 2 or not np.isfinite(numbers).all():
        raise ValueError("a polygon is a list of three or more x, y")
    # axes: (2 n,) -> (n, x and y)
    corners = numbers.reshape(-1, 2)
    length = np.abs(corners - np.roll(corners, -1, axis=0)).max(axis=1).sum()
    if max(length, np.abs(corners).max()) > _LONGEST_OUTLINE / _OUTLINE_SCALE:
        raise ValueError("a polygon's outline is longer than that of any object")
    return corners


def _filled(polygons: Sequence[NDArray[np.float64]], height: int, width: int) -> NDArray[np.bool_]:
    """Union of polygons, bool (H, W)."""
    mask = np.zeros((height, width), np.bool_)
    for corners in polygons:
        mask |= _filled_polygon(corners, height, width)
    return mask


def _filled_polygon(corners: NDArray[np.float64], height: int, width: int) -> NDArray[np.bool_]:
    """The pixels (H, W) of one polygon, by the rule of the COCO API."""
    points = _outline(np.trunc(_OUTLINE_SCALE * corners + 0.5).astype(np.int64))
    # where the outline goes from one column to the next, it crosses the boundary between them
    (before, after) = (points[:-1], points[1:])
    crosses = before[:, 0] != after[:, 0]
    left = np.where(after[:, 0] < before[:, 0], after[:, 0], after[:, 0] - 1)
    x = (left + 0.5) / _OUTLINE_SCALE - 0.5
    y = np.where(after[:, 1] < before[:, 1], after[:, 1], before[:, 1])
    row = np.ceil(np.clip((y + 0.5) / _OUTLINE_SCALE - 0.5, 0, height)).astype(np.int64)
    # only crossings at the centres of pixels' columns count
    counted = crosses & (np.floor(x) == x) & (x >= 0) & (x <= width - 1)
    # each crossing turns all pixels after it, down the columns, from background to object or back
    turns = np.bincount(x[counted].astype(np.int64) * height + row[counted], minlength=height * width + 1)
    inside = np.cumsum(turns[: height * width]) % 2 == 1
    # axes: (W H,), column after column -> (H, W)
    return np.asarray(inside.reshape(width, height).T, np.bool_)


def _outline(corners: NDArray[np.int64]) -> NDArray[np.int64]:
    """All points (m, 2) of a closed outline with integer corners (n, 2), one step along the longer axis at a time.

    A line is drawn from its lesser end, so that it has the same points in both directions.
    """
    parts = []
    for start, end in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        steps = np.abs(end - start)
        axis = 0 if steps[0] >= steps[1] else 1
        flipped = start[axis] > end[axis]
        first, last = (end, start) if flipped else (start, end)
        along = np.arange(steps[axis] + 1)
        slope = (last[1 - axis] - first[1 - axis]) / steps[axis] if steps[axis] else 0.0
        line = np.empty((len(along), 2), np.int64)
        line[:, axis] = first[axis] + along
        line[:, 1 - axis] = np.trunc(first[1 - axis] + slope * along + 0.5)
        parts.append(line[::-1] if flipped else line)
    return np.concatenate(parts)


def _unpacked(segmentation: Mapping[str, Any], height: int, width: int) -> NDArray[np.bool_]:
    if segmentation.get("size") != [height, width]:
        size = str(segmentation.get("size"))[:60]
        raise ValueError(f"run lengths of {size}, the image has [{height}, {width}]")
    counts = segmentation.get("counts")
    numbers = np.asarray(run_lengths(counts) if isinstance(counts, str) else counts)
    # each length is bounded before they are summed, so that the sum cannot overflow
    if numbers.ndim != 1 or numbers.dtype.kind != "i" or (numbers < 0).any() or (numbers > height * width).any():
        raise ValueError("run lengths are a list of integers, 0 or more")
    if int(numbers.sum()) != height * width:
        raise ValueError(f"run lengths of {int(numbers.sum())} pixels, not {height * width}")
    # axes: (W H,), column after column -> (H, W)
    return np.repeat(np.arange(len(numbers)) % 2 == 1, numbers).reshape(width, height).T
