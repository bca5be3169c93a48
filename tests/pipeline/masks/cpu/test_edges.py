"""A mask is aligned to the edges of the image, and its levels fit the thresholds."""

import numpy as np
import pytest

from watchmove.pipeline.masks.cpu.edges import align_to_edges, calibrate


def test_evidence_is_aligned_to_the_edge_of_the_image() -> None:
    """Evidence that ends 6 pixels away from a sharp edge ends at the edge afterwards."""
    image = np.full((80, 120, 3), 40, np.uint8)
    image[20:60, 40:90] = 200
    evidence = np.zeros((40, 60), np.float32)
    evidence[13:27, 23:42] = 1
    aligned = align_to_edges(evidence, image)

    assert aligned.shape == (80, 120)
    assert aligned[20:60, 40:90].min() > 3 * aligned[:, :38].max()
    assert aligned[21:59, 41:89].std() < 0.05


def test_strong_evidence_is_certain_and_its_boundary_is_a_half() -> None:
    """A peak of 1 is kept; evidence of 0.56 becomes 0.5."""
    evidence = np.zeros((60, 60), np.float32)
    evidence[:30], evidence[30:45] = 1, 0.56
    soft = calibrate(evidence)

    assert soft[0, 0] == 1
    assert soft[40, 0] == pytest.approx(0.5)
    assert soft[-1, -1] == 0


def test_weak_evidence_is_raised_and_noise_is_not() -> None:
    """A peak of 0.5 is raised above 0.7; one of 0.05 stays below 0.4."""
    evidence = np.zeros((60, 60), np.float32)
    evidence[20:40, 20:40] = 1

    assert calibrate(0.5 * evidence).max() > 0.7
    assert calibrate(0.05 * evidence).max() < 0.4
