"""Figures of masks on sequences that their thresholds were not chosen on.

The sequences are divided into random halves. The threshold of the soft mask and the least confidence of kept frames are
chosen on each half. Each half is then measured twice, with its own thresholds and with those of the other half: the
difference is by how much figures are too high where thresholds are chosen on the sequences that they are measured on.
Constants inside the chain are not chosen again: they were chosen on all of DAVIS-2016's training sequences.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

SPLITS = 20
"""Random divisions into halves; each gives two figures. Set by hand; not tuned."""

LEAST_SEQUENCES = 4
"""Fewest sequences, two in each half, for which there are figures."""

RIGHT_SHARE = 0.97
"""Share of the kept frames that have a J of at least one half, which the least confidence is chosen to reach."""

FIGURES = ("J", "kept_share", "kept_at_least_half_right")
"""Names of the figures, in the order of their arrays."""


@dataclass(frozen=True)
class SequenceScores:
    """The scored frames of one sequence.

    jaccard: (frames, levels), J at each threshold; confidence: (frames,); prunable: (frames,) bool, whether a frame is
    kept if its confidence is high enough, because no other rule rejects it.
    """

    jaccard: NDArray[np.float64]
    confidence: NDArray[np.float64]
    prunable: NDArray[np.bool_]


def best_level(sequences: Sequence[SequenceScores]) -> int:
    """The index of the threshold with the highest J, averaged over frames first and then over sequences."""
    return int(np.mean([scores.jaccard.mean(axis=0) for scores in sequences], axis=0).argmax())


def least_confidence(sequences: Sequence[SequenceScores], level: int) -> float:
    """The confidence from which RIGHT_SHARE of the frames have a J of one half, with as many frames as possible.

    Infinite if the share is not reached, so that no frame is kept.
    """
    prunable = np.concatenate([scores.prunable for scores in sequences])
    confidence = np.concatenate([scores.confidence for scores in sequences])[prunable]
    right = np.concatenate([scores.jaccard[:, level] for scores in sequences])[prunable] >= 0.5
    order = np.argsort(-confidence, kind="stable")
    share = np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    # only at the last of equal confidences is it known what a limit keeps
    last = np.append(confidence[order][:-1] != confidence[order][1:], True)[: len(order)]
    enough = np.flatnonzero((share >= RIGHT_SHARE) & last)
    return float(confidence[order][enough[-1]]) if len(enough) else float("inf")


def figures_of(sequences: Sequence[SequenceScores], level: int, confidence: float) -> NDArray[np.float64]:
    """The FIGURES (3,) with a threshold and a least confidence; NaN for the last one if no frame is kept."""
    values = [scores.jaccard[:, level] for scores in sequences]
    kept = np.concatenate([scores.prunable & (scores.confidence >= confidence) for scores in sequences])
    right = np.concatenate(values)[kept] >= 0.5
    mean_j = float(np.mean([value.mean() for value in values]))
    return np.array([mean_j, kept.mean(), right.mean() if len(right) else np.nan])


def cross_validate(sequences: Sequence[SequenceScores]) -> dict[str, dict[str, list[float]]]:
    """For each of FIGURES: "chosen", "other" and "difference", each a mean and a standard deviation over halves.

    chosen is a half's figure with the thresholds that were chosen on it, other its figure with those of the other half,
    difference the first minus the second. Empty for fewer than LEAST_SEQUENCES sequences.
    """
    if len(sequences) < LEAST_SEQUENCES:
        return {}
    generator = np.random.default_rng(0)
    rows = []
    for _ in range(SPLITS):
        order = generator.permutation(len(sequences))
        parts = [[sequences[i] for i in half] for half in np.array_split(order, 2)]
        levels = [best_level(part) for part in parts]
        limits = [least_confidence(part, level) for part, level in zip(parts, levels, strict=True)]
        for half in (0, 1):
            rows.append([figures_of(parts[half], levels[of], limits[of]) for of in (half, 1 - half)])
    of_halves = np.array(rows)  # (halves, chosen or other, figure)
    columns = {
        "chosen": of_halves[:, 0],
        "other": of_halves[:, 1],
        "difference": of_halves[:, 0] - of_halves[:, 1],
    }
    return {
        figure: {name: _mean_and_deviation(values[:, index]) for name, values in columns.items()}
        for index, figure in enumerate(FIGURES)
    }


def cross_validation_table(figures: dict[str, dict[str, list[float]]]) -> Table:
    """The result of `cross_validate`, a row for each figure."""
    title = "halves of the sequences"
    table = Table("", "thresholds of the same half", "of the other half", "difference", title=title)
    for name, columns in figures.items():
        table.add_row(name, *(f"{mean:.3f} ± {deviation:.3f}" for mean, deviation in columns.values()))
    return table


def _mean_and_deviation(values: NDArray[np.float64]) -> list[float]:
    """Mean and standard deviation of the values that are no NaN; zeros if there are none."""
    known = values[~np.isnan(values)]
    return [float(known.mean()), float(known.std())] if len(known) else [0.0, 0.0]
