"""Flow inside all windows of a shot at once, and what it is used for, in torch: `flow` for a GPU.

The frames of all windows stand one after the other; `neighbours` says which come before and after which.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from watchmove.pipeline.flow.torch_maps import warp
from watchmove.pipeline.masks.chain import WORKING_SCALE
from watchmove.pipeline.masks.cpu.windows import CONSISTENCY_PIXELS, KEEP

STEPS = (-1, 1)
"""Directions in time, in the order in which tensors hold them."""


@dataclass(frozen=True)
class Windows:
    """Windows of `lengths` frames each, N frames in all.

    positions: (N,) of each frame in its window; neighbours: (2, N) the frame before and after each, -1 for none.
    """

    lengths: tuple[int, ...]
    positions: Tensor
    neighbours: Tensor

    @classmethod
    def of(cls, lengths: Sequence[int], device: torch.device) -> "Windows":
        """Windows of so many frames each."""
        positions = torch.cat([torch.arange(length) for length in lengths])
        ends = torch.cat([torch.arange(length - 1, -1, -1) for length in lengths])
        index = torch.arange(len(positions))
        before, after = torch.where(positions > 0, index - 1, -1), torch.where(ends > 0, index + 1, -1)
        return cls(tuple(lengths), positions.to(device), torch.stack([before, after]).to(device))

    def pairs(self) -> tuple[Tensor, Tensor, Tensor]:
        """Direction, first and second frame of every pair of neighbours, (P,) each."""
        direction, first = (self.neighbours >= 0).nonzero(as_tuple=True)
        return direction, first, self.neighbours[direction, first]


def carry_maps(maps: Tensor, fields: Tensor) -> Tensor:
    """Maps (N, C, h, w) of other frames, seen from those where fields (N, 2, h, w), in full-size pixels, start."""
    return warp(maps, fields / WORKING_SCALE)


def far_fields(fields: Tensor, windows: Windows, direction: int, gap: int) -> tuple[Tensor, Tensor]:
    """Fields (N, 2, h, w) over `gap` frames, put together from `fields` (2, N, 2, h, w) over one; and for which frames
    (N,) the window has the frame that far away.
    """
    neighbours = windows.neighbours[direction]
    reached, field = neighbours, fields[direction]
    for _ in range(gap - 1):
        there = reached >= 0
        step = fields[direction][reached]
        field = torch.where(there[:, None, None, None], field + carry_maps(step, field), field)
        reached = torch.where(there, neighbours[reached], -1)
    return field, reached >= 0


def agreements(fields: Tensor, windows: Windows) -> Tensor:
    """Consistency (2, N, h, w) in [0, 1] of each field with the one that leads back; 0 where there is no field."""
    agreed = []
    for direction in range(len(STEPS)):
        there = windows.neighbours[direction]
        error = fields[direction] + carry_maps(fields[1 - direction][there], fields[direction])
        agreement = (error.square().sum(dim=1) * (-0.5 / CONSISTENCY_PIXELS**2)).exp()
        agreed.append(agreement * (there >= 0)[:, None, None])
    return torch.stack(agreed)


def smoothed_along_flow(maps: Tensor, fields: Tensor, agreement: Tensor, windows: Windows) -> Tensor:
    """Maps (N, h, w) averaged with those before and after, carried along: `flow.smooth_along_flow`."""
    (before, before_weight), (after, after_weight) = (
        _recursive(maps, fields[direction], agreement[direction], windows, direction) for direction in (0, 1)
    )
    return (before + after - maps) / (before_weight + after_weight - 1)


def _recursive(
    maps: Tensor, fields: Tensor, agreement: Tensor, windows: Windows, direction: int
) -> tuple[Tensor, Tensor]:
    """Of each frame, the weighted sum (N, h, w) of its map and of those visited before it, and the sum of the weights.

    Frames at one position of all windows are visited together.
    """
    done = torch.stack([maps, torch.ones_like(maps)], dim=1)
    visits = range(max(windows.lengths))
    for position in visits if STEPS[direction] < 0 else reversed(visits):
        here = ((windows.positions == position) & (windows.neighbours[direction] >= 0)).nonzero()[:, 0]
        carried = carry_maps(done[windows.neighbours[direction, here]], fields[here])
        done[here] += (KEEP * agreement[here])[:, None] * carried
    return done[:, 0], done[:, 1]
