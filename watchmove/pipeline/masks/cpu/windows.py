"""Dense optical flow inside a window of frames, and what it is used for: carrying maps from one frame to the next.

Flow is computed between full-size grey frames and kept at the working size, a quarter of the frame's, its vectors still
in full-size pixels: (h, w, 2) float32, x then y. The quarter holds all the evidence there is in motion: flow is smooth
inside objects, and outlines come from the picture afterwards.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from watchmove.pipeline.arrays import FloatArray
from watchmove.pipeline.flow.dis import FlowMethod, dis_flow
from watchmove.pipeline.masks.chain import WORKING_SCALE, shrink

CONSISTENCY_PIXELS = 1.5
KEEP = 0.9
_PAIRS_AT_ONCE = 8


@dataclass(frozen=True)
class WindowFlow:
    """Flow between the frames of one window; `fields[t, step]` is from frame t to frame t + step, step -1 or 1."""

    frame_count: int
    fields: dict[tuple[int, int], FloatArray]

    def steps(self, index: int) -> list[int]:
        """Steps, of -1 and 1, that lead from frame `index` to another frame of the window."""
        return [step for step in (-1, 1) if (index, step) in self.fields]


def window_flow(greys: Sequence[NDArray[np.uint8]], method: FlowMethod = dis_flow) -> WindowFlow:
    """Flow between neighbours, there and back, among `greys`: (H, W) uint8 frames of one shot in order."""
    keys = [(t, step) for t in range(len(greys)) for step in (-1, 1) if 0 <= t + step < len(greys)]
    fields = {}
    for start in range(0, len(keys), _PAIRS_AT_ONCE):
        some = keys[start : start + _PAIRS_AT_ONCE]
        found = method(np.stack([greys[t] for t, _ in some]), np.stack([greys[t + step] for t, step in some]))
        fields.update({key: shrink(field) for key, field in zip(some, found, strict=True)})
    return WindowFlow(len(greys), fields)


@lru_cache(maxsize=4)
def _pixel_places(height: int, width: int) -> FloatArray:
    """Column and row of every pixel, (h, w, 2)."""
    places = np.dstack(np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)))
    places.flags.writeable = False
    return places


def carry(array: FloatArray, field: FloatArray) -> FloatArray:
    """`array` (h, w) or (h, w, C) of another frame, seen from the frame where the field (h, w, 2) starts."""
    places = _pixel_places(*field.shape[:2]) + field * np.float32(1 / WORKING_SCALE)
    carried = cv2.remap(array, places, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
    return np.asarray(carried, np.float32)


def longer_fields(flow: WindowFlow, index: int, gaps: Sequence[int]) -> list[tuple[int, FloatArray]]:
    """(gap, field) from frame `index` over each of `gaps` frames, forward and backward, where the window has the frame.

    Fields over more than one step are put together from those over one step: what is slow shows over a longer time.
    """
    fields = []
    for step in flow.steps(index):
        field, reached = flow.fields[index, step], 1
        for gap in sorted(gaps):
            while reached < gap and (index + reached * step, step) in flow.fields:
                field = field + carry(flow.fields[index + reached * step, step], field)
                reached += 1
            if reached == gap:
                fields.append((gap * step, field))
    return fields


def consistency(there: FloatArray, back: FloatArray) -> FloatArray:
    """How well two opposite fields agree, (h, w) in [0, 1]: 1 where going there and back ends at the start."""
    error = there + carry(back, there)
    squared = np.einsum("hwc,hwc->hw", error, error)
    agreement: FloatArray = np.exp(squared * np.float32(-0.5 / CONSISTENCY_PIXELS**2))
    return agreement


def window_consistency(flow: WindowFlow) -> dict[tuple[int, int], FloatArray]:
    """Consistency (h, w) of every field of a window with the one that leads back, by the same keys."""
    return {
        (index, step): consistency(field, flow.fields[index + step, -step])
        for (index, step), field in flow.fields.items()
    }


def best_agreement(agreement: dict[tuple[int, int], FloatArray], index: int) -> FloatArray:
    """Consistency (h, w) in [0, 1] of the flow of frame `index`, of a window of two frames or more.

    Of the frames before and after, each pixel takes the one that agrees better: what is hidden in one is seen in the
    other.
    """
    best: FloatArray = np.maximum.reduce([agreement[index, step] for step in (-1, 1) if (index, step) in agreement])
    return best


def smooth_along_flow(
    maps: Sequence[FloatArray], flow: WindowFlow, agreement: dict[tuple[int, int], FloatArray]
) -> list[FloatArray]:
    """Average each (h, w) map with those before and after it, carried along the flow where it is consistent.

    A recursive filter, forward and backward, whose memory decays by a tenth per frame.
    """
    forward = _recursive(maps, flow, agreement, -1)
    backward = _recursive(maps, flow, agreement, 1)
    return [
        (sum_before + sum_after - own) / (weight_before + weight_after - 1)
        for own, (sum_before, weight_before), (sum_after, weight_after) in zip(maps, forward, backward, strict=True)
    ]


def _recursive(
    maps: Sequence[FloatArray], flow: WindowFlow, agreement: dict[tuple[int, int], FloatArray], previous: int
) -> list[tuple[FloatArray, FloatArray]]:
    """Per frame: the weighted sum of its map and of those visited before it, and the sum of the weights."""
    done: dict[int, tuple[FloatArray, FloatArray]] = {}
    for t in range(len(maps))[::-previous]:
        weighted, weight = maps[t], np.ones_like(maps[t])
        if t + previous in done:
            trust = np.float32(KEEP) * agreement[t, previous]
            carried = carry(np.dstack(done[t + previous]), flow.fields[t, previous])
            weighted, weight = weighted + trust * carried[..., 0], weight + trust * carried[..., 1]
        done[t] = weighted, weight
    return [done[t] for t in range(len(maps))]
