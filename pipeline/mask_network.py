"""The network that is pretrained: AlexNet's trunk and one layer that answers with a 56×56 mask."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.alexnet import AlexNet
from pipeline.mask_examples import FOREGROUND, IGNORED, TARGET_PIXELS


class MaskNetwork(nn.Module):
    """Logits of a mask for 227-pixel crops (Pathak et al., CVPR 2017, section 5)."""

    def __init__(self, trunk: AlexNet, generator: torch.Generator) -> None:
        super().__init__()
        self.trunk = trunk
        self.mask = nn.Linear(trunk.fc7.out_features, TARGET_PIXELS**2)
        with torch.no_grad():
            # Small first logits: the first loss is log 2, whatever the seed.
            self.mask.weight.normal_(0.0, 0.001, generator=generator)
            self.mask.bias.zero_()

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, 56, 56) of normalised images (N, 3, 227, 227)."""
        logits: Tensor = self.mask(self.trunk(images))
        # axes: (N, 3136) -> (N, rows, columns)
        return logits.view(-1, TARGET_PIXELS, TARGET_PIXELS)


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
