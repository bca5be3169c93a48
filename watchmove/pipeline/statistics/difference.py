"""The difference of two means over seeds or videos, what it shows, and how many seeds would show it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from watchmove.pipeline.statistics.seed_spread import CONFIDENCE, spread_of
from watchmove.pipeline.statistics.students_t import students_quantile

Verdict = Literal["shown", "not shown", "opposite"]

MOST_SEEDS = 1000
"""Largest number of seeds that is named as enough: beyond it nobody would train them. Set by hand."""


@dataclass(frozen=True)
class Difference:
    """A difference of means with the ends of its 95 % interval, which a single value on a side leaves unknown: None.

    enough: the number of values on each side with which a difference of this size would be shown, if their spread
    stayed the same; None if it is not known or above MOST_SEEDS.
    """

    mean: float
    low: float | None
    high: float | None
    enough: int | None

    @property
    def verdict(self) -> Verdict:
        """`shown` if the whole interval is above 0, `opposite` if it is below 0, else `not shown`."""
        if self.low is None or self.high is None:
            return "not shown"
        return "shown" if self.low > 0 else "opposite" if self.high < 0 else "not shown"


def difference_of(higher: Sequence[float], lower: Sequence[float]) -> Difference:
    """Compare independent values, at least one on each side, by Welch's interval of the difference of their means."""
    first, second = spread_of(higher), spread_of(lower)
    mean = first.mean - second.mean
    if first.deviation is None or second.deviation is None:
        return Difference(mean, None, None, None)
    squares = [(first.deviation**2, first.count), (second.deviation**2, second.count)]
    error = math.sqrt(sum(square / count for square, count in squares))
    if error == 0:
        return Difference(mean, mean, mean, 2)
    # Welch and Satterthwaite's degrees of freedom
    freedom = error**4 / sum((square / count) ** 2 / (count - 1) for square, count in squares)
    half = _quantile(freedom) * error
    return Difference(mean, mean - half, mean + half, _enough(mean, sum(square for square, _ in squares), 2))


def paired_difference_of(pairs: Sequence[tuple[float, float]]) -> Difference:
    """Compare pairs of values of the same thing, at least one, by Student's interval of their mean difference."""
    spread = spread_of([higher - lower for higher, lower in pairs])
    if spread.deviation is None:
        return Difference(spread.mean, None, None, None)
    return Difference(spread.mean, spread.low, spread.high, _enough(spread.mean, spread.deviation**2, 1))


def _enough(mean: float, variance: float, sides: int) -> int | None:
    """Return the least number of values on each side whose interval of this difference does not contain 0."""
    for count in range(2, MOST_SEEDS + 1):
        if abs(mean) > _quantile(sides * (count - 1)) * math.sqrt(variance / count):
            return count
    return None


def _quantile(freedom: float) -> float:
    return students_quantile((1 + CONFIDENCE) / 2, freedom)
