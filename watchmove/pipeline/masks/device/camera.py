"""The camera's motion in batches of flow fields, in torch: the twin of `cpu.camera`.

All fields are fitted at once, from the same random triples; sums are in float64 as on the CPU.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from watchmove.pipeline.masks.chain import PEAK_QUANTILE
from watchmove.pipeline.masks.cpu.camera import (
    CANDIDATE_POINT_STEP,
    COARSE_ERROR_DIVISOR,
    CUE_WEIGHT,
    FIT_ROUNDS,
    MAD_TO_SIGMA,
    MAX_CANDIDATE_ERROR,
    MIN_DETERMINANT,
    MIN_NOISE_PIXELS,
    MIN_PEAK_PIXELS,
    MIN_SCALE_PIXELS,
    NOISE_FACTOR,
    NOISE_QUANTILE,
    RIDGE,
    camera_grid,
    dense_terms,
    scale_widening,
)


def residual_motion(fields: Tensor, triples: NDArray[np.int64]) -> Tensor:
    """Subtract the camera's motion from fields (N, 2, h, w): residuals (N, 2, h, w), in the fields' pixels.

    triples: (N, candidate, 3), one draw of `cpu.camera.draw_triples` for each field.
    """
    parameters = fit_camera_motion(fields, torch.from_numpy(triples).to(fields.device))
    height, width = fields.shape[-2:]
    terms = torch.from_numpy(dense_terms(height, width)).to(fields.device)
    camera = (terms @ parameters.float()).transpose(1, 2).reshape(fields.shape)
    return fields - camera


def motion_length(residuals: Tensor) -> Tensor:
    """Lengths (N, h, w) of the vectors of residuals (N, 2, h, w), in their pixels."""
    return residuals.square().sum(dim=1).sqrt()


def fit_camera_motion(fields: Tensor, triples: Tensor) -> Tensor:
    """Fit affine parameters (N, 3, 2) float64 to the backgrounds of fields (N, 2, h, w); triples: (N, candidate, 3)."""
    grid = camera_grid(*fields.shape[-2:])
    terms, prior = (torch.from_numpy(part).to(fields.device) for part in (grid.terms, grid.prior))
    vectors = fields[:, :, grid.rows, grid.columns].flatten(2).transpose(1, 2).double()  # (field, point, xy)
    parameters = _best_candidates(terms, prior, vectors, triples)
    ridge = RIDGE * torch.eye(3, dtype=terms.dtype, device=terms.device)
    for round_index in range(FIT_ROUNDS):
        length = (terms @ parameters - vectors).square().sum(dim=2).sqrt()
        scale = (MAD_TO_SIGMA * _median(length)).clamp(min=MIN_SCALE_PIXELS) * scale_widening(round_index)
        weights = prior / (1 + (length / scale[:, None]).square()).square()
        weighted = (terms * weights[..., None]).transpose(1, 2)
        parameters = torch.linalg.solve(weighted @ terms + ridge, weighted @ vectors)
    return parameters


def _best_candidates(terms: Tensor, prior: Tensor, vectors: Tensor, triples: Tensor) -> Tensor:
    """For each field, the parameters (N, 3, 2) through three points that have the lowest clipped cost."""
    corners = terms[triples]  # (field, candidate, point, term)
    solvable = torch.linalg.det(corners).abs() > MIN_DETERMINANT
    # one call solves all candidates, so unsolvable ones are replaced by the identity and excluded by their cost
    systems = torch.where(solvable[..., None, None], corners, torch.eye(3, dtype=terms.dtype, device=terms.device))
    field = torch.arange(len(vectors), device=vectors.device)
    candidates = torch.linalg.solve(systems, vectors[field[:, None, None], triples])  # (field, candidate, term, xy)
    subset = slice(None, None, CANDIDATE_POINT_STEP)
    predicted = torch.einsum("pt,nctx->npcx", terms[subset].float(), candidates.float())
    length = (predicted - vectors[:, subset].float()[:, :, None]).square().sum(dim=3).sqrt()
    near, far = length, length / COARSE_ERROR_DIVISOR
    clipped = near.clamp(max=MAX_CANDIDATE_ERROR) + far.clamp(max=MAX_CANDIDATE_ERROR)
    cost = torch.einsum("p,npc->nc", prior[subset].float(), clipped)
    best = candidates[field, cost.masked_fill(~solvable, torch.inf).argmin(dim=1)]
    # a field without a solvable candidate has infinite costs only, and falls back to its median shift
    shift = torch.zeros_like(best)
    shift[:, 2] = _median(vectors.transpose(1, 2))
    return torch.where(solvable.any(dim=1)[:, None, None], best, shift)


def _median(values: Tensor) -> Tensor:
    """Median along the last axis; the mean of the two middle values where their number is even, unlike torch's own."""
    ordered = values.sort(dim=-1).values
    count = values.shape[-1]
    return (ordered[..., (count - 1) // 2] + ordered[..., count // 2]) / 2


def motion_saliency(lengths: Tensor) -> Tensor:
    """Evidence of independent motion from lengths (N, h, w) of residuals, in pixels: (N, 2, h, w) in [0, 1].

    As on the CPU, how far lengths exceed the noise, then saliency.
    """
    ordered = lengths.flatten(1).sort(dim=1).values
    positions = (int(quantile * (ordered.shape[1] - 1)) for quantile in (NOISE_QUANTILE, PEAK_QUANTILE))
    middle, high = (ordered[:, position][:, None, None] for position in positions)
    noise = (MAD_TO_SIGMA * middle).clamp(min=MIN_NOISE_PIXELS)
    peak = high.clamp(min=MIN_PEAK_PIXELS)
    squared = lengths.square()
    above_noise = squared / (squared + NOISE_FACTOR**2 * noise.square())
    return torch.stack([above_noise, CUE_WEIGHT * (above_noise + (lengths / peak).clamp(0, 1))], dim=1)
