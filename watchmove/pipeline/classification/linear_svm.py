"""Linear SVMs, one for each class, all at once: L2-regularised squared hinge loss by truncated Newton steps.

The problem is LIBLINEAR's (Fan et al., JMLR 2008, section 2 of its appendix), a constant feature for the bias included;
so is the method in the primal (Lin, Weng and Keerthi, JMLR 2008), with a backtracking line search in place of a trust
region. Classes share the features, so that a step of all of them is two products of matrices.
"""

import torch
from torch import Tensor

from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.files.weights import name_of_not_finite

POSITIVE_WEIGHT = 2.0
"""Weight of a positive example in the loss, as in the benchmark of Goyal et al. (ICCV 2019)."""

_TOLERANCE = 1e-5
"""Fitting ends where the gradient's norm is this fraction of that at zero weights; set by hand, not tuned."""
_NEWTON_STEPS, _CONJUGATE_STEPS, _HALVINGS = 60, 40, 20
"""Bounds on iterations, set by hand, not tuned."""
_CONJUGATE_TOLERANCE = 0.1
"""Conjugate gradients end at this fraction of the first residual's norm, as in LIBLINEAR's Newton method."""
_SUFFICIENT_DECREASE = 1e-4
"""Constant of the Armijo condition (Nocedal and Wright, Numerical Optimization, section 3.1)."""


def fit_svms(features: Tensor, labels: Tensor, costs: Tensor, first: Tensor | None = None) -> Tensor:
    """Weights float64 (D + 1, K), the last row the biases, that minimise |w|² / 2 + C Σ weight · max(0, 1 − y w·x)².

    `features` is float64 (N, D); `labels` float64 (N, K), 1 of the class, −1 not, 0 ignored; `costs` (K,) are C.
    `first` are weights to begin from, such as those for a lower cost. Ends where the gradient is 1e-5 of that at zero.
    Raises InvalidInput where features or the fitted weights are not finite: no further step would change such weights.
    """
    problem = _Problem(features, labels, costs)
    weights = torch.zeros(features.shape[1] + 1, labels.shape[1], dtype=features.dtype, device=features.device)
    # at zero weights even if `first` is given, so that the tolerance does not depend on it
    enough = _TOLERANCE * problem.gradient(weights, problem.scores(weights)).norm(dim=0)
    if first is not None:
        weights = first.clone()
    scores = problem.scores(weights)
    for _ in range(_NEWTON_STEPS):
        gradient = problem.gradient(weights, scores)
        left = gradient.norm(dim=0) > enough
        if not bool(left.any()):
            break
        # finished classes do not move, so that each is fitted as if it were alone
        step = problem.newton_step(scores, gradient) * left
        along = problem.scores(step)
        length = problem.step_length(weights, scores, step, along, gradient)
        # scores are linear in the weights, so that they need no further product with the features
        weights, scores = weights + length * step, scores + length * along
    not_finite = name_of_not_finite({"features": features, "weights": weights})
    if not_finite is not None:
        raise InvalidInput(f"linear SVMs: {not_finite} are not finite; give finite features of unit length")
    return weights


def svm_scores(features: Tensor, weights: Tensor) -> Tensor:
    """Signed distances float64 (N, K), up to each class's scale, of features (N, D)."""
    return features @ weights[:-1] + weights[-1]


class _Problem:
    """The objective of all classes, one column for each; scores are passed in because they are costly to compute."""

    def __init__(self, features: Tensor, labels: Tensor, costs: Tensor) -> None:
        self._features = features
        self._labels = labels
        self._costs = costs * (labels != 0) * torch.where(labels > 0, POSITIVE_WEIGHT, 1.0)  # (N, K)

    def scores(self, weights: Tensor) -> Tensor:
        return svm_scores(self._features, weights)

    def value(self, weights: Tensor, scores: Tensor) -> Tensor:
        """The objective (K,)."""
        return weights.square().sum(dim=0) / 2 + (self._costs * self._margins(scores).square()).sum(dim=0)

    def gradient(self, weights: Tensor, scores: Tensor) -> Tensor:
        return weights - 2 * self._back(self._costs * self._labels * self._margins(scores))

    def newton_step(self, scores: Tensor, gradient: Tensor) -> Tensor:
        """Approximate −H⁻¹ g of each column by conjugate gradients, ended early (truncated)."""
        # second derivative of the squared hinge: 0 where the margin is kept
        curved = 2 * self._costs * (self._margins(scores) > 0)
        step, residual = torch.zeros_like(gradient), -gradient
        direction, size = residual.clone(), residual.square().sum(dim=0)
        enough = _CONJUGATE_TOLERANCE**2 * size
        for _ in range(_CONJUGATE_STEPS):
            left = size > enough
            if not bool(left.any()):
                break
            # H d = d + X' C X d; H itself, of (D + 1)^2 numbers for each class, is never formed
            product = direction + self._back(curved * self.scores(direction))
            along = (direction * product).sum(dim=0)
            length = torch.where(left, size / along.clamp(min=torch.finfo(along.dtype).tiny), 0.0)
            step, residual = step + length * direction, residual - length * product
            before, size = size, torch.where(left, residual.square().sum(dim=0), size)
            direction = torch.where(left, residual + size / before * direction, direction)
        return step

    def step_length(self, weights: Tensor, scores: Tensor, step: Tensor, along: Tensor, gradient: Tensor) -> Tensor:
        """Of each column the first of 1, 1/2, 1/4, … that lowers the objective by enough (Armijo); else 0."""
        now, slope = self.value(weights, scores), (gradient * step).sum(dim=0)
        chosen = torch.zeros_like(now)
        length = torch.ones_like(now)
        for _ in range(_HALVINGS):
            lower = (
                self.value(weights + length * step, scores + length * along)
                <= now + _SUFFICIENT_DECREASE * length * slope
            )
            chosen = torch.where((chosen == 0) & lower, length, chosen)
            if bool((chosen > 0).all()):
                break
            length = torch.where(chosen > 0, chosen, length / 2)
        return chosen

    def _margins(self, scores: Tensor) -> Tensor:
        """Amount by which each example violates the margin, float64 (N, K), at least 0."""
        return (1 - self._labels * scores).clamp(min=0)

    def _back(self, values: Tensor) -> Tensor:
        """Features, with the constant one for the bias, summed with weights `values` (N, K): (D + 1, K)."""
        return torch.cat([self._features.T @ values, values.sum(dim=0, keepdim=True)])
