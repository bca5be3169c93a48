"""The network that is pretrained: a trunk, and what answers with a 56×56 mask on top of it."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from watchmove.pipeline.networks.alexnet import INPUT_PIXELS, AlexNet
from watchmove.pipeline.networks.choice import Trunk
from watchmove.pipeline.pretraining.examples import FOREGROUND, IGNORED, TARGET_PIXELS

_NARROW_CHANNELS = 128
_RANK = 512


class MaskNetwork(nn.Module):
    """Logits of a mask for 227-pixel crops (Pathak et al., CVPR 2017, section 5)."""

    def __init__(self, trunk: Trunk, generator: torch.Generator) -> None:
        super().__init__()
        self.trunk = trunk
        self.mask = _mask_head(trunk, generator)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, 56, 56) of normalised images (N, 3, 227, 227)."""
        logits: Tensor = self.mask(self.trunk(images))
        # axes: (N, 3136) -> (N, rows, columns)
        return logits.view(-1, TARGET_PIXELS, TARGET_PIXELS)


def _mask_head(trunk: Trunk, generator: torch.Generator) -> nn.Module:
    """Logits (N, 3136) of the trunk's output: of fc7 by one layer, of feature maps as DeepMask has it.

    That is a 1×1 convolution to 128 channels with a ReLU, and a linear map of rank 512 (Pinheiro et al., NIPS 2015,
    section 3.1; widths of the released model).
    """
    if isinstance(trunk, AlexNet):
        return _random_linear(trunk.fc7.out_features, TARGET_PIXELS**2, 0.001, generator)
    places = (-(-INPUT_PIXELS // trunk.stride)) ** 2
    narrow = nn.Conv2d(trunk.channels, _NARROW_CHANNELS, 1)
    with torch.no_grad():
        narrow.weight.normal_(0.0, (2.0 / trunk.channels) ** 0.5, generator=generator)
        nn.init.zeros_(narrow.bias)  # type: ignore[arg-type]  # there is one
    return nn.Sequential(
        narrow,
        nn.ReLU(),
        nn.Flatten(),
        _random_linear(_NARROW_CHANNELS * places, _RANK, (_NARROW_CHANNELS * places) ** -0.5, generator),
        _random_linear(_RANK, TARGET_PIXELS**2, 0.001, generator),
    )


def _random_linear(inputs: int, outputs: int, deviation: float, generator: torch.Generator) -> nn.Linear:
    """Normal weights, no bias at first. Small ones in the last layer: the first loss is log 2, whatever the seed."""
    layer = nn.Linear(inputs, outputs)
    with torch.no_grad():
        layer.weight.normal_(0.0, deviation, generator=generator)
        layer.bias.zero_()
    return layer


def mask_loss(logits: Tensor, trimaps: Tensor) -> Tensor:
    """Mean binary cross-entropy over certain pixels, 0 without any; `logits` and `trimaps` (int8) are (N, 56, 56)."""
    certain = (trimaps != IGNORED).to(logits.dtype)
    target = (trimaps == FOREGROUND).to(logits.dtype)
    losses = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return (losses * certain).sum() / certain.sum().clamp(min=1)


def mask_iou(logits: Tensor, trimaps: Tensor) -> Tensor:
    """Intersection over union of predicted and certain foreground, over certain pixels: (N,) in [0, 1]."""
    certain = trimaps != IGNORED
    predicted, target = (logits > 0) & certain, trimaps == FOREGROUND
    union = (predicted | target).flatten(1).sum(1)
    return (predicted & target).flatten(1).sum(1) / union.clamp(min=1)
