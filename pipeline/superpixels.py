"""Superpixels: small regions of one colour that vote together, and what each of them looks like.

SLIC (Achanta et al., PAMI 2012, OpenCV's implementation) on half-size frames.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class Superpixels:
    """Regions of one frame: labels (h, w) int32 in 0..count-1, pixels per region (count,) float32."""

    labels: NDArray[np.int32]
    sizes: FloatArray

    @property
    def count(self) -> int:
        """Number of regions."""
        return len(self.sizes)

    def mean(self, values: FloatArray) -> FloatArray:
        """Mean of a map (h, w) or of each channel of (h, w, C) in each region: (count,) or (count, C)."""
        flat = self.labels.ravel()
        channels = values.reshape(flat.size, -1)
        sums = np.stack([np.bincount(flat, channels[:, c], self.count) for c in range(channels.shape[1])], axis=1)
        means: FloatArray = (sums / self.sizes[:, None]).astype(np.float32)
        return means[:, 0] if values.ndim == 2 else means

    def paint(self, values: FloatArray) -> FloatArray:
        """The map (h, w) in which each region has its value of `values` (count,)."""
        return values[self.labels]


def segment_superpixels(lab: NDArray[np.uint8], region_pixels: int, iterations: int = 4) -> Superpixels:
    """Superpixels of a Lab image (h, w, 3) uint8, about `region_pixels` wide."""
    slic = cv2.ximgproc.createSuperpixelSLIC(lab, cv2.ximgproc.SLIC, region_pixels, 15.0)
    slic.iterate(iterations)
    slic.enforceLabelConnectivity(25)
    labels: NDArray[np.int32] = np.asarray(slic.getLabels(), np.int32)
    sizes = np.bincount(labels.ravel(), minlength=slic.getNumberOfSuperpixels())
    # connectivity can leave numbers that no pixel carries
    used = sizes > 0
    renumber = np.cumsum(used, dtype=np.int32) - 1
    return Superpixels(renumber[labels], sizes[used].astype(np.float32))
