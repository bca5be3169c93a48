"""Each half of the sequences is measured with its own thresholds and with those of the other half."""

import numpy as np
import pytest

from watchmove.service.masks.cross_validation import (
    FIGURES,
    SequenceScores,
    best_level,
    cross_validate,
    figures_of,
    least_confidence,
)


def scores(
    jaccard: list[list[float]], confidence: list[float] | None = None, prunable: list[bool] | None = None
) -> SequenceScores:
    """A sequence; every frame has a confidence of one and passes all other rules unless said."""
    count = len(jaccard)
    return SequenceScores(
        np.array(jaccard), np.array(confidence or [1.0] * count), np.array(prunable or [True] * count)
    )


def test_a_long_sequence_counts_once() -> None:
    """The level is that of the best mean over sequences, not over frames."""
    long, short = scores([[0.5, 0.6]] * 5), scores([[0.9, 0.5]])

    assert best_level([long, short]) == 0
    assert best_level([long]) == 1


@pytest.mark.parametrize(
    ("right", "expected"),
    [([1, 1, 1, 0], 0.7), ([0, 1, 1, 1], float("inf")), ([1, 1, 1, 1], 0.6)],
    ids=["the least sure is wrong", "the surest is wrong", "all are right"],
)
def test_the_least_confidence_keeps_the_promise(right: list[int], expected: float) -> None:
    """As many frames as possible are kept while 97 % of them have a J of one half."""
    sequence = scores([[float(value)] for value in right], [0.9, 0.8, 0.7, 0.6])

    assert least_confidence([sequence], 0) == expected


def test_equal_confidences_are_kept_or_rejected_together() -> None:
    """A limit between two frames of the same confidence does not exist."""
    assert least_confidence([scores([[1.0], [1.0], [0.0]], [0.9, 0.5, 0.5])], 0) == 0.9


def test_frames_that_another_rule_rejects_do_not_count() -> None:
    """A wrong frame that is rejected anyway neither raises the limit nor is it kept; J contains it."""
    sequence = scores([[0.8], [0.2]], [0.5, 0.9], [True, False])

    assert least_confidence([sequence], 0) == 0.5
    assert figures_of([sequence], 0, 0.5).tolist() == [0.5, 0.5, 1.0]


def test_halves_that_differ_show_in_the_difference() -> None:
    """With sequences that each suit another threshold a half's own threshold is better than the other's."""
    found = cross_validate([scores([np.eye(6)[i].tolist()]) for i in range(6)])

    assert tuple(found) == FIGURES
    assert found["J"]["chosen"] == [pytest.approx(1 / 3), pytest.approx(0)]
    assert found["J"]["other"][0] == 0
    assert found["J"]["difference"][0] == pytest.approx(1 / 3)


def test_equal_sequences_have_no_difference() -> None:
    """Where all sequences are the same, so are the halves; too few sequences have no figures."""
    sequences = [scores([[0.25, 0.75]] * 3)] * 6

    assert cross_validate(sequences)["J"] == {"chosen": [0.75, 0.0], "other": [0.75, 0.0], "difference": [0.0, 0.0]}
    assert cross_validate(sequences[:3]) == {}
