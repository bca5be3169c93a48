"""Fast R-CNN (Girshick, ICCV 2015, section 2) on an AlexNet: RoI pooling, two fully connected layers, two outputs."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import roi_pool

from watchmove.pipeline.detection.regions import BACKGROUND
from watchmove.pipeline.networks.alexnet import AlexNet
from watchmove.pipeline.networks.alexnet_shape import CELLS

FEATURE_STRIDE = 16
"""Pixels between two cells of conv5: AlexNet's strides 4, 2 and 2 multiplied."""
_SCORE_STANDARD_DEVIATION, _DELTA_STANDARD_DEVIATION = 0.01, 0.001
"""Of the initial weights of the two output layers (Fast R-CNN, section 2.3, SGD hyper-parameters)."""


class FastRCNN(nn.Module):
    """Fast R-CNN for `classes` on an AlexNet trunk, which it changes: `dropout` becomes the rate of its dropout layers.

    Regression targets are normalised for each class with `target_mean` and `target_deviation`; `deltas` undoes it.
    """

    target_mean: Tensor
    """Mean of each class's regression targets, float32 (C, 4)."""
    target_deviation: Tensor
    """Standard deviation of each class's regression targets, float32 (C, 4)."""

    def __init__(self, trunk: AlexNet, classes: Sequence[str], dropout: float, seed: int) -> None:
        super().__init__()
        self.trunk = trunk
        for layer in trunk.modules():
            if isinstance(layer, nn.Dropout):
                layer.p = dropout
        self.classes = tuple(classes)
        generator = torch.Generator().manual_seed(seed)
        self.class_scores = _output_layer(
            trunk.shape.units, len(self.classes) + 1, _SCORE_STANDARD_DEVIATION, generator
        )
        self.box_deltas = _output_layer(trunk.shape.units, 4 * len(self.classes), _DELTA_STANDARD_DEVIATION, generator)
        # buffers, so that checkpoints hold them and they follow the model to its device
        self.register_buffer("target_mean", torch.zeros(len(self.classes), 4))
        self.register_buffer("target_deviation", torch.ones(len(self.classes), 4))

    def features(self, images: Tensor) -> Tensor:
        """conv5's output (N, 256, h, w) of normalised images (N, 3, H, W)."""
        return self.trunk.conv_features(images)

    def pooled(self, features: Tensor, regions_xyxy: Sequence[Tensor]) -> Tensor:
        """Features (R, 256, 6, 6) of regions (R_i, 4) of each image, in pixels of the network's image."""
        # roi_pool expects the last pixel to be included, as Caffe's layer does; boxes here exclude it
        inclusive = [regions - regions.new_tensor([0, 0, 1, 1]) for regions in regions_xyxy]
        pooled: Tensor = roi_pool(features, inclusive, CELLS, 1 / FEATURE_STRIDE)
        return pooled

    def outputs(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """Scores (R, 1 + C) before softmax, background first, and normalised deltas (R, C, 4)."""
        hidden = self.trunk.fully_connected(pooled)
        return self.class_scores(hidden), self.box_deltas(hidden).view(len(hidden), len(self.classes), 4)

    def forward(self, images: Tensor, regions_xyxy: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """`outputs` for regions (R_i, 4) of each of the normalised images (N, 3, H, W)."""
        return self.outputs(self.pooled(self.features(images), regions_xyxy))

    def normalised(self, deltas: Tensor, labels: Tensor) -> Tensor:
        """Regression targets (R, 4): deltas of `encode_boxes`, normalised by the class that `labels` (R,) name.

        The values for background regions are meaningless; the loss does not use them.
        """
        own = (labels - 1).clamp(min=0)
        return (deltas - self.target_mean[own]) / self.target_deviation[own]

    def deltas(self, normalised: Tensor) -> Tensor:
        """Deltas (..., C, 4) for `decode_boxes` from the network's normalised output (..., C, 4)."""
        return normalised * self.target_deviation + self.target_mean


def _output_layer(inputs: int, outputs: int, standard_deviation: float, generator: torch.Generator) -> nn.Linear:
    """A linear layer on fc7, initialised as in section 2.3: Gaussian weights, zero biases."""
    layer = nn.Linear(inputs, outputs)
    with torch.no_grad():
        layer.weight.normal_(0, standard_deviation, generator=generator)
        layer.bias.zero_()
    return layer


def detection_loss(scores: Tensor, deltas: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy plus smooth L1 on the true class's deltas, both per region (section 2.3, equations 1 to 3).

    `scores` (R, 1 + C), `deltas` (R, C, 4), `labels` (R,) with 0 background, `targets` (R, 4) normalised.
    """
    shows_object = torch.nonzero(labels != BACKGROUND).flatten()
    own = deltas[shows_object, labels[shows_object] - 1]
    localisation = functional.smooth_l1_loss(own, targets[shows_object], reduction="sum") / len(labels)
    return functional.cross_entropy(scores, labels) + localisation
