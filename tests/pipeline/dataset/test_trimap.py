"""Trimaps of known soft masks, and their pictures."""

import numpy as np

from watchmove.pipeline.dataset.trimap import trimap_levels, trimap_of


def test_trimap_of_known_values() -> None:
    """0.7 and more is foreground, 0.4 and less background, between them nothing is certain; the bounds belong."""
    soft = np.array([[0.0, 0.4, 0.41], [0.69, 0.7, 1.0]], np.float32)
    trimap = trimap_of(soft, 0.7, 0.4)

    assert trimap.tolist() == [[0, 0, -1], [-1, 1, 1]]
    assert trimap_levels(trimap).tolist() == [[0, 0, 128], [128, 255, 255]]
