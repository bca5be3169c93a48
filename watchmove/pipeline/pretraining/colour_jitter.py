"""Random changes of an example's colours by torchvision's transforms, the same on every device."""

from typing import NamedTuple

import numpy as np
from torch import Tensor
from torchvision.transforms.v2 import functional

_HUE_FRACTION = 0.25
"""Strength of the change of hue relative to the others (Chen et al., ICML 2020, appendix A)."""


class ColourChange(NamedTuple):
    """Factors of brightness, contrast and saturation, 1 for no change, and a shift of hue in turns, in [-0.5, 0.5]."""

    brightness: float
    contrast: float
    saturation: float
    hue: float


def drawn_change(strength: float, rng: np.random.Generator) -> ColourChange | None:
    """Draw a change of at most `strength`, or a quarter of it for hue; None if `strength` is 0.

    The proportions are those of Chen et al. (ICML 2020, appendix A).
    """
    if strength == 0:  # nothing is drawn from `rng`, so that examples without jitter do not depend on this module
        return None
    brightness, contrast, saturation, hue = rng.uniform(-strength, strength, size=4).tolist()
    return ColourChange(1 + brightness, 1 + contrast, 1 + saturation, _HUE_FRACTION * hue)


def changed(image: Tensor, change: ColourChange) -> Tensor:
    """Apply a change to an image, (3, H, W) uint8 RGB, in the order of the tuple's fields."""
    image = functional.adjust_brightness(image, change.brightness)
    image = functional.adjust_contrast(image, change.contrast)
    image = functional.adjust_saturation(image, change.saturation)
    result: Tensor = functional.adjust_hue(image, change.hue)
    return result
