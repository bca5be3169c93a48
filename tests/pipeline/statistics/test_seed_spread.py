"""The spread of a few figures, compared with values computed by hand and from tables."""

import math

import numpy as np
import pytest

from watchmove.pipeline.statistics.seed_spread import Components, components_of, spread_of, units_of


def test_one_value_has_no_interval() -> None:
    """A single value has no standard deviation and no interval."""
    spread = spread_of([0.4])

    assert (spread.count, spread.mean, spread.deviation, spread.low, spread.high) == (1, 0.4, None, None, None)


@pytest.mark.parametrize(("count", "factor"), [(2, 12.706), (3, 4.303), (5, 2.776), (10, 2.262)])
def test_the_interval_is_students(count: int, factor: float) -> None:
    """Half the width is the tabulated factor for n - 1 degrees of freedom times the standard error."""
    values = [0.3 + 0.01 * n for n in range(count)]
    spread = spread_of(values)

    assert spread.deviation is not None
    assert spread.low is not None
    assert spread.high is not None
    assert spread.mean == pytest.approx(sum(values) / count)
    assert spread.deviation == pytest.approx(math.sqrt(sum((v - spread.mean) ** 2 for v in values) / (count - 1)))
    assert (spread.high - spread.low) / 2 == pytest.approx(factor * spread.deviation / math.sqrt(count), rel=3e-4)


def test_equal_values_have_an_interval_of_no_width() -> None:
    """Equal values have a standard deviation of 0 and an interval without width."""
    spread = spread_of([0.5, 0.5, 0.5])

    assert (spread.deviation, spread.low, spread.high) == (0.0, 0.5, 0.5)


def test_variance_components_are_those_of_nested_draws() -> None:
    """Over 4,000 trunks with 3 detectors each, both deviations that the figures were drawn with are found again."""
    generator = np.random.default_rng(0)
    trunks = generator.normal(0.5, 0.03, 4000)
    groups = [list(generator.normal(trunk, 0.01, 3)) for trunk in trunks]
    found = components_of(groups)

    assert found.outer == pytest.approx(0.03, rel=0.05)
    assert found.inner == pytest.approx(0.01, rel=0.05)
    assert len(units_of(groups)) == 4000


def test_one_trunk_says_nothing_of_others() -> None:
    """With one group its values are the units; with one value in each group no component is known."""
    assert units_of([[0.1, 0.2]]) == (0.1, 0.2)
    assert components_of([[0.1, 0.3]]).outer is None
    assert components_of([[0.1, 0.3]]).inner == pytest.approx(0.02**0.5)
    assert components_of([[0.1], [0.3]]) == Components(None, None)
    assert units_of([[0.1, 0.3], [0.5]]) == pytest.approx((0.2, 0.5))
