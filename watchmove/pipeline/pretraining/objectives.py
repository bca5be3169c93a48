"""The objectives of pretraining, `masks`, `rotation`, `colour` and `labels`, behind one interface.

Targets are int8, and entries of IGNORED are excluded from the loss. The loop, its batches and its checkpoints depend on
nothing else of an objective.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from watchmove.pipeline.dataset.shard import Sample
from watchmove.pipeline.networks.choice import Trunk
from watchmove.pipeline.pretraining.class_prediction import (
    QUARTER_TURNS,
    ClassNetwork,
    class_hits,
    class_loss,
    label_example_of,
    rotated_four_ways,
    rotation_example_of,
)
from watchmove.pipeline.pretraining.colour import (
    COLOUR_BINS,
    ColourNetwork,
    colour_bins,
    colour_example_of,
    colour_hits,
    colour_loss,
    shown_grey,
)
from watchmove.pipeline.pretraining.examples import TARGET_PIXELS, example_of
from watchmove.pipeline.pretraining.mask_network import MaskNetwork, mask_iou, mask_loss
from watchmove.pipeline.settings.pretraining import PretrainingSettings

PretextNetwork = MaskNetwork | ClassNetwork | ColourNetwork
Example = tuple[NDArray[np.uint8], NDArray[np.int8]]


@dataclass(frozen=True)
class Objective:
    """Examples, network, loss and score of one objective."""

    target_shape: tuple[int, ...]
    """Shape of one frame's target."""
    chance_loss: float
    """Loss of a network that predicts every class with equal probability, in nats; of colours about."""
    example_of: Callable[[Sample, PretrainingSettings, np.random.Generator], Example | None]
    """Makes the image (227, 227, 3) uint8 RGB and the target of a frame; None if the frame cannot be used."""
    cut_targets: Callable[[Tensor, Tensor], Tensor] | None
    """Makes the targets of images and trimaps that were cut in a batch, on any device; None if crops are not those."""
    network: Callable[[Trunk, torch.Generator], PretextNetwork]
    """Builds the network on a trunk, its head drawn from the generator."""
    views: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
    """Makes what the network sees of examples: images (N, 3, 227, 227) and targets to `views_per_example` N of them."""
    views_per_example: int
    """Number of images that the network sees of one example."""
    loss: Callable[[Tensor, Tensor], Tensor]
    """Mean loss in nats, of logits and targets, over entries that are not ignored; 0 if all are."""
    scores: Callable[[Tensor, Tensor], Tensor]
    """Score in [0, 1] of each image that the network sees, of logits and targets; higher is better."""


def _unchanged(images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    return images, targets


def _trimaps(_images: Tensor, trimaps: Tensor) -> Tensor:
    return trimaps


_OBJECTIVES = {
    "masks": Objective(
        target_shape=(TARGET_PIXELS, TARGET_PIXELS),
        chance_loss=math.log(2),
        example_of=example_of,
        cut_targets=_trimaps,
        network=MaskNetwork,
        views=_unchanged,
        views_per_example=1,
        loss=mask_loss,
        scores=mask_iou,
    ),
    "rotation": Objective(
        target_shape=(),
        chance_loss=math.log(QUARTER_TURNS),
        example_of=rotation_example_of,
        cut_targets=None,
        network=partial(ClassNetwork, classes=QUARTER_TURNS),
        views=rotated_four_ways,
        views_per_example=QUARTER_TURNS,
        loss=class_loss,
        scores=class_hits,
    ),
    "colour": Objective(
        target_shape=(2, TARGET_PIXELS, TARGET_PIXELS),
        chance_loss=math.log(COLOUR_BINS),
        example_of=colour_example_of,
        cut_targets=colour_bins,
        network=ColourNetwork,
        views=shown_grey,
        views_per_example=1,
        loss=colour_loss,
        scores=colour_hits,
    ),
}


def objective_of(settings: PretrainingSettings) -> Objective:
    """Return the objective that the settings name."""
    return _labels(len(settings.labels)) if settings.objective == "labels" else _OBJECTIVES[settings.objective]


def why_unusable(settings: PretrainingSettings) -> str:
    """Say why frames cannot be used under the settings, as the end of a sentence about them."""
    no_object = f"show no object at pretrain.foreground_threshold ({settings.foreground_threshold})"
    if settings.objective != "labels":
        return f"are damaged or {no_object}"
    return f"are damaged, {no_object} or have none of pretrain.labels as their label"


def _labels(classes: int) -> Objective:
    return Objective(
        target_shape=(),
        chance_loss=math.log(classes),
        example_of=label_example_of,
        cut_targets=None,
        network=partial(ClassNetwork, classes=classes),
        views=_unchanged,
        views_per_example=1,
        loss=class_loss,
        scores=class_hits,
    )
