"""A second objective on the same frames: how is this crop turned? (Gidaris et al., ICLR 2018, section 2.)

It is a control: a backbone that learns this from the very crops that masks are learnt from, by the same loop, says how
much of a gain comes from the frames alone. Two things differ from a crop for masks. No crop reaches beyond its frame,
as repeated edges would give the turn away. And each frame is seen once an epoch in one turn of four, not in all four at
once as in the paper, so that a step looks at as many frames under both objectives.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from watchmove.pipeline.dataset.shard import Sample
from watchmove.pipeline.networks.alexnet import AlexNet
from watchmove.pipeline.networks.choice import Trunk
from watchmove.pipeline.pretraining.examples import IGNORED, example_of
from watchmove.pipeline.settings.pretraining import PretrainingSettings

QUARTER_TURNS = 4


class RotationNetwork(nn.Module):
    """Logits of the four turns for 227-pixel crops: a trunk, its maps averaged where it has maps, and one layer."""

    def __init__(self, trunk: Trunk, generator: torch.Generator) -> None:
        super().__init__()
        self.trunk = trunk
        width = trunk.fc7.out_features if isinstance(trunk, AlexNet) else trunk.channels
        self.turns = nn.Linear(width, QUARTER_TURNS)
        with torch.no_grad():
            # Small first logits: the first loss is log 4, whatever the seed.
            self.turns.weight.normal_(0.0, 0.001, generator=generator)
            self.turns.bias.zero_()

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, 4) of normalised images (N, 3, 227, 227)."""
        features: Tensor = self.trunk(images)
        # axes: (N, C) or (N, C, H, W) -> (N, C)
        logits: Tensor = self.turns(features.flatten(2).mean(dim=2) if features.dim() > 2 else features)
        return logits


def rotation_example_of(
    sample: Sample, settings: PretrainingSettings, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.int8]] | None:
    """A crop as for masks, turned: (227, 227, 3) uint8 RGB, and () int8, its counter-clockwise quarter turns, 0 to 3.

    Pixels move as they are, nothing is interpolated anew. None where the frame could not teach a mask either, so that
    both objectives learn from the same frames.
    """
    upright = example_of(sample, settings, rng, inside_frame=True)
    if upright is None:
        return None
    turns = int(rng.integers(QUARTER_TURNS))
    return np.ascontiguousarray(np.rot90(upright.image, turns)), np.array(turns, np.int8)


def rotation_loss(logits: Tensor, turns: Tensor) -> Tensor:
    """Mean cross-entropy, 0 without any frame; `logits` (N, 4), `turns` (N,) int8."""
    total = functional.cross_entropy(logits, turns.long(), ignore_index=IGNORED, reduction="sum")
    return total / (turns != IGNORED).sum().clamp(min=1)


def rotation_hits(logits: Tensor, turns: Tensor) -> Tensor:
    """(N,) 1 where the most likely turn is the true one, else 0; their mean is the accuracy, 0.25 by chance."""
    return (logits.argmax(dim=1) == turns).to(logits.dtype)
