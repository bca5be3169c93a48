"""One step of SGD by all ranks together: the loss is the mean over all that is certain in the whole batch.

Not the mean of the ranks' means, and not of the parts' either: frames with few certain pixels count the same wherever
they are. With dropout, ranks draw different units, so the number of ranks matters; without it, only in the last digits.
Batch normalisation is over all ranks; where a share of a batch is done in parts, over each part.
"""

import copy
import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from watchmove.pipeline.networks.alexnet import normalise_images
from watchmove.pipeline.pretraining.batches import Batch
from watchmove.pipeline.pretraining.examples import IGNORED
from watchmove.pipeline.pretraining.objectives import objective_of
from watchmove.pipeline.settings.pretraining import PretrainingSettings
from watchmove.pipeline.training.ranks import Ranks, lost_ranks_named
from watchmove.pipeline.training.shared_normalisation import share_normalisation

_DROP_FACTOR = 0.1


class Stepper:
    """Steps of a network, which it changes; `average` is the running average of its weights where one is kept."""

    def __init__(self, network: nn.Module, settings: PretrainingSettings, ranks: Ranks) -> None:
        """`network` gives logits of normalised images, as its objective has them, and lies where `ranks` says."""
        if ranks.are_several:
            share_normalisation(network)
        self.network = network
        self.optimizer = _optimizer(network, settings)
        self.average = copy.deepcopy(network).eval() if settings.average_decay else None
        self._settings = settings
        self._objective = objective_of(settings)
        self._ranks = ranks
        self._forward: Callable[[Tensor], Tensor] | None = None
        self._parallel: DistributedDataParallel | None = None

    @property
    def measured(self) -> nn.Module:
        """What is validated and exported: the average where there is one."""
        return self.average if self.average is not None else self.network

    def average_state(self) -> Mapping[str, Tensor]:
        """The average's tensors; none without."""
        return self.average.state_dict() if self.average is not None else {}

    def share_state(self, steps_done: int) -> None:
        """Give every rank what the first has: weights, statistics, the average and, after the first step, momenta."""
        tensors = [*self.network.state_dict().values(), *self.average_state().values()]
        if steps_done:
            for parameter in self.network.parameters():
                state = self.optimizer.state[parameter]
                tensors.append(state.setdefault("momentum_buffer", torch.zeros_like(parameter, requires_grad=False)))
        for tensor in tensors:
            tensor.copy_(self._ranks.from_first(tensor.contiguous()))

    def step(self, batch: Batch, iteration: int) -> float:
        """One step on this rank's share; the loss of the whole batch, and where it is not finite nothing changes.

        Raises:
            Unavailable: another rank is lost.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = pretraining_learning_rate(iteration, self._settings)
        # Dropout of a step is drawn from its number, so that a resumed training drops the same units.
        rank, ranks = self._ranks.share
        torch.manual_seed((self._settings.seed * 1_000_003 + iteration) * ranks + rank)
        self.optimizer.zero_grad(set_to_none=True)
        with lost_ranks_named():
            loss = float(self._ranks.total_of(self._gradients(batch)))
        if math.isfinite(loss):
            self.optimizer.step()
            self._move_average()
        return loss

    def _gradients(self, batch: Batch) -> Tensor:
        """This rank's part of the loss, whose gradients are those of all ranks then."""
        self.network.train()
        device = self._ranks.device
        certain = self._ranks.total_of((batch.targets != IGNORED).sum().to(device)).clamp(min=1)
        images, targets = (torch.tensor_split(tensor, self._parts(batch)) for tensor in (batch.images, batch.targets))
        loss = torch.zeros((), device=device)
        for number, (some, target) in enumerate(zip(images, targets, strict=True), 1):
            with self._exchange(number == len(images)):
                part = self._part_of_loss(some, target) / certain
                # DDP takes the mean over ranks, and the loss is a sum over them.
                (part * self._ranks.share.ranks).backward()  # type: ignore[no-untyped-call]
            loss += part.detach()
        return loss

    def _part_of_loss(self, images: Tensor, targets: Tensor) -> Tensor:
        """The loss summed over what is certain in some frames."""
        device = self._ranks.device
        target = targets.to(device, non_blocking=True)
        with torch.autocast(device.type, torch.bfloat16, enabled=self._settings.bfloat16):
            logits = self._wrapped()(normalise_images(images.to(device, non_blocking=True)))
        return self._objective.loss(logits.float(), target) * (target != IGNORED).sum()

    def _parts(self, batch: Batch) -> int:
        """Into how many parts a share is cut: on every rank as many, as they normalise together."""
        most = self._settings.max_device_batch
        share = -(-self._settings.batch_size // self._ranks.share.ranks)
        parts = -(-share // most) if most else 1
        return parts if self._ranks.are_several else max(1, min(parts, len(batch.images) // 2))

    def _exchange(self, last: bool) -> AbstractContextManager[None]:
        """Ranks add their gradients up once a step, in the last part."""
        self._wrapped()
        if last or self._parallel is None:
            return nullcontext()
        quiet: AbstractContextManager[None] = self._parallel.no_sync()
        return quiet

    def _wrapped(self) -> Callable[[Tensor], Tensor]:
        """The network as it is called, made when its weights are in place."""
        if self._forward is None:
            forward = self.network
            if self._ranks.are_several:
                forward = DistributedDataParallel(forward)
            self._parallel = forward if isinstance(forward, DistributedDataParallel) else None
            self._forward = torch.compile(forward) if self._settings.compile else forward
        return self._forward

    @torch.no_grad()
    def _move_average(self) -> None:
        if self.average is None:
            return
        for average, tensor in zip(self.average.state_dict().values(), self.network.state_dict().values(), strict=True):
            if tensor.is_floating_point():
                average.lerp_(tensor, 1 - self._settings.average_decay)
            else:
                average.copy_(tensor)


def _optimizer(network: nn.Module, settings: PretrainingSettings) -> torch.optim.SGD:
    """SGD in which only matrices and kernels decay; fused: its passes over fc6 and fc7 would take 15 % of a step."""
    weights = [parameter for parameter in network.parameters() if parameter.dim() > 1]
    others = [parameter for parameter in network.parameters() if parameter.dim() <= 1]
    groups = [{"params": weights, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.SGD(groups, lr=settings.learning_rate, momentum=settings.momentum, fused=True)


def pretraining_learning_rate(iteration: int, settings: PretrainingSettings) -> float:
    """Learning rate in step `iteration`, counted from 0."""
    warmup = settings.warmup_fraction * settings.iterations
    if iteration < warmup:
        return settings.learning_rate * (iteration + 1) / (warmup + 1)
    if settings.schedule == "step":
        drops = sum(iteration >= fraction * settings.iterations for fraction in settings.drop_fractions)
        return settings.learning_rate * _DROP_FACTOR**drops
    done = (iteration - warmup) / (settings.iterations - warmup)
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * done))
