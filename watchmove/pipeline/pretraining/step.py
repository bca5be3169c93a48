"""One step of SGD by all ranks together, whose loss is the mean over the certain entries of the complete batch.

It is not the mean of the ranks' means, nor of the parts' means: then a certain pixel would count more on a rank that
has few of them. Without dropout the number of ranks changes weights only by rounding; with it, each rank drops other
units. Batch normalisation is over all ranks; if a rank's share is processed in parts, it is over each part.
"""

import copy
import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from watchmove.pipeline.dataset.trimap import IGNORED
from watchmove.pipeline.networks.alexnet import normalise_images
from watchmove.pipeline.pretraining.batches import Batch
from watchmove.pipeline.pretraining.objectives import objective_of
from watchmove.pipeline.settings import LARGEST_SEED
from watchmove.pipeline.settings.pretraining import PretrainingSettings
from watchmove.pipeline.training.ranks import Ranks, lost_ranks_named
from watchmove.pipeline.training.shared_normalisation import share_normalisation

_DROP_FACTOR = 0.1
"""Factor of the learning rate at each drop of the schedule `step` (Krizhevsky et al., NIPS 2012, section 5)."""
_SEED_STRIDE = 1_000_003
"""Distance of the seeds of two trainings whose `seed` differs by one: a prime larger than usual iteration counts, so
that their steps have different seeds. Set by hand."""


class Stepper:
    """SGD on a network, which it changes, and the running average of its weights if the settings ask for one."""

    def __init__(self, network: nn.Module, settings: PretrainingSettings, ranks: Ranks) -> None:
        """`network` maps normalised images to the objective's logits; it must be on the device of `ranks`."""
        if ranks.are_several:
            share_normalisation(network)  # before the optimizer, which must hold the new parameters
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
        """The network that is validated and exported: the running average if there is one."""
        return self.average if self.average is not None else self.network

    def average_state(self) -> Mapping[str, Tensor]:
        """Return the tensors of the running average, or an empty mapping if there is none."""
        return self.average.state_dict() if self.average is not None else {}

    def share_state(self, steps_done: int) -> None:
        """Copy the first rank's weights, statistics, average and, after the first step, momenta to every rank."""
        tensors = [*self.network.state_dict().values(), *self.average_state().values()]
        if steps_done:
            for parameter in self.network.parameters():
                state = self.optimizer.state[parameter]
                # only the first rank has read a checkpoint, so the others have no buffers yet
                tensors.append(state.setdefault("momentum_buffer", torch.zeros_like(parameter, requires_grad=False)))
        for tensor in tensors:
            # collectives exchange raw memory, so tensors are exchanged in one layout, whatever the network's is
            tensor.copy_(self._ranks.from_first(tensor.contiguous()))

    def step(self, batch: Batch, iteration: int) -> float:
        """Do one step on this rank's share and return the loss of the complete batch, in nats.

        If the loss is not finite, weights and average do not change.

        Raises:
            Unavailable: another rank is lost.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = pretraining_learning_rate(iteration, self._settings)
        # The seed of dropout depends on the step, so that a resumed training drops the same units.
        rank, ranks = self._ranks.share
        seed = (self._settings.seed * _SEED_STRIDE + iteration) * ranks + rank
        torch.manual_seed(seed & LARGEST_SEED)
        self.optimizer.zero_grad(set_to_none=True)
        with lost_ranks_named():
            # the backward pass exchanges gradients, so it notices a lost rank too
            loss = float(self._ranks.total_of(self._gradients(batch)))
        # the loss is that of all ranks, so either all of them do the step or none does
        if math.isfinite(loss):
            self.optimizer.step()
            self._update_average()
        return loss

    def _gradients(self, batch: Batch) -> Tensor:
        """Return this rank's part of the loss; the gradients are then those of the loss of all ranks."""
        self.network.train()
        device = self._ranks.device
        entries = (batch.targets != IGNORED).sum() * self._objective.views_per_example
        certain = self._ranks.total_of(entries.to(device)).clamp(min=1)
        # tensor_split also gives empty parts, so that every rank has the same number of exchanges
        images, targets = (torch.tensor_split(tensor, self._parts(batch)) for tensor in (batch.images, batch.targets))
        loss = torch.zeros((), device=device)
        for number, (part_images, part_targets) in enumerate(zip(images, targets, strict=True), 1):
            with self._gradient_exchange(is_last=number == len(images)):
                part = self._part_of_loss(part_images, part_targets) / certain
                # DDP averages gradients over ranks, but the loss is a sum over ranks.
                (part * self._ranks.share.ranks).backward()  # type: ignore[no-untyped-call]
            loss += part.detach()
        return loss

    def _part_of_loss(self, images: Tensor, targets: Tensor) -> Tensor:
        """Return the loss summed over the certain entries of a part of the batch."""
        device = self._ranks.device
        seen, target = self._objective.views(
            images.to(device, non_blocking=True), targets.to(device, non_blocking=True)
        )
        with torch.autocast(device.type, torch.bfloat16, enabled=self._settings.bfloat16):
            logits = self._callable_network()(normalise_images(seen))
        # The objective's loss is a mean, so multiplying by the number of certain entries gives the sum.
        # In float32, because sums over many pixels lose digits in bfloat16.
        return self._objective.loss(logits.float(), target) * (target != IGNORED).sum()

    def _parts(self, batch: Batch) -> int:
        """Return the number of parts of a share: the same on all ranks, which exchange statistics in each part."""
        most = self._settings.max_device_batch
        share = -(-self._settings.batch_size // self._ranks.share.ranks)
        parts = -(-share // most) if most else 1
        # A single rank may have fewer frames than expected; each part needs two for batch normalisation.
        return parts if self._ranks.are_several else max(1, min(parts, len(batch.images) // 2))

    def _gradient_exchange(self, *, is_last: bool) -> AbstractContextManager[None]:
        """Return a context in which ranks exchange gradients only in the last part of a step."""
        # called for its effect: the first call sets `self._parallel`
        self._callable_network()
        if is_last or self._parallel is None:
            return nullcontext()
        without_exchange: AbstractContextManager[None] = self._parallel.no_sync()
        return without_exchange

    def _callable_network(self) -> Callable[[Tensor], Tensor]:
        """Return the network wrapped for ranks and compiled, as the settings say.

        It is wrapped at the first step and not before, when a checkpoint's weights have been loaded.
        """
        if self._forward is None:
            forward = self.network
            if self._ranks.are_several:
                forward = DistributedDataParallel(forward)
            self._parallel = forward if isinstance(forward, DistributedDataParallel) else None
            self._forward = torch.compile(forward) if self._settings.compile else forward
        return self._forward

    @torch.no_grad()
    def _update_average(self) -> None:
        if self.average is None:
            return
        for average, tensor in zip(self.average.state_dict().values(), self.network.state_dict().values(), strict=True):
            if tensor.is_floating_point():
                average.lerp_(tensor, 1 - self._settings.average_decay)
            else:
                average.copy_(tensor)  # a counter of batches has no average


def _optimizer(network: nn.Module, settings: PretrainingSettings) -> torch.optim.SGD:
    """Return SGD with weight decay for matrices and kernels only (as in Goyal et al., 2017, section 5.1).

    It is fused, because otherwise its passes over fc6 and fc7 would take 15 % of a step.
    """
    weights = [parameter for parameter in network.parameters() if parameter.dim() > 1]
    others = [parameter for parameter in network.parameters() if parameter.dim() <= 1]
    groups = [{"params": weights, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.SGD(groups, lr=settings.highest_learning_rate, momentum=settings.momentum, fused=True)


def pretraining_learning_rate(iteration: int, settings: PretrainingSettings) -> float:
    """Return the learning rate in step `iteration`, counted from 0.

    It rises linearly during the warm-up (Goyal et al., 2017, section 2.2). Then it follows half a cosine to zero
    (Loshchilov and Hutter, ICLR 2017, without restarts), or drops by a factor of ten at `drop_fractions`.
    """
    warmup = settings.warmup_fraction * settings.iterations
    if iteration < warmup:
        # above 0 in the first step, and below the full rate in the last one of the warm-up
        return settings.highest_learning_rate * (iteration + 1) / (warmup + 1)
    if settings.schedule == "step":
        drops = sum(iteration >= fraction * settings.iterations for fraction in settings.drop_fractions)
        return settings.highest_learning_rate * _DROP_FACTOR**drops
    done = (iteration - warmup) / (settings.iterations - warmup)
    return settings.highest_learning_rate * 0.5 * (1 + math.cos(math.pi * done))
