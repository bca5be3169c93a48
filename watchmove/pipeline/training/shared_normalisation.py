"""Batch normalisation over the batches of all ranks together, on CPUs and GPUs.

With it a step of several ranks equals that of one rank with the complete batch. PyTorch's SyncBatchNorm does not
support CPUs.
"""

from typing import Any

import torch
import torch.distributed
from torch import Tensor, nn


class _OverRanks(torch.autograd.Function):
    """Normalisation of `values` (N, C, ...) to mean 0 and variance 1 of each channel over the values of all ranks.

    Each rank's loss depends on every rank's values, so the backward pass sums over ranks as well (Ioffe and Szegedy,
    ICML 2015, section 3). Sums are in float64, as in PyTorch's own normalisation on CPUs, so that several ranks differ
    from one process only by the rounding of other operations.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor, epsilon: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the normalised values, and mean (C,), variance (C,) and number of values (1,) of each channel."""
        count = torch.tensor([values.numel() // max(values.shape[1], 1)], dtype=torch.float64, device=values.device)
        # a rank without values takes part too, because the others wait for its contribution
        torch.distributed.all_reduce(count)
        # In two passes: the mean of squares minus the square of the mean would lose digits.
        mean = _total(values) / count
        centred = values - _by_channel(mean, values)
        variance = _total(centred * centred) / count
        inverse = torch.rsqrt(variance + epsilon)
        result = centred * _by_channel(inverse, values)
        ctx.save_for_backward(result, inverse, count)
        ctx.mark_non_differentiable(mean, variance, count)
        return result, mean, variance, count

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """Return dx = (dy - mean(dy) - y mean(dy y)) / std, where y is the result and means are over all ranks."""
        result, inverse, count = ctx.saved_tensors
        gradient = gradients[0]
        mean = _by_channel(_total(gradient) / count, gradient)
        along = _by_channel(_total(gradient * result) / count, gradient)
        return (gradient - mean - result * along) * _by_channel(inverse, gradient), None


class _Shared(nn.Module):
    """Mix-in for PyTorch's batch normalisations that takes the statistics of a batch over all ranks."""

    def forward(self, values: Tensor) -> Tensor:
        """Normalise `values` (N, C, ...) by channel; N may differ between ranks and may be 0."""
        if not self.training:
            result: Tensor = super().forward(values)
            return result
        return _normalised(self, values)  # type: ignore[arg-type]


class SharedNorm1d(_Shared, nn.BatchNorm1d):
    """BatchNorm1d over all ranks."""


class SharedNorm2d(_Shared, nn.BatchNorm2d):
    """BatchNorm2d over all ranks."""


def share_normalisation(network: nn.Module) -> None:
    """Replace every batch normalisation of a network by one over all ranks with the same weights and statistics."""
    # lists: replacing a layer would change what is being iterated
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm1d | nn.BatchNorm2d) and not isinstance(child, _Shared):
                kind = SharedNorm1d if isinstance(child, nn.BatchNorm1d) else SharedNorm2d
                shared = kind(child.num_features, child.eps, child.momentum, device=child.weight.device)
                shared.load_state_dict(child.state_dict())
                setattr(parent, name, shared)


def _total(values: Tensor) -> Tensor:
    """Sum each channel of `values` (N, C, ...) over all ranks: float64 (C,)."""
    total = values.sum([axis for axis in range(values.dim()) if axis != 1], dtype=torch.float64)
    torch.distributed.all_reduce(total)
    return total


def _by_channel(numbers: Tensor, values: Tensor) -> Tensor:
    """Convert `numbers` (C,) to the type of `values` (N, C, ...) and to a shape that broadcasts with them."""
    return numbers.to(values.dtype).view(1, -1, *[1] * (values.dim() - 2))


def _normalised(norm: nn.BatchNorm1d | nn.BatchNorm2d, values: Tensor) -> Tensor:
    # under autocast values may be bfloat16, too coarse for statistics
    exact = values if values.dtype == torch.float64 else values.float()
    normalised, mean, variance, count = _OverRanks.apply(exact, norm.eps)
    # PyTorch keeps the unbiased variance in running statistics and normalises with the biased one.
    _update_running_statistics(norm, mean, variance * count / (count - 1).clamp(min=1))
    result: Tensor = normalised * _by_channel(norm.weight, exact) + _by_channel(norm.bias, exact)
    return result.to(values.dtype)


@torch.no_grad()
def _update_running_statistics(norm: nn.BatchNorm1d | nn.BatchNorm2d, mean: Tensor, variance: Tensor) -> None:
    """Update running mean and variance as PyTorch does; without a momentum they are the mean over all batches."""
    if norm.running_mean is None or norm.running_var is None or norm.num_batches_tracked is None:
        return
    norm.num_batches_tracked += 1
    weight = norm.momentum if norm.momentum is not None else 1.0 / float(norm.num_batches_tracked)
    norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), weight)
    norm.running_var.lerp_(variance.to(norm.running_var.dtype), weight)
