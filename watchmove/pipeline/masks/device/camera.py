"""Camera motion and what is left without it, of batches of flow fields, in torch: `camera_motion` for a GPU.

The same fit, from the same random triples, for all fields at once; sums are in float64, as there.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from watchmove.pipeline.masks.cpu.camera import (
    CANDIDATE_POINT_STEP,
    LEAST_NOISE_PIXELS,
    LEAST_SCALE_PIXELS,
    LEAST_SPREAD,
    MAD_TO_SIGMA,
    RIDGE,
    ROUNDS,
    camera_grid,
    dense_terms,
)


def residual_motions(fields: Tensor, triples: NDArray[np.int64]) -> Tensor:
    """What is left (N, 2, h, w), in the fields' pixels, of `fields` (N, 2, h, w) without the camera's part.

    `triples` (N, candidate, 3) are those of `camera_motion.drawn_triples`, a draw for each field.
    """
    parameters = _fit(fields, torch.from_numpy(triples).to(fields.device))
    height, width = fields.shape[-2:]
    terms = torch.from_numpy(dense_terms(height, width)).to(fields.device)
    camera = (terms @ parameters.float()).transpose(1, 2).reshape(fields.shape)
    return fields - camera


def motion_lengths(residuals: Tensor) -> Tensor:
    """Lengths (N, h, w) of the vectors of residuals (N, 2, h, w), in their pixels."""
    return residuals.square().sum(dim=1).sqrt()


def _fit(fields: Tensor, triples: Tensor) -> Tensor:
    """Affine parameters (N, 3, 2) of the backgrounds."""
    grid = camera_grid(*fields.shape[-2:])
    terms, prior = (torch.from_numpy(part).to(fields.device) for part in (grid.terms, grid.prior))
    vectors = fields[:, :, grid.rows, grid.columns].flatten(2).transpose(1, 2).double()
    parameters = _best_candidates(terms, prior, vectors, triples)
    ridge = RIDGE * torch.eye(3, dtype=terms.dtype, device=terms.device)
    for round_index in range(ROUNDS):
        length = (terms @ parameters - vectors).square().sum(dim=2).sqrt()
        widened = max(1.0, 2.5 - 0.5 * round_index)
        scale = (MAD_TO_SIGMA * middle(length)).clamp(min=LEAST_SCALE_PIXELS) * widened
        weights = prior / (1 + (length / scale[:, None]).square()).square()
        weighted = (terms * weights[..., None]).transpose(1, 2)
        parameters = torch.linalg.solve(weighted @ terms + ridge, weighted @ vectors)
    return parameters


def _best_candidates(terms: Tensor, prior: Tensor, vectors: Tensor, triples: Tensor) -> Tensor:
    """Of each field, the parameters (N, 3, 2) through three points that leave the lowest clipped cost."""
    corners = terms[triples]
    spread = torch.linalg.det(corners).abs() > LEAST_SPREAD
    solvable = torch.where(spread[..., None, None], corners, torch.eye(3, dtype=terms.dtype, device=terms.device))
    which = torch.arange(len(vectors), device=vectors.device)[:, None, None]
    candidates = torch.linalg.solve(solvable, vectors[which, triples])  # (field, candidate, term, xy)
    few = slice(None, None, CANDIDATE_POINT_STEP)
    predicted = torch.einsum("pt,nctx->npcx", terms[few].float(), candidates.float())
    length = (predicted - vectors[:, few].float()[:, :, None]).square().sum(dim=3).sqrt()
    cost = torch.einsum("p,npc->nc", prior[few].float(), length.clamp(max=3) + (length / 4).clamp(max=3))
    best = cost.masked_fill(~spread, torch.inf).argmin(dim=1)
    found = candidates[which[:, 0, 0], best]
    still = torch.zeros_like(found)
    still[:, 2] = middle(vectors.transpose(1, 2))
    return torch.where(spread.any(dim=1)[:, None, None], found, still)


def middle(values: Tensor) -> Tensor:
    """Median along the last axis, the mean of the two middle ones where their number is even."""
    ordered = values.sort(dim=-1).values
    count = values.shape[-1]
    return (ordered[..., (count - 1) // 2] + ordered[..., count // 2]) / 2


def motion_saliencies(lengths: Tensor) -> Tensor:
    """Evidence of own motion (N, h, w) in [0, 1] of residuals of such lengths: `camera_motion.motion_saliency`."""
    ordered = lengths.flatten(1).sort(dim=1).values
    half, high = (ordered[:, int(share * (ordered.shape[1] - 1))][:, None, None] for share in (0.5, 0.98))
    noise = (MAD_TO_SIGMA * half).clamp(min=LEAST_NOISE_PIXELS)
    squared = lengths.square()
    return 0.5 * (squared / (squared + 9 * noise.square()) + (lengths / high.clamp(min=1)).clamp(0, 1))
