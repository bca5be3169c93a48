"""From evidence at the working size to soft masks at full size, of batches, in torch: `refinement` for a GPU."""

from torch import Tensor

from pipeline.refinement import COLOUR_SIGMA, GAMMA, LEAST_PEAK, PEAK_POWER, SMOOTHING, peak_box
from pipeline.torch_maps import bilinear_resize, box_mean
from pipeline.torch_smoother import edge_aligned


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
