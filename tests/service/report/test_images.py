"""Figures of the report."""

import pytest

from watchmove.service.report.images import detection_image


@pytest.mark.parametrize("values", [[], [0.0, 0.0], [0.4, 0.6]])
def test_a_bar_chart_of_any_values(values: list[float]) -> None:
    """A test set without objects has no mAP, and a detector that finds nothing has zero: both have a chart."""
    chart = detection_image([f"random, seed {number}" for number in range(len(values))], values)

    assert chart.startswith("data:image/svg+xml")
