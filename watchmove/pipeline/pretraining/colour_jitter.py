"""Random changes of an example's colours, by torchvision's transforms, alike on every device."""

from typing import NamedTuple

import numpy as np
from torch import Tensor
from torchvision.transforms.v2 import functional

_HUE_SHARE = 0.25


class ColourChange(NamedTuple):
    """Factors, 1 for none, of brightness, contrast and saturation; `hue` is a shift in turns, in [-0.5, 0.5]."""

    brightness: float
    contrast: float
    saturation: float
    hue: float


def drawn_change(strength: float, rng: np.random.Generator) -> ColourChange | None:
    """A change of at most `strength`, a quarter of that for hue; at 0 there is none, and nothing is drawn.

    In these proportions colours are commonly jittered (Chen et al., ICML 2020, appendix A).
    """
    if strength == 0:
        return None
    brightness, contrast, saturation, hue = rng.uniform(-strength, strength, size=4).tolist()
    return ColourChange(1 + brightness, 1 + contrast, 1 + saturation, _HUE_SHARE * hue)


def changed(image: Tensor, change: ColourChange) -> Tensor:
    """`image` (3, H, W) uint8 RGB with its colours changed, in the order of the tuple."""
    image = functional.adjust_brightness(image, change.brightness)
    image = functional.adjust_contrast(image, change.contrast)
    image = functional.adjust_saturation(image, change.saturation)
    result: Tensor = functional.adjust_hue(image, change.hue)
    return result
