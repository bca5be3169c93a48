"""Differences of means against scipy's tests and against figures worked out by hand."""

import pytest
from scipy.stats import t as student
from scipy.stats import ttest_ind, ttest_rel

from watchmove.pipeline.statistics.difference import difference_of, paired_difference_of

HIGHER, LOWER = (0.62, 0.60, 0.64), (0.55, 0.58, 0.52, 0.55)


def test_the_interval_is_welchs() -> None:
    """Scipy computes the same interval of the difference of independent values."""
    expected = ttest_ind(HIGHER, LOWER, equal_var=False).confidence_interval(0.95)
    found = difference_of(HIGHER, LOWER)

    assert found.mean == pytest.approx(0.07)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.verdict == "shown"


def test_the_interval_of_pairs_is_students() -> None:
    """Scipy computes the same for pairs, whose common part cancels."""
    pairs = [(0.5, 0.4), (0.9, 0.8), (0.2, 0.13)]
    higher, lower = ([pair[side] for pair in pairs] for side in (0, 1))
    expected = ttest_rel(higher, lower).confidence_interval(0.95)
    found = paired_difference_of(pairs)

    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.verdict == "shown"


@pytest.mark.parametrize(
    ("higher", "lower", "verdict"),
    [
        ((0.5, 0.6), (0.5, 0.6), "not shown"),
        (LOWER, HIGHER, "opposite"),
        ((0.9,), (0.1, 0.1), "not shown"),
        ((0.5, 0.5), (0.4, 0.4), "shown"),
    ],
    ids=["equal", "the other way round", "one value says nothing of its spread", "without any spread"],
)
def test_a_verdict_needs_an_interval_on_one_side_of_zero(
    higher: tuple[float, ...], lower: tuple[float, ...], verdict: str
) -> None:
    """Neither a large difference of single values nor a small one within the spread shows anything."""
    assert difference_of(higher, lower).verdict == verdict


def test_the_number_of_seeds_that_would_settle_it() -> None:
    """With that many values of the same mean and deviation the verdict is `shown`, and with one fewer it is not."""
    enough = difference_of((0.50, 0.56), (0.48, 0.54)).enough
    assert enough is not None

    # both sides have a variance of 0.0018, and their means differ by 0.02
    def is_shown(count: int) -> bool:
        return bool(student.ppf(0.975, 2 * count - 2) * (2 * 0.0018 / count) ** 0.5 < 0.02)

    assert is_shown(enough)
    assert not is_shown(enough - 1)
    assert difference_of((0.5, 0.6), (0.5, 0.6)).enough is None
