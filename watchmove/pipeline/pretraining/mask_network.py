"""The mask network, which is pretrained: a trunk, and a head that predicts a 56×56 mask from its output."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from watchmove.pipeline.dataset.trimap import FOREGROUND, IGNORED
from watchmove.pipeline.networks.alexnet import AlexNet
from watchmove.pipeline.networks.choice import Trunk, input_pixels_of
from watchmove.pipeline.pretraining.examples import TARGET_PIXELS

LOGIT_WEIGHT_STD = 0.001
"""Standard deviation of the last layer's first weights: so small that the first loss is that of an even guess, whatever
the seed. Set by hand; not tuned."""

_NARROW_CHANNELS, _RANK = 128, 512
"""Widths of the head on feature maps, those of DeepMask's released model (Pinheiro et al., NIPS 2015, section 3.1)."""


class MaskNetwork(nn.Module):
    """Network that predicts the logits of a mask for 227-pixel crops (Pathak et al., CVPR 2017, section 5)."""

    def __init__(self, trunk: Trunk, generator: torch.Generator) -> None:
        super().__init__()
        self.trunk = trunk
        self.mask = dense_head(trunk, generator)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, 56, 56) of normalised images (N, 3, 227, 227)."""
        logits: Tensor = self.mask(self.trunk(images))
        # axes: (N, 3136) -> (N, rows, columns)
        return logits.view(-1, TARGET_PIXELS, TARGET_PIXELS)


def dense_head(trunk: Trunk, generator: torch.Generator) -> nn.Module:
    """Build the head that maps a trunk's output to logits (N, 3136), which are 56×56 for a mask.

    On fc7 it is one linear layer. On feature maps it is DeepMask's: a 1×1 convolution to 128 channels with a ReLU, then
    a linear map of rank 512 as two layers (Pinheiro et al., NIPS 2015, section 3.1).
    """
    if isinstance(trunk, AlexNet):
        return _random_linear(trunk.fc7.out_features, TARGET_PIXELS**2, LOGIT_WEIGHT_STD, generator)
    # every halving of the size rounds up
    places = (-(-input_pixels_of(trunk.kind) // trunk.stride)) ** 2
    narrow = nn.Conv2d(trunk.channels, _NARROW_CHANNELS, 1)
    with torch.no_grad():
        # A ReLU follows: variance 2 / fan-in (He et al., ICCV 2015). None follows the next layer: 1 / fan-in.
        narrow.weight.normal_(0.0, (2.0 / trunk.channels) ** 0.5, generator=generator)
        nn.init.zeros_(narrow.bias)  # type: ignore[arg-type]  # there is one
    return nn.Sequential(
        narrow,
        nn.ReLU(),
        nn.Flatten(),
        _random_linear(_NARROW_CHANNELS * places, _RANK, (_NARROW_CHANNELS * places) ** -0.5, generator),
        _random_linear(_RANK, TARGET_PIXELS**2, LOGIT_WEIGHT_STD, generator),
    )


def _random_linear(inputs: int, outputs: int, std: float, generator: torch.Generator) -> nn.Linear:
    """Return a linear layer with normal weights of standard deviation `std` and biases of 0."""
    layer = nn.Linear(inputs, outputs)
    with torch.no_grad():
        layer.weight.normal_(0.0, std, generator=generator)
        layer.bias.zero_()
    return layer


def mask_loss(logits: Tensor, trimaps: Tensor) -> Tensor:
    """Return the mean binary cross-entropy in nats over certain pixels, 0 if there are none.

    `logits` and `trimaps` (int8) are (N, 56, 56).
    """
    certain = (trimaps != IGNORED).to(logits.dtype)
    target = (trimaps == FOREGROUND).to(logits.dtype)
    losses = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return (losses * certain).sum() / certain.sum().clamp(min=1)


def mask_iou(logits: Tensor, trimaps: Tensor) -> Tensor:
    """Return the IoU (N,) in [0, 1] of predicted and certain foreground, counting certain pixels only."""
    certain = trimaps != IGNORED
    predicted, target = (logits > 0) & certain, trimaps == FOREGROUND
    union = (predicted | target).flatten(1).sum(1)
    return (predicted & target).flatten(1).sum(1) / union.clamp(min=1)
