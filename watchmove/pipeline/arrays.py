"""Names of the array types that many modules use; each function's docstring gives shapes, units and ranges."""

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
"""Colour or grey values in 0..255: (H, W, 3) RGB unless the name says `bgr`, or (H, W)."""

FloatArray = NDArray[np.float32]
"""Maps (H, W), fields (H, W, 2), soft masks (H, W) in [0, 1], or features (..., F)."""

BoxArray = NDArray[np.float32]
"""Boxes (N, 4) in the format that the variable's name gives, normally `xyxy` in pixels, 0-based, maximum exclusive."""
