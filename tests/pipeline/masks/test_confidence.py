"""The confidence of the masks of a shot decides whether other masks are looked for, and which are used."""

import numpy as np
import pytest

from watchmove.pipeline.arrays import FloatArray
from watchmove.pipeline.masks.confidence import is_doubtful, mean_confidence, most_confident

EMPTY = np.zeros((100, 200), np.float32)


def mask(uncertain_rows: int) -> FloatArray:
    """A mask of 40 rows, below which some rows of the same length are uncertain."""
    soft = EMPTY.copy()
    soft[20:60, 50:150] = 1
    soft[60 : 60 + uncertain_rows, 50:150] = 0.4
    return soft


def test_masks_are_doubtful_below_a_mean_confidence() -> None:
    """Of 0.7; a shot without masks is not."""
    sure, vague = mask(0), mask(20)

    assert mean_confidence([sure, vague]) > 0.7 > mean_confidence([sure, EMPTY])
    assert not is_doubtful([sure, vague])
    assert is_doubtful([sure, EMPTY])
    assert not is_doubtful([])


def test_other_masks_have_to_be_clearly_more_confident() -> None:
    """By 0.1; of several such, the most confident ones are used."""
    by_rows = {rows: [mask(rows)] for rows in (0, 6, 12, 20, 40)}
    means = {rows: mean_confidence(masks) for rows, masks in by_rows.items()}

    assert means[12] - means[20] < 0.1 < means[6] - means[20] < means[0] - means[20]
    assert most_confident([by_rows[20]]) == 0
    assert most_confident([by_rows[20], by_rows[12]]) == 0
    assert most_confident([by_rows[20], by_rows[6], by_rows[0], by_rows[12]]) == 2
    assert most_confident([by_rows[20], by_rows[40]]) == 0
    assert means[0] == pytest.approx(1)
