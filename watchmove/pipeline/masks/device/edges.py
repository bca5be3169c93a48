"""From evidence at the working size to soft masks at full size, of batches, in torch: `refinement` for a GPU.

The fast global smoother (Min et al., TIP 2014), which OpenCV has on the CPU: each pass solves one tridiagonal system
for every line of every picture at once (section III-B); passes along rows and columns alternate with less and less
smoothing (section III-C).
"""

import torch
from torch import Tensor

from watchmove.pipeline.flow.torch_maps import bilinear_resize, box_mean
from watchmove.pipeline.masks.cpu.edges import COLOUR_SIGMA, GAMMA, LEAST_PEAK, PEAK_POWER, SMOOTHING, peak_box

_ROUNDS = 3

_LESS_EACH_ROUND = 0.25


def aligned_to_edges(evidence: Tensor, guides: Tensor) -> Tensor:
    """Evidence (N, h, w) at the size of the guides (N, 3, H, W) in [0, 255], flat inside their regions."""
    enlarged = bilinear_resize(evidence[:, None], *guides.shape[-2:])[:, 0]
    return edge_aligned(enlarged, guides, SMOOTHING, COLOUR_SIGMA)


def levelled(evidence: Tensor) -> Tensor:
    """Evidence (N, H, W) with most of its peak raised to one: see `refinement.level`."""
    peak = box_mean(evidence[:, None], peak_box(evidence.shape[1])).amax(dim=(1, 2, 3))
    return evidence / peak.clamp(min=LEAST_PEAK).pow(PEAK_POWER).view(-1, 1, 1)


def calibrated(evidence: Tensor) -> Tensor:
    """Soft masks (N, H, W) in [0, 1] from evidence (N, H, W): levelled, and the boundary set at 0.5."""
    return levelled(evidence).clamp(0, 1).pow(GAMMA)


def edge_aligned(maps: Tensor, guides: Tensor, smoothing: float, colour_sigma: float) -> Tensor:
    """`maps` (N, H, W) float32 made flat inside the regions of `guides` (N, 3, H, W) float32 in [0, 255].

    What `cv2.ximgproc.fastGlobalSmootherFilter(guide, map, smoothing, colour_sigma)` does to each, with its other
    parameters left alone.
    """
    along_rows = _likeness(guides[..., 1:] - guides[..., :-1], colour_sigma)
    along_columns = _likeness(guides[..., 1:, :] - guides[..., :-1, :], colour_sigma).transpose(1, 2)
    for _ in range(_ROUNDS):
        maps = _smooth_lines(maps, smoothing * along_rows)
        maps = _smooth_lines(maps.transpose(1, 2), smoothing * along_columns).transpose(1, 2)
        smoothing *= _LESS_EACH_ROUND
    return maps


def _likeness(difference: Tensor, colour_sigma: float) -> Tensor:
    """How alike neighbours are, from the difference (N, 3, ...) of their colours: in [0, 1]."""
    return torch.exp(difference.square().sum(dim=1).sqrt() / -colour_sigma)


def _smooth_lines(lines: Tensor, links: Tensor) -> Tensor:
    """Solve (1 + links on both sides) x - links * neighbours = `lines` (N, L, W), by elimination (Thomas)."""
    # (position along the line, N, L), so that one position of all lines lies together in memory
    right, link = lines.permute(2, 0, 1).contiguous(), links.permute(2, 0, 1).contiguous()
    nothing = torch.zeros_like(right[:1])
    before, after = torch.cat([nothing, link]), torch.cat([link, nothing])
    diagonal = 1 + before + after
    ahead, solved = torch.empty_like(right), torch.empty_like(right)
    ahead[0], solved[0] = after[0] / diagonal[0], right[0] / diagonal[0]
    for k in range(1, len(right)):
        pivot = diagonal[k] - before[k] * ahead[k - 1]
        ahead[k] = after[k] / pivot
        solved[k] = (right[k] + before[k] * solved[k - 1]) / pivot
    for k in range(len(right) - 2, -1, -1):
        solved[k] += ahead[k] * solved[k + 1]
    return solved.permute(1, 2, 0)
