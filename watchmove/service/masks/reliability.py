"""How reliable the confidence of masks is: what the masks of each range of confidence are worth."""

from dataclasses import asdict, dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

EDGES = (0.0, 0.2, 0.4, 0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 1.0)
"""Limits of the ranges of confidence, narrower where most frames are; 0.65 is the default of `min_confidence`."""


@dataclass(frozen=True)
class ConfidenceRange:
    """The frames whose confidence is at least `low` and below `high`; the last range includes 1.

    frames: their number; mean_confidence, mean_j: means over them; at_least_half_right: the share with a J of 0.5.
    """

    low: float
    high: float
    frames: int
    mean_confidence: float
    mean_j: float
    at_least_half_right: float


def reliability(confidence: NDArray[np.float64], jaccard: NDArray[np.float64]) -> list[ConfidenceRange]:
    """The ranges that have frames, in ascending order, from the confidence (N,) and J (N,) of frames, in [0, 1]."""
    # the last limit is included, so that a confidence of 1 has a range
    of_frame = np.clip(np.searchsorted(EDGES, confidence, side="right") - 1, 0, len(EDGES) - 2)
    ranges = []
    for index, (low, high) in enumerate(pairwise(EDGES)):
        inside = of_frame == index
        if inside.any():
            means = float(confidence[inside].mean()), float(jaccard[inside].mean())
            right = float((jaccard[inside] >= 0.5).mean())
            ranges.append(ConfidenceRange(low, high, int(inside.sum()), *means, right))
    return ranges


def as_json(ranges: list[ConfidenceRange]) -> list[dict[str, float]]:
    """The ranges as plain JSON values."""
    return [asdict(of_range) for of_range in ranges]


def reliability_table(ranges: list[dict[str, float]]) -> Table:
    """The ranges of `as_json`, a row for each."""
    table = Table("confidence", "frames", "mean confidence", "mean J", "J of at least 0.5", title="reliability")
    for row in ranges:
        table.add_row(
            f"{row['low']:.2f} to {row['high']:.2f}",
            f"{row['frames']}",
            f"{row['mean_confidence']:.3f}",
            f"{row['mean_j']:.3f}",
            f"{row['at_least_half_right']:.1%}",
        )
    return table
