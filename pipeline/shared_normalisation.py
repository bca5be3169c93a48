"""Batch normalisation over the batches of all ranks together, on CPUs and GPUs alike.

PyTorch's SyncBatchNorm knows no CPU; with this, a step of several ranks is that of one with the whole batch.
"""

from typing import Any

import torch
import torch.distributed
from torch import Tensor, nn


class _Sum(torch.autograd.Function):
    """A sum over ranks. Each rank's loss depends on every rank's values, so gradients are summed as well."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:  # noqa: ARG004 (the interface's)
        total = values.clone()
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:  # noqa: ARG004 (the interface's)
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        torch.distributed.all_reduce(total)
        return total


class _Shared(nn.Module):
    """Means and variances of batches on all ranks; the rest is what it is mixed into."""

    def forward(self, values: Tensor) -> Tensor:
        """`values` (N, C, ...) normalised by channel; N may differ between ranks and may be 0."""
        if not self.training:
            result: Tensor = super().forward(values)
            return result
        return _normalised(self, values)  # type: ignore[arg-type]


class SharedNorm1d(_Shared, nn.BatchNorm1d):
    """BatchNorm1d over all ranks."""


class SharedNorm2d(_Shared, nn.BatchNorm2d):
    """BatchNorm2d over all ranks."""


def share_normalisation(network: nn.Module) -> None:
    """Put a normalisation over all ranks, with the same weights, in the place of every batch normalisation."""
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm1d | nn.BatchNorm2d) and not isinstance(child, _Shared):
                kind = SharedNorm1d if isinstance(child, nn.BatchNorm1d) else SharedNorm2d
                shared = kind(child.num_features, child.eps, child.momentum, device=child.weight.device)
                shared.load_state_dict(child.state_dict())
                setattr(parent, name, shared)


def _over_ranks(values: Tensor) -> Tensor:
    total: Tensor = _Sum.apply(values)
    return total


def _normalised(norm: nn.BatchNorm1d | nn.BatchNorm2d, values: Tensor) -> Tensor:
    exact = values.float()
    axes = [axis for axis in range(values.dim()) if axis != 1]
    shape = [1, -1, *[1] * (values.dim() - 2)]
    # The mean is known before squares are summed: the difference of two large sums would lose digits.
    count = torch.tensor([float(values.numel() // max(values.shape[1], 1))], device=values.device)
    torch.distributed.all_reduce(count)
    mean = _over_ranks(exact.sum(axes)) / count
    centred = exact - mean.view(shape)
    variance = _over_ranks((centred * centred).sum(axes)) / count
    _remember(norm, mean.detach(), variance.detach() * count / (count - 1).clamp(min=1))
    scale = norm.weight * torch.rsqrt(variance + norm.eps)
    result: Tensor = centred * scale.view(shape) + norm.bias.view(shape)
    return result.to(values.dtype)


@torch.no_grad()
def _remember(norm: nn.BatchNorm1d | nn.BatchNorm2d, mean: Tensor, variance: Tensor) -> None:
    """Move the running statistics as PyTorch does."""
    if norm.running_mean is None or norm.running_var is None or norm.num_batches_tracked is None:
        return
    norm.num_batches_tracked += 1
    weight = norm.momentum if norm.momentum is not None else 1.0 / float(norm.num_batches_tracked)
    norm.running_mean.lerp_(mean, weight)
    norm.running_var.lerp_(variance, weight)
