"""Variational optical flow of batches of frame pairs, coarse to fine, in torch, for a GPU or a CPU.

The energy is Brox et al.'s (ECCV 2004): constancy of brightness and of its gradient (section 2.1), both under a robust
penalty, and total variation of the field (equation 3). Later work adds two things: each constancy is divided by the
gradient of its quantity, so that it is measured in pixels (Zimmer et al., IJCV 2011, section 3.1), and has a
penalty of its own (Bruhn and Weickert, ICCV 2005); the field is median filtered after each warp (Sun et al., CVPR 2010,
section 3.2).

Each level of the pyramid warps the second image several times. Between warps the penalties are frozen at the weights
they have (Brox 2004, section 3) and the linear equations of the increment are solved by conjugate gradients,
preconditioned with each pixel's own 2 x 2 block; every sum is per pair, so a batch gives what its pairs give alone.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from watchmove.pipeline.flow.torch_maps import (
    bilinear_resize,
    forward_differences,
    gaussian_blur,
    lands_inside,
    median_of_nine,
    minus_divergence,
    warp,
)

_TRACE = 1e-6
"""Added to the diagonal of the preconditioner, so that it can be inverted where there is neither texture nor link."""


@dataclass(frozen=True)
class VariationalParameters:
    """Parameters of the method; distances are in pixels of the level, brightness is in 8-bit steps.

    They were set by hand; `tests/bench/flow.py` measures the errors to which they lead.

    smoothness: weight of total variation.
    data_penalty_pixels, smoothness_penalty_pixels: errors below which the robust penalties become quadratic.
    gradient_floor: added to squared gradients, so that noise in flat regions is not amplified.
    blur_pixels: standard deviation of the blur before derivatives; pyramid_blur: that before shrinking, per factor.
    pyramid_factor: size of each level relative to the finer one, down to coarsest_side_pixels.
    warps: linearisations per level; solver_steps: steps of conjugate gradients in each, a bound on time.
    longest_increment_pixels: bound on the change per linearisation, which holds for small changes only.
    """

    smoothness: float = 2.4
    data_penalty_pixels: float = 0.05
    smoothness_penalty_pixels: float = 0.01
    gradient_floor: float = 0.1
    blur_pixels: float = 0.6
    pyramid_factor: float = 0.7
    pyramid_blur: float = 0.5
    coarsest_side_pixels: int = 16
    warps: int = 5
    solver_steps: int = 10
    longest_increment_pixels: float = 2.0


@dataclass(frozen=True)
class _Equations:
    """Linear equations of an increment: a symmetric 2 x 2 block per pixel, and the smoothness, each (N, 1, H, W)."""

    xx: Tensor
    xy: Tensor
    yy: Tensor
    weights: Tensor
    right: Tensor

    def times(self, field: Tensor) -> Tensor:
        """The left side at `field` (N, 2, H, W)."""
        along_x, along_y = forward_differences(field)
        u, v = field[:, :1], field[:, 1:]
        data = torch.cat([self.xx * u + self.xy * v, self.xy * u + self.yy * v], dim=1)
        return data + minus_divergence(self.weights * along_x, self.weights * along_y)

    def preconditioner(self) -> Callable[[Tensor], Tensor]:
        """Return a function that divides a field (N, 2, H, W) by each pixel's own 2 x 2 block."""
        # the diagonal of the smoothness term: the links of a pixel to its four neighbours; lines end without one
        to_right = functional.pad(self.weights[..., :-1], (0, 1))
        below = functional.pad(self.weights[..., :-1, :], (0, 0, 0, 1))
        from_left = functional.pad(to_right[..., :-1], (1, 0))
        from_above = functional.pad(below[..., :-1, :], (0, 0, 1, 0))
        own = to_right + below + from_left + from_above + _TRACE
        xx, yy = self.xx + own, self.yy + own
        determinant = xx * yy - self.xy.square()
        yy_part, xy_part, xx_part = yy / determinant, self.xy / determinant, xx / determinant

        def divide(field: Tensor) -> Tensor:
            u, v = field[:, :1], field[:, 1:]
            return torch.cat([yy_part * u - xy_part * v, xx_part * v - xy_part * u], dim=1)

        return divide


@torch.inference_mode()
def variational_flow(first: Tensor, second: Tensor, parameters: VariationalParameters | None = None) -> Tensor:
    """Compute flow (N, 2, H, W) float32 in pixels, x then y, from `first` to `second`.

    Both are (N, H, W) float32 grey in [0, 255], on one device. The flow of a pair does not depend on the rest of its
    batch, except for rounding.
    """
    parameters = parameters or VariationalParameters()
    height, width = first.shape[-2:]
    sizes = _level_sizes(height, width, parameters)
    images = torch.stack([first, second], dim=1)
    field = first.new_zeros((len(first), 2, *sizes[-1]))
    for level in reversed(range(len(sizes))):
        field = _enlarge(field, *sizes[level])
        level_images = _at_level(images, level, sizes[level], parameters)
        field = _solve_level(_channels(level_images[:, :1]), _channels(level_images[:, 1:]), field, parameters)
    return field


def _level_sizes(height: int, width: int, parameters: VariationalParameters) -> list[tuple[int, int]]:
    """(height, width) of each level, the finest first; at least one."""
    shorter = min(height, width)
    count = 1
    while shorter * parameters.pyramid_factor**count >= parameters.coarsest_side_pixels:
        count += 1
    scales = [parameters.pyramid_factor**level for level in range(count)]
    return [(round(height * scale), round(width * scale)) for scale in scales]


def _enlarge(field: Tensor, height: int, width: int) -> Tensor:
    """`field` (N, 2, h, w) at (height, width), its vectors in the new pixels."""
    old_height, old_width = field.shape[-2:]
    scale = field.new_tensor([width / old_width, height / old_height]).view(1, 2, 1, 1)
    return bilinear_resize(field, height, width) * scale


def _at_level(images: Tensor, level: int, size: tuple[int, int], parameters: VariationalParameters) -> Tensor:
    """Images at the size of a level, blurred for it."""
    if level:
        # variances add: a blur of pyramid_blur pixels of the image becomes one of as many pixels of the level
        blur = parameters.pyramid_blur * math.sqrt(parameters.pyramid_factor ** (-2 * level) - 1)
        images = bilinear_resize(gaussian_blur(images, blur), *size)
    return gaussian_blur(images, parameters.blur_pixels)


def _channels(image: Tensor) -> Tensor:
    """The quantities that are assumed to be constant along the flow: brightness and its gradient, (N, 3, H, W)."""
    return torch.cat([image, *_gradient(image)], dim=1)


def _gradient(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Derivatives along x and y by the five-point rule, which is exact for polynomials of degree 4."""
    height, width = maps.shape[-2:]
    padded = functional.pad(maps, (2, 2, 2, 2), mode="replicate")
    rows, columns = padded[..., :, 2 : 2 + width], padded[..., 2 : 2 + height, :]
    along_x = (8 * (columns[..., 3:-1] - columns[..., 1:-3]) - (columns[..., 4:] - columns[..., :-4])) / 12
    along_y = (8 * (rows[..., 3:-1, :] - rows[..., 1:-3, :]) - (rows[..., 4:, :] - rows[..., :-4, :])) / 12
    return along_x, along_y


def _solve_level(first: Tensor, second: Tensor, field: Tensor, parameters: VariationalParameters) -> Tensor:
    """Refine `field` (N, 2, H, W) by a few warps of `second` onto `first`, channels (N, 3, H, W) of one level."""
    first_x, first_y = _gradient(first)
    count = first.shape[1]
    # derivatives are warped too: those of the warped image would also contain the derivatives of the field
    both = torch.cat([second, *_gradient(second)], dim=1)
    longest = parameters.longest_increment_pixels
    for _ in range(parameters.warps):
        warped = warp(both, field, mode="bicubic")
        change = warped[:, :count] - first
        # the mean of the slopes of both images has less noise than either
        slope_x = (warped[:, count : 2 * count] + first_x) / 2
        slope_y = (warped[:, 2 * count :] + first_y) / 2
        equations = _linearise(change, slope_x, slope_y, field, parameters)
        field = median_of_nine(field + _solve(equations, parameters.solver_steps).clamp(-longest, longest))
    return field


def _linearise(
    change: Tensor, slope_x: Tensor, slope_y: Tensor, field: Tensor, parameters: VariationalParameters
) -> _Equations:
    """The equations of the increment to `field`, with the penalties frozen at their weights for it."""
    length = 1 / (slope_x.square() + slope_y.square() + parameters.gradient_floor)
    # the derivative of sqrt(x^2 + e^2) by x^2, without the factor of one half that both terms have in common
    penalty = torch.rsqrt(change.square() * length + parameters.data_penalty_pixels**2)
    # pixels that leave the image have no counterpart: smoothness alone decides there
    weight = lands_inside(field).to(field.dtype) * length * penalty
    along_x, along_y = forward_differences(field)
    # one penalty for both components, so that their discontinuities are at the same places
    variation = (along_x.square() + along_y.square()).sum(dim=1, keepdim=True)
    smooth = parameters.smoothness * torch.rsqrt(variation + parameters.smoothness_penalty_pixels**2)
    weighted_x, weighted_y = weight * slope_x, weight * slope_y
    data = torch.stack([(weighted_x * change).sum(dim=1), (weighted_y * change).sum(dim=1)], dim=1)
    return _Equations(
        xx=(weighted_x * slope_x).sum(dim=1, keepdim=True),
        xy=(weighted_x * slope_y).sum(dim=1, keepdim=True),
        yy=(weighted_y * slope_y).sum(dim=1, keepdim=True),
        weights=smooth,
        right=-data - minus_divergence(smooth * along_x, smooth * along_y),
    )


def _solve(equations: _Equations, steps: int) -> Tensor:
    """Solve by preconditioned conjugate gradients from zero (Hestenes and Stiefel, 1952), each pair separately."""
    divide = equations.preconditioner()
    rest = equations.right
    increment = torch.zeros_like(rest)
    direction = prepared = divide(rest)
    energy = _dot(rest, prepared)
    for _ in range(steps):
        product = equations.times(direction)
        # where a pair is solved already both sides are zero
        length = energy / _dot(direction, product).clamp(min=torch.finfo(product.dtype).tiny)
        increment = increment + length * direction
        rest = rest - length * product
        prepared = divide(rest)
        next_energy = _dot(rest, prepared)
        direction = prepared + next_energy / energy.clamp(min=torch.finfo(product.dtype).tiny) * direction
        energy = next_energy
    return increment


def _dot(first: Tensor, second: Tensor) -> Tensor:
    return (first * second).sum(dim=(1, 2, 3), keepdim=True)
