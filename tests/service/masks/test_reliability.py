"""What the masks of each range of confidence are worth, for frames whose J is made up."""

import numpy as np
import pytest

from watchmove.service.masks.reliability import as_json, reliability, reliability_table


def test_each_frame_is_in_the_range_of_its_confidence() -> None:
    """Limits belong to the range above, 1 to the last one, and ranges without frames are left out."""
    confidence = np.array([0.65, 0.6999, 0.7, 1.0])
    ranges = reliability(confidence, np.array([0.4, 0.8, 0.5, 0.9]))

    assert [(part.low, part.high, part.frames) for part in ranges] == [(0.65, 0.7, 2), (0.7, 0.75, 1), (0.9, 1.0, 1)]
    assert [part.mean_j for part in ranges] == pytest.approx([0.6, 0.5, 0.9])
    assert [part.at_least_half_right for part in ranges] == [0.5, 1.0, 1.0]
    assert ranges[0].mean_confidence == pytest.approx(0.67495)


def test_the_table_has_a_row_for_each_range() -> None:
    """The table is made from what the JSON output has."""
    table = reliability_table(as_json(reliability(np.array([0.1, 0.95]), np.array([0.0, 1.0]))))

    assert [list(column.cells) for column in table.columns] == [
        ["0.00 to 0.20", "0.90 to 1.00"],
        ["1", "1"],
        ["0.100", "0.950"],
        ["0.000", "1.000"],
        ["0.0%", "100.0%"],
    ]
