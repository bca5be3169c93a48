"""Measurement of a network on frames of held-out videos."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn

from watchmove.pipeline.dataset.trimap import IGNORED
from watchmove.pipeline.networks.alexnet import normalise_images
from watchmove.pipeline.pretraining.batches import Batch
from watchmove.pipeline.pretraining.objectives import Objective
from watchmove.pipeline.training.ranks import Ranks


class HeldOut(NamedTuple):
    """Mean loss over certain entries, in nats, and the mean over images of the objective's score, in [0, 1]."""

    loss: float
    score: float


@torch.no_grad()
def measure_held_out(
    network: nn.Module, objective: Objective, batches: Sequence[Batch], ranks: Ranks
) -> HeldOut | None:
    """Return loss and score over the batches of all ranks; None without frames. Raises Unavailable if one is lost."""
    network.eval()
    loss = entries = score = frames = 0.0
    for batch in batches:
        if not len(batch.images):
            continue
        images, target = objective.views(batch.images.to(ranks.device), batch.targets.to(ranks.device))
        logits = network(normalise_images(images))
        # Batches are weighted by what they contribute, so the result does not depend on how frames are batched.
        certain = float((target != IGNORED).sum())
        loss, entries = loss + float(objective.loss(logits, target)) * certain, entries + certain
        score, frames = score + float(objective.scores(logits, target).double().sum()), frames + len(target)
    # one exchange after all batches: ranks may have different numbers of them
    loss, entries, score, frames = ranks.total(loss, entries, score, frames)
    return HeldOut(loss / max(entries, 1), score / frames) if frames else None
