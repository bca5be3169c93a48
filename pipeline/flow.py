"""Dense optical flow inside a window of frames, and what it is used for: carrying maps from one frame to the next.

Flow is computed between full-size grey frames by DIS (Kroeger et al., ECCV 2016, OpenCV's implementation) and kept at
half size, its vectors still in full-size pixels: (h, w, 2) float32, x then y.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
Number = TypeVar("Number", np.uint8, np.float32)

_CONSISTENCY_PIXELS = 1.5


@dataclass(frozen=True)
class WindowFlow:
    """Flow between the frames of one window; `fields[t, gap]` is from frame t to frame t + gap, where both exist."""

    frame_count: int
    fields: dict[tuple[int, int], FloatArray]

    def of_frame(self, index: int) -> list[tuple[int, FloatArray]]:
        """(gap, field) of every field that starts at frame `index`."""
        return [(gap, field) for (start, gap), field in self.fields.items() if start == index]


def half_size(height: int, width: int) -> tuple[int, int]:
    """(height, width) of half size, rounded up."""
    return (height + 1) // 2, (width + 1) // 2


def shrink(array: NDArray[Number]) -> NDArray[Number]:
    """(H, W) or (H, W, C), uint8 or float32, at half size by area averaging, same dtype."""
    height, width = half_size(*array.shape[:2])
    smaller = cv2.resize(array, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(smaller, array.dtype)


def dense_flow(first_grey: NDArray[np.uint8], second_grey: NDArray[np.uint8]) -> FloatArray:
    """Flow (H, W, 2) float32 in pixels that carries `first_grey` onto `second_grey`, both (H, W) uint8."""
    return _calculate(_estimator(), first_grey, second_grey)


def _estimator() -> cv2.DISOpticalFlow:
    return cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)


def _calculate(estimator: cv2.DISOpticalFlow, first: NDArray[np.uint8], second: NDArray[np.uint8]) -> FloatArray:
    field: FloatArray = np.asarray(estimator.calc(first, second, None), np.float32)  # type: ignore[call-overload]
    return field


def window_flow(greys: Sequence[NDArray[np.uint8]], gaps: Sequence[int]) -> WindowFlow:
    """Flow over each gap, in both directions, between `greys`: (H, W) uint8 frames of one shot in order."""
    estimator = _estimator()
    fields = {
        (t, signed): shrink(_calculate(estimator, grey, greys[t + signed]))
        for t, grey in enumerate(greys)
        for gap in gaps
        for signed in (-gap, gap)
        if 0 <= t + signed < len(greys)
    }
    return WindowFlow(len(greys), fields)


def carry(array: FloatArray, field: FloatArray) -> FloatArray:
    """`array` (h, w) or (h, w, C) of another frame, seen from the frame where half-size `field` (h, w, 2) starts."""
    height, width = field.shape[:2]
    columns, rows = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    carried = cv2.remap(
        array,
        columns + field[..., 0] / 2,
        rows + field[..., 1] / 2,
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(carried, np.float32)


def consistency(there: FloatArray, back: FloatArray) -> FloatArray:
    """How well two opposite fields agree, (h, w) in [0, 1]: 1 where going there and back ends at the start."""
    error = there + carry(back, there)
    squared = np.einsum("hwc,hwc->hw", error, error)
    agreement: FloatArray = np.exp(squared * np.float32(-0.5 / _CONSISTENCY_PIXELS**2))
    return agreement


def flow_trust(flow: WindowFlow, index: int) -> float:
    """How far the flow of frame `index` can be believed, in [0, 1]: the mean over the picture of its consistency.

    Each pixel counts with the better of the frames before and after, as what is hidden in one is seen in the other.
    """
    steps = [step for step in (-1, 1) if (index, step) in flow.fields]
    maps = [consistency(flow.fields[index, step], flow.fields[index + step, -step]) for step in steps]
    return float(np.maximum.reduce(maps).mean()) if maps else 0.0


def smooth_along_flow(maps: Sequence[FloatArray], flow: WindowFlow, keep: float = 0.9) -> list[FloatArray]:
    """Average each (h, w) map with those before and after it, carried along the flow where it is consistent.

    A recursive filter, forward and backward, whose memory decays by `keep` per frame.
    """
    forward = _recursive(maps, flow, range(len(maps)), -1, keep)
    backward = _recursive(maps, flow, range(len(maps) - 1, -1, -1), 1, keep)
    return [
        (sum_before + sum_after - own) / (weight_before + weight_after - 1)
        for own, (sum_before, weight_before), (sum_after, weight_after) in zip(maps, forward, backward, strict=True)
    ]


def _recursive(
    maps: Sequence[FloatArray], flow: WindowFlow, order: range, previous: int, keep: float
) -> list[tuple[FloatArray, FloatArray]]:
    """Per frame: the weighted sum of its map and of those visited before it, and the sum of the weights."""
    done: dict[int, tuple[FloatArray, FloatArray]] = {}
    for t in order:
        weighted, weight = maps[t], np.ones_like(maps[t])
        source = t + previous
        if source in done:
            there, back = flow.fields[t, previous], flow.fields[source, -previous]
            trust = np.float32(keep) * consistency(there, back)
            carried = carry(np.dstack(done[source]), there)
            weighted, weight = weighted + trust * carried[..., 0], weight + trust * carried[..., 1]
        done[t] = weighted, weight
    return [done[t] for t in range(len(maps))]
