"""Optical flow between the frames of a window, and maps that are carried from frame to frame along it.

Flow is computed between full-size grey frames and kept at the working size, a quarter of the frame's, with vectors in
full-size pixels: (h, w, 2) float32, x then y. A quarter suffices, because flow is smooth inside objects and outlines
come from the image later.
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
"""Standard deviation, in pixels, by which the consistency falls with the forward-backward error. Set by hand."""

CONSISTENCY_EXPONENT = -0.5 / CONSISTENCY_PIXELS**2
"""Factor on the squared error in pixels: consistency = exp(CONSISTENCY_EXPONENT * error^2), a Gaussian."""

DECAY = 0.9
"""Factor per frame on the weight of evidence that is carried along the flow.

With an early version of the chain, on 15 of the DAVIS-2016 training sequences, 0.6, 0.8, 0.9 and 1 gave J of 0.559,
0.580, 0.590 and 0.579. Without smoothing along the flow J is 0.734 instead of 0.744 on all 30.
"""

_PAIRS_PER_BATCH = 8
"""Pairs of frames given to the flow method at once. A bound on memory, not a tuned value."""

FlowKey = tuple[int, int]
"""A frame's index in its window, and the step from it to a neighbour: -1 or 1."""


@dataclass(frozen=True)
class WindowFlow:
    """Flow between neighbouring frames of one window: `fields[t, step]` (h, w, 2) leads from frame t to t + step."""

    frame_count: int
    fields: dict[FlowKey, FloatArray]

    def steps(self, index: int) -> list[int]:
        """Return those of the steps -1 and 1 that lead from frame `index` to another frame of the window."""
        return [step for step in (-1, 1) if (index, step) in self.fields]


def window_flow(greys: Sequence[NDArray[np.uint8]], method: FlowMethod = dis_flow) -> WindowFlow:
    """Compute flow between neighbours, forward and backward; greys: (H, W) uint8 frames of one window in order."""
    keys = [(t, step) for t in range(len(greys)) for step in (-1, 1) if 0 <= t + step < len(greys)]
    fields = {}
    for start in range(0, len(keys), _PAIRS_PER_BATCH):
        batch = keys[start : start + _PAIRS_PER_BATCH]
        full_size = method(np.stack([greys[t] for t, _ in batch]), np.stack([greys[t + step] for t, step in batch]))
        # shrunk batch by batch, so that the full-size fields of a window are never in memory together
        fields.update({key: shrink(field) for key, field in zip(batch, full_size, strict=True)})
    return WindowFlow(len(greys), fields)


@lru_cache(maxsize=4)
def _pixel_positions(height: int, width: int) -> FloatArray:
    """Column and row of every pixel, (h, w, 2); read-only, because the cache shares it."""
    positions = np.dstack(np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)))
    positions.flags.writeable = False
    return positions


def warp_along_flow(array: FloatArray, field: FloatArray) -> FloatArray:
    """Warp `array` (h, w) or (h, w, C) of another frame to the frame where `field` (h, w, 2) starts.

    The field leads to the frame of the array, in full-size pixels. Beyond the border, its values are repeated.
    """
    # vectors are in full-size pixels, positions in those of the working size
    positions = _pixel_positions(*field.shape[:2]) + field * np.float32(1 / WORKING_SCALE)
    warped = cv2.remap(array, positions, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
    return np.asarray(warped, np.float32)


def compose_fields(flow: WindowFlow, index: int, gaps: Sequence[int]) -> list[tuple[int, FloatArray]]:
    """Compose the flow from frame `index` over each of `gaps` frames, backward and forward, from single steps.

    Returns pairs of a signed gap and a field (h, w, 2), without those that would leave the window. Slow motion is
    clearer over a longer time, and composing fields costs much less than computing flow again.
    """
    fields = []
    for step in flow.steps(index):
        field, distance = flow.fields[index, step], 1
        # in ascending order, so that the field over a longer gap continues that over a shorter one
        for gap in sorted(gaps):
            while distance < gap and (index + distance * step, step) in flow.fields:
                # the next step is read where the field has led so far, not at the pixel where it starts
                field = field + warp_along_flow(flow.fields[index + distance * step, step], field)
                distance += 1
            if distance == gap:
                fields.append((gap * step, field))
    return fields


def forward_backward_consistency(forward: FloatArray, backward: FloatArray) -> FloatArray:
    """How well two opposite fields (h, w, 2) agree, (h, w) in [0, 1]: 1 where the way back ends at the start."""
    error = forward + warp_along_flow(backward, forward)
    squared = np.einsum("hwc,hwc->hw", error, error)
    consistency: FloatArray = np.exp(squared * np.float32(CONSISTENCY_EXPONENT))
    return consistency


def window_consistency(flow: WindowFlow) -> dict[FlowKey, FloatArray]:
    """Consistency (h, w) in [0, 1] of every field of a window with the field that leads back, by the same keys."""
    return {
        (index, step): forward_backward_consistency(field, flow.fields[index + step, -step])
        for (index, step), field in flow.fields.items()
    }


def best_consistency(consistency: dict[FlowKey, FloatArray], index: int) -> FloatArray:
    """Consistency (h, w) in [0, 1] of the flow of frame `index`, in a window of at least two frames.

    Each pixel takes the better of its two neighbours, because what is hidden in one is usually visible in the other.
    """
    best: FloatArray = np.maximum.reduce([consistency[index, step] for step in (-1, 1) if (index, step) in consistency])
    return best


def smooth_along_flow(
    maps: Sequence[FloatArray], flow: WindowFlow, consistency: dict[FlowKey, FloatArray]
) -> list[FloatArray]:
    """Average each map (h, w) with the maps of all frames of the window, carried to it along the flow.

    A frame at a distance of n steps has a weight of DECAY^n times the consistency of the flow on the way. Two passes of
    a recursive filter compute this, one forward and one backward in time; both contain the frame's own map, which is
    therefore subtracted once: smooth = (S_forward + S_backward - map) / (W_forward + W_backward - 1).
    """
    forward = _accumulate(maps, flow, consistency, -1)
    backward = _accumulate(maps, flow, consistency, 1)
    smooth = []
    for own, before, after in zip(maps, forward, backward, strict=True):
        total = before + after
        # at least 1 in the denominator, because both passes give the own frame a weight of 1
        smooth.append((total[..., 0] - own) / (total[..., 1] - 1))
    return smooth


def _accumulate(
    maps: Sequence[FloatArray], flow: WindowFlow, consistency: dict[FlowKey, FloatArray], source_step: int
) -> list[FloatArray]:
    """Accumulate maps in one direction of time: for each frame t its (S_t, W_t), as the two channels of (h, w, 2).

    With s = t + source_step, the neighbour that was visited before t, and k = DECAY * consistency[t, source_step]:

        S_t = map_t + k * warp(S_s)     weighted sum of the maps up to t
        W_t =   1   + k * warp(W_s)     sum of their weights

    The first frame visited has no such neighbour: S_t = map_t and W_t = 1. A step of -1 visits frames in the order of
    time, a step of 1 in reverse.
    """
    order = range(len(maps)) if source_step < 0 else reversed(range(len(maps)))
    accumulated: dict[int, FloatArray] = {}
    for t in order:
        accumulated[t] = np.dstack([maps[t], np.ones_like(maps[t])])
        source = t + source_step
        if source in accumulated:
            warped = warp_along_flow(accumulated[source], flow.fields[t, source_step])
            weight = np.float32(DECAY) * consistency[t, source_step]
            accumulated[t] += weight[..., None] * warped
    return [accumulated[t] for t in range(len(maps))]
