"""How far figures of several seeds spread, and how sure that makes their mean."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.stats import t as student

_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Spread:
    """Mean of `count` values; sample deviation, and the ends of the mean's 95 % interval, None for a single value."""

    count: int
    mean: float
    deviation: float | None
    low: float | None
    high: float | None


def spread_of(values: Sequence[float]) -> Spread:
    """Mean, deviation (n - 1 in the denominator) and Student's 95 % interval of at least one value.

    The interval says where the mean over all seeds may lie, if seeds scatter as a normal distribution does; of two
    seeds it is thirteen deviations wide, and rightly so.
    """
    count, mean = len(values), math.fsum(values) / len(values)
    if count == 1:
        return Spread(1, mean, None, None, None)
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (count - 1))
    half = float(student.ppf((1 + _CONFIDENCE) / 2, count - 1)) * deviation / math.sqrt(count)
    return Spread(count, mean, deviation, mean - half, mean + half)
