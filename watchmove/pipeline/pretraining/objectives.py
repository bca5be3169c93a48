"""What is asked of a frame in pretraining: all in which one objective differs from another.

Targets are int8, and an entry of IGNORED teaches nothing; the loop, its batches and its checkpoints know no more.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from watchmove.pipeline.dataset.shard import Sample
from watchmove.pipeline.networks.choice import Trunk
from watchmove.pipeline.pretraining.examples import TARGET_PIXELS, example_of
from watchmove.pipeline.pretraining.mask_network import MaskNetwork, mask_iou, mask_loss
from watchmove.pipeline.pretraining.rotation import RotationNetwork, rotation_example_of, rotation_hits, rotation_loss
from watchmove.pipeline.settings.pretraining import PretrainingSettings

PretextNetwork = MaskNetwork | RotationNetwork
Example = tuple[NDArray[np.uint8], NDArray[np.int8]]


@dataclass(frozen=True)
class Objective:
    """An image (227, 227, 3) uint8 RGB and a target of `target_shape` from each frame, and what is learnt from them.

    `loss` is the mean over entries that are not ignored, 0 without any; `scores` says (N,) in [0, 1] how well each
    frame is answered; `chance_loss` is that of a network that knows nothing, in nats.
    """

    target_shape: tuple[int, ...]
    chance_loss: float
    example_of: Callable[[Sample, PretrainingSettings, np.random.Generator], Example | None]
    network: Callable[[Trunk, torch.Generator], PretextNetwork]
    loss: Callable[[Tensor, Tensor], Tensor]
    scores: Callable[[Tensor, Tensor], Tensor]


_OBJECTIVES = {
    "masks": Objective((TARGET_PIXELS, TARGET_PIXELS), math.log(2), example_of, MaskNetwork, mask_loss, mask_iou),
    "rotation": Objective((), math.log(4), rotation_example_of, RotationNetwork, rotation_loss, rotation_hits),
}


def objective_of(settings: PretrainingSettings) -> Objective:
    """The objective that the settings name."""
    return _OBJECTIVES[settings.objective]
