"""Conversion of high dynamic range frames (PQ and HLG in BT.2020) to the standard range of other video (BT.709), and of
transparent pixels to opaque ones."""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from watchmove.pipeline.arrays import Image

HDR_TRANSFERS = ("smpte2084", "arib-std-b67")
"""ffmpeg's names of the transfer functions of high dynamic range: PQ and HLG."""

_REFERENCE_WHITE = 203.0
"""Luminance in cd/m2 of diffuse white in HDR video (ITU-R BT.2408, section 2), which becomes white."""

_HLG_PEAK = 1000.0
"""Nominal peak luminance in cd/m2 of a display for HLG (ITU-R BT.2100, table 5)."""

_HLG_SYSTEM_GAMMA = 1.2
"""System gamma of HLG at the nominal peak luminance (ITU-R BT.2100, table 5)."""

_KNEE = 0.85
"""Light, relative to white, from which highlights are compressed instead of clipped. Set by hand; not tuned."""

_DISPLAY_GAMMA = 2.4
"""Gamma of displays of standard range (ITU-R BT.1886)."""

_BT2020_TO_BT709 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32
)
"""Matrix from linear BT.2020 to linear BT.709 (ITU-R BT.2087, section 4, inverted)."""

_LUMINANCE_BT2020 = np.array([0.2627, 0.6780, 0.0593], np.float32)
"""Weights of red, green and blue in luminance (ITU-R BT.2020, table 4)."""


@cache
def _linear_light(transfer: str) -> NDArray[np.float32]:
    """Light of each of 256 code values: for PQ that of the display, relative to white; for HLG that of the scene."""
    code = np.arange(256) / 255
    if transfer == "smpte2084":  # ITU-R BT.2100, table 4
        root = code ** (1 / 78.84375)
        light = 10_000 * (np.maximum(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root)) ** (1 / 0.1593017578125)
        return np.asarray(light / _REFERENCE_WHITE, np.float32)
    a, b, c = 0.17883277, 0.28466892, 0.55991073  # ITU-R BT.2100, table 5
    return np.asarray(np.where(code <= 0.5, code**2 / 3, (np.exp((code - c) / a) + b) / 12), np.float32)


_PLAIN_GROUND = 128
"""Grey level, of 255, that shows through transparent pixels. Set by hand: it is far from neither black nor white."""


def to_standard_range(image: Image, transfer: str) -> Image:
    """An image (H, W, 3) uint8, BT.2020 coded with one of HDR_TRANSFERS, as (H, W, 3) uint8 RGB of BT.709.

    Diffuse white becomes nearly white, and highlights above it are compressed. The result is meant for recognition and
    motion, not for colour grading.
    """
    light: NDArray[np.float32] = _linear_light(transfer)[image]
    if transfer == "arib-std-b67":
        luminance = (light @ _LUMINANCE_BT2020)[..., None]
        light *= np.maximum(luminance, 1e-6) ** (_HLG_SYSTEM_GAMMA - 1) * (_HLG_PEAK / _REFERENCE_WHITE)
    light = np.maximum(light @ _BT2020_TO_BT709.T, 0)
    over = np.maximum(light - _KNEE, 0)
    light = np.minimum(light, _KNEE) + (1 - _KNEE) * (over / (over + (1 - _KNEE)))
    return np.asarray(np.rint(255 * light ** (1 / _DISPLAY_GAMMA)), np.uint8)


def on_plain_ground(image: Image) -> Image:
    """An image (H, W, 4) uint8 RGBA as (H, W, 3), composed on grey."""
    opacity = image[..., 3:].astype(np.float32) / 255
    return np.asarray(np.rint(image[..., :3] * opacity + _PLAIN_GROUND * (1 - opacity)), np.uint8)
