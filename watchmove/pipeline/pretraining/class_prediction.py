"""The objectives that predict a crop's class: `rotation`, its quarter turns, and `labels`, the class of its object.

`rotation` (Gidaris et al., ICLR 2018) is a control for the objective `masks`: trained on the same crops by the same
loop, it shows how much of a gain comes from the frames alone. Its crops differ in one respect: none extends beyond its
frame, because repeated borders would reveal the rotation. As in the paper (section 2), a step contains each of its
crops in all four rotations, so that it reads as many frames under both objectives and the network sees four times as
many images. `labels` is supervised: it is what the features of the other objectives are compared with.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from watchmove.pipeline.dataset.shard import Sample
from watchmove.pipeline.dataset.trimap import IGNORED
from watchmove.pipeline.networks.alexnet import AlexNet
from watchmove.pipeline.networks.choice import Trunk
from watchmove.pipeline.pretraining.examples import example_of
from watchmove.pipeline.pretraining.mask_network import LOGIT_WEIGHT_STD
from watchmove.pipeline.settings.pretraining import PretrainingSettings

QUARTER_TURNS = 4
"""Number of rotations: by 0, 90, 180 and 270 degrees (Gidaris et al., section 2.2)."""

LABEL = "label"
"""Key of the class of a frame's object in the frame's metadata."""


class ClassNetwork(nn.Module):
    """Network that predicts the class of 227-pixel crops: a trunk, the mean of its maps if any, and one layer."""

    def __init__(self, trunk: Trunk, generator: torch.Generator, classes: int) -> None:
        super().__init__()
        self.trunk = trunk
        width = trunk.fc7.out_features if isinstance(trunk, AlexNet) else trunk.channels
        self.scores = nn.Linear(width, classes)
        with torch.no_grad():
            self.scores.weight.normal_(0.0, LOGIT_WEIGHT_STD, generator=generator)
            self.scores.bias.zero_()

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, K) of normalised images (N, 3, 227, 227)."""
        features: Tensor = self.trunk(images)
        # axes: (N, C) or (N, C, H, W) -> (N, C)
        logits: Tensor = self.scores(features.flatten(2).mean(dim=2) if features.dim() > 2 else features)
        return logits


def rotation_example_of(
    sample: Sample, settings: PretrainingSettings, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.int8]] | None:
    """Make the upright crop of a frame, (227, 227, 3) uint8 RGB, and its number of quarter turns, 0, () int8.

    Returns None if the frame has no example of a mask, so that all objectives are trained on the same frames.
    """
    upright = example_of(sample, settings, rng, inside_frame=True)
    return None if upright is None else (upright.image, np.array(0, np.int8))


def label_example_of(
    sample: Sample, settings: PretrainingSettings, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.int8]] | None:
    """Make the crop of the mask's example, (227, 227, 3) uint8 RGB, and its position in `settings.labels`, () int8.

    Returns None if the frame has no example of a mask, or a label that is not among the settings'.
    """
    label = sample.metadata.get(LABEL)
    example = example_of(sample, settings, rng)
    if example is None or label not in settings.labels:
        return None
    return example.image, np.array(settings.labels.index(str(label)), np.int8)


def rotated_four_ways(images: Tensor, turns: Tensor) -> tuple[Tensor, Tensor]:
    """Rotate each image (N, 3, S, S) by 0 to 3 counter-clockwise quarter turns: (4 N, 3, S, S), and turns (4 N,).

    `turns` (N,) are 0. The four rotations of an image follow each other. Only pixels move: interpolation would leave
    traces to learn from.
    """
    rotated = torch.stack([torch.rot90(images, turn, dims=(2, 3)) for turn in range(QUARTER_TURNS)], dim=1)
    # axes: (N, 4, 3, S, S) -> (4 N, 3, S, S), in the network's memory format
    every = rotated.flatten(0, 1).contiguous(memory_format=torch.channels_last)
    added = torch.arange(QUARTER_TURNS, dtype=turns.dtype, device=turns.device)
    return every, (turns[:, None] + added).flatten()


def class_loss(logits: Tensor, classes: Tensor) -> Tensor:
    """Return the mean cross-entropy in nats, 0 without frames, of `logits` (N, K) and `classes` (N,) int8."""
    total = functional.cross_entropy(logits, classes.long(), ignore_index=IGNORED, reduction="sum")
    return total / (classes != IGNORED).sum().clamp(min=1)


def class_hits(logits: Tensor, classes: Tensor) -> Tensor:
    """Return (N,): 1 where the predicted class is the true one, else 0; the mean is the accuracy, 1 / K by chance."""
    return (logits.argmax(dim=1) == classes).to(logits.dtype)
