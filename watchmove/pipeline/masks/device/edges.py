"""From evidence at the working size to soft masks at full size, in batches, in torch: the twin of `cpu.edges`.

The fast global smoother (Min et al., TIP 2014), for which the CPU has OpenCV: each pass solves one tridiagonal system
for every line of every map at once (section III-B); passes along rows and columns alternate with less and less
smoothing (section III-C).
"""

import torch
from torch import Tensor

from watchmove.pipeline.flow.torch_maps import bilinear_resize, box_mean
from watchmove.pipeline.masks.cpu.edges import (
    COLOUR_SIGMA,
    GAMMA,
    MIN_PEAK,
    PEAK_POWER,
    SMOOTHING,
    SMOOTHING_ATTENUATION,
    SMOOTHING_PASSES,
    peak_box,
)


def align_to_edges(evidence: Tensor, images: Tensor) -> Tensor:
    """Enlarge evidence (N, h, w) to the size of images (N, 3, H, W) in [0, 255] and make it flat in their regions."""
    enlarged = bilinear_resize(evidence[:, None], *images.shape[-2:])[:, 0]
    return fast_global_smoother(enlarged, images, SMOOTHING, COLOUR_SIGMA)


def level(evidence: Tensor) -> Tensor:
    """Divide each map of evidence (N, H, W) by most of its peak, by the formula of `cpu.edges.level`."""
    peak = box_mean(evidence[:, None], peak_box(evidence.shape[1])).amax(dim=(1, 2, 3))
    return evidence / peak.clamp(min=MIN_PEAK).pow(PEAK_POWER).view(-1, 1, 1)


def calibrate(evidence: Tensor) -> Tensor:
    """Turn evidence (N, H, W) into soft masks (N, H, W) in [0, 1] that are 0.5 at the boundary of objects."""
    return level(evidence).clamp(0, 1).pow(GAMMA)


def fast_global_smoother(maps: Tensor, guides: Tensor, smoothing: float, colour_sigma: float) -> Tensor:
    """Make maps (N, H, W) float32 flat inside the regions of guides (N, 3, H, W) float32 in [0, 255].

    Computes for each map what `cv2.ximgproc.fastGlobalSmootherFilter(guide, map, smoothing, colour_sigma)` does, the
    other parameters being the constants of `cpu.edges`.
    """
    row_links = _links(guides[..., 1:] - guides[..., :-1], colour_sigma)
    column_links = _links(guides[..., 1:, :] - guides[..., :-1, :], colour_sigma).transpose(1, 2)
    for _ in range(SMOOTHING_PASSES):
        maps = _smooth_lines(maps, smoothing * row_links)
        maps = _smooth_lines(maps.transpose(1, 2), smoothing * column_links).transpose(1, 2)
        # smoothing along one axis at a time leaves streaks, which later and weaker passes remove (section III-C)
        smoothing *= SMOOTHING_ATTENUATION
    return maps


def _links(difference: Tensor, colour_sigma: float) -> Tensor:
    """Similarity in [0, 1] of neighbouring pixels from the difference (N, 3, ...) of their colours."""
    return torch.exp(difference.square().sum(dim=1).sqrt() / -colour_sigma)


def _smooth_lines(lines: Tensor, links: Tensor) -> Tensor:
    """Solve one tridiagonal system for each line of maps (N, L, W), by elimination (Thomas's algorithm).

    links: (N, L, W - 1), the weight between each pixel and the next. The equation of pixel k is
    (1 + link[k - 1] + link[k]) x[k] - link[k - 1] x[k - 1] - link[k] x[k + 1] = lines[k].
    """
    # axes: (position along the line, N, L), so that one position of all lines is contiguous in memory
    right, link = lines.permute(2, 0, 1).contiguous(), links.permute(2, 0, 1).contiguous()
    none = torch.zeros_like(right[:1])
    before, after = torch.cat([none, link]), torch.cat([link, none])
    diagonal = 1 + before + after
    # forward elimination: x[k] = solved[k] + upper[k] x[k + 1]
    upper, solved = torch.empty_like(right), torch.empty_like(right)
    upper[0], solved[0] = after[0] / diagonal[0], right[0] / diagonal[0]
    for k in range(1, len(right)):
        # never below 1, as the diagonal exceeds the sum of both links by 1: no rows need to be exchanged
        pivot = diagonal[k] - before[k] * upper[k - 1]
        upper[k] = after[k] / pivot
        solved[k] = (right[k] + before[k] * solved[k - 1]) / pivot
    # back substitution
    for k in range(len(right) - 2, -1, -1):
        solved[k] += upper[k] * solved[k + 1]
    return solved.permute(1, 2, 0)
