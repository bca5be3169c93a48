"""How well masks of held-out videos are predicted."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn

from pipeline.mask_dataset import Batch, normalised
from pipeline.mask_examples import IGNORED
from pipeline.mask_network import mask_iou, mask_loss
from pipeline.ranks import Ranks


class HeldOut(NamedTuple):
    """Mean binary cross-entropy over certain pixels, in nats, and mean IoU over frames, in [0, 1]."""

    loss: float
    iou: float


@torch.no_grad()
def measure_held_out(network: nn.Module, batches: Sequence[Batch], ranks: Ranks) -> HeldOut | None:
    """Loss and IoU on the batches of all ranks together; None where there is no frame."""
    network.eval()
    loss = pixels = iou = frames = 0.0
    for batch in batches:
        if not len(batch.images):
            continue
        target = batch.trimaps.to(ranks.device)
        logits = network(normalised(batch.images.to(ranks.device)))
        certain = float((target != IGNORED).sum())
        loss, pixels = loss + float(mask_loss(logits, target)) * certain, pixels + certain
        iou, frames = iou + float(mask_iou(logits, target).double().sum()), frames + len(target)
    loss, pixels, iou, frames = ranks.total(loss, pixels, iou, frames)
    return HeldOut(loss / max(pixels, 1), iou / frames) if frames else None
