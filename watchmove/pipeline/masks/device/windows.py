"""Flow inside all windows of a shot at once, and maps that are carried along it, in torch: the twin of `cpu.windows`.

The frames of all windows follow one another on the first axis; `Windows.neighbours` gives the frame before and after
each.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from watchmove.pipeline.arrays import Image
from watchmove.pipeline.flow.dis import dis_flow
from watchmove.pipeline.flow.torch_maps import area_resize, warp
from watchmove.pipeline.flow.torch_methods import TensorFlowMethod
from watchmove.pipeline.masks.chain import WORKING_SCALE
from watchmove.pipeline.masks.cpu.windows import CONSISTENCY_EXPONENT, DECAY
from watchmove.pipeline.masks.device.memory import AdaptiveBatches

STEPS = (-1, 1)
"""Steps in time, backward and forward, in the order in which tensors hold them along an axis `direction`."""

_LUMA_WEIGHTS = (0.299, 0.587, 0.114)
"""Weights of R, G and B in luma, by ITU-R BT.601, as in OpenCV."""


@dataclass(frozen=True)
class Windows:
    """The layout of windows of `lengths` frames each, N frames in all.

    positions: (N,) int64, the position of each frame in its window; neighbours: (2, N) int64, the frame before and the
    frame after each, -1 where the window ends.
    """

    lengths: tuple[int, ...]
    positions: Tensor
    neighbours: Tensor

    @classmethod
    def of(cls, lengths: Sequence[int], device: torch.device) -> "Windows":
        """Lay out windows of these numbers of frames."""
        positions = torch.cat([torch.arange(length) for length in lengths])
        ends = torch.cat([torch.arange(length - 1, -1, -1) for length in lengths])
        index = torch.arange(len(positions))
        before, after = torch.where(positions > 0, index - 1, -1), torch.where(ends > 0, index + 1, -1)
        return cls(tuple(lengths), positions.to(device), torch.stack([before, after]).to(device))

    def pairs(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the direction, the first and the second frame of every pair of neighbours, (P,) int64 each."""
        direction, first = (self.neighbours >= 0).nonzero(as_tuple=True)
        return direction, first, self.neighbours[direction, first]


def window_flow(
    images: Sequence[Image], pixels: Tensor, windows: Windows, method: TensorFlowMethod | None, batches: AdaptiveBatches
) -> Tensor:
    """Compute flow (2, N, 2, h, w) at the working size from each frame to the one before and the one after; 0 for none.

    images: N frames (H, W, 3) uint8 RGB; pixels: the same frames as (N, 3, H, W) uint8 on the device. A method of None
    is DIS, which OpenCV computes on the CPU from the images.
    """
    direction, first, second = windows.pairs()
    height, width = (-(-side // WORKING_SCALE) for side in pixels.shape[-2:])
    full_size = _dis_fields(images, first, second) if method is None else _torch_fields(method, pixels, first, second)
    of_pairs = batches.run(lambda part: area_resize(full_size(part), height, width), len(first))
    fields = of_pairs.new_zeros((len(STEPS), len(pixels), 2, height, width))
    fields[direction, first] = of_pairs
    return fields


def shrink(pixels: Tensor, scale: int = WORKING_SCALE) -> Tensor:
    """Shrink (N, 3, H, W) uint8 to 1/`scale` of its size, rounded up; float32 rounded to whole 8-bit steps."""
    height, width = (-(-side // scale) for side in pixels.shape[-2:])
    # rounded, because the CPU shrinks 8-bit images to 8-bit images
    return area_resize(pixels.float(), height, width).round()


def to_next(fields: Tensor, windows: Windows) -> Tensor:
    """Return flow (N, h, w, 2) to the next frame: the opposite of that to the frame before where there is no next."""
    is_last = (windows.neighbours[STEPS.index(1)] < 0).view(-1, 1, 1, 1)
    # axes: (N, 2, h, w) -> (N, h, w, 2)
    return torch.where(is_last, -fields[STEPS.index(-1)], fields[STEPS.index(1)]).permute(0, 2, 3, 1)


def _torch_fields(method: TensorFlowMethod, pixels: Tensor, first: Tensor, second: Tensor) -> Callable[[slice], Tensor]:
    """Return a function from a slice of the pairs to their fields (n, 2, H, W), by a flow method in torch.

    pixels: (N, 3, H, W) uint8; first, second: (P,), the frames of each pair.
    """

    def fields(part: slice) -> Tensor:
        return method(_grey(pixels[first[part]]), _grey(pixels[second[part]]))

    return fields


def _dis_fields(images: Sequence[Image], first: Tensor, second: Tensor) -> Callable[[slice], Tensor]:
    """Return a function from a slice of the pairs to their fields (n, 2, H, W), by OpenCV's DIS on the CPU."""
    greys = np.stack([np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8) for image in images])

    def fields(part: slice) -> Tensor:
        found = dis_flow(greys[first[part].cpu().numpy()], greys[second[part].cpu().numpy()])
        return torch.from_numpy(found).to(first.device).permute(0, 3, 1, 2)

    return fields


def _grey(pixels: Tensor) -> Tensor:
    """Luma (N, H, W) of RGB (N, 3, H, W) uint8, float32 rounded to whole 8-bit steps as in OpenCV."""
    weights = torch.tensor(_LUMA_WEIGHTS, device=pixels.device).view(3, 1, 1)
    return (pixels.float() * weights).sum(dim=1).round()


def warp_along_flow(maps: Tensor, fields: Tensor) -> Tensor:
    """Warp maps (N, C, h, w) of other frames to the frames where fields (N, 2, h, w) start, in full-size pixels."""
    return warp(maps, fields / WORKING_SCALE)


def compose_fields(fields: Tensor, windows: Windows, direction: int, gap: int) -> tuple[Tensor, Tensor]:
    """Compose the flow over `gap` frames in one direction from fields (2, N, 2, h, w) over single steps.

    Returns fields (N, 2, h, w) and (N,) bool, whether the window has the frame that they lead to; the fields of the
    other frames have no meaning.
    """
    neighbours = windows.neighbours[direction]
    target, field = neighbours, fields[direction]
    for _ in range(gap - 1):
        inside = target >= 0
        # a target of -1 reads the field of the last frame, which `where` discards
        step = fields[direction][target]
        field = torch.where(inside[:, None, None, None], field + warp_along_flow(step, field), field)
        target = torch.where(inside, neighbours[target], -1)
    return field, target >= 0


def window_consistency(fields: Tensor, windows: Windows) -> Tensor:
    """Consistency (2, N, h, w) in [0, 1] of fields (2, N, 2, h, w) with those that lead back; 0 where there is none."""
    consistency = []
    for direction in range(len(STEPS)):
        target = windows.neighbours[direction]
        error = fields[direction] + warp_along_flow(fields[1 - direction][target], fields[direction])
        agreement = (error.square().sum(dim=1) * CONSISTENCY_EXPONENT).exp()
        # a target of -1 reads the last frame's field, which means nothing: its consistency is set to 0
        consistency.append(agreement * (target >= 0)[:, None, None])
    return torch.stack(consistency)


def smooth_along_flow(maps: Tensor, fields: Tensor, consistency: Tensor, windows: Windows) -> Tensor:
    """Average each map (N, h, w) with those of all frames of its window, carried to it along the flow.

    See `cpu.windows.smooth_along_flow` for the weights. fields: (2, N, 2, h, w); consistency: (2, N, h, w).
    """
    before, after = (
        _accumulate(maps, fields[direction], consistency[direction], windows, direction) for direction in (0, 1)
    )
    total = before + after
    return (total[:, 0] - maps) / (total[:, 1] - 1)


def _accumulate(maps: Tensor, fields: Tensor, consistency: Tensor, windows: Windows, direction: int) -> Tensor:
    """Accumulate maps (N, h, w) in one direction of time: for each frame t its (S_t, W_t), as channels (N, 2, h, w).

    The recursion is that of `cpu.windows`: with s, the neighbour of t that was visited before it, and
    k = DECAY * consistency[t], S_t = map_t + k * warp(S_s) and W_t = 1 + k * warp(W_s).
    """
    accumulated = torch.stack([maps, torch.ones_like(maps)], dim=1)
    positions = range(max(windows.lengths))
    # each frame needs the one before it, but frames at the same position of all windows are visited together
    for position in positions if STEPS[direction] < 0 else reversed(positions):
        frames = ((windows.positions == position) & (windows.neighbours[direction] >= 0)).nonzero()[:, 0]
        # where a pass starts no frame has a neighbour: all tensors of this step are empty
        warped = warp_along_flow(accumulated[windows.neighbours[direction, frames]], fields[frames])
        accumulated[frames] += (DECAY * consistency[frames])[:, None] * warped
    return accumulated


def mean_by_frame(maps: Tensor, frame: Tensor, count: int) -> Tensor:
    """Mean (count, h, w) of the maps (P, h, w) of each frame (P,); 0 for a frame that has none."""
    total = maps.new_zeros((count, *maps.shape[1:])).index_add_(0, frame, maps)
    return total / frame.bincount(minlength=count).clamp(min=1).view(-1, 1, 1)
