"""The spread of figures over several seeds, and the confidence interval of their mean."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.stats import t as student

CONFIDENCE = 0.95
"""Level of all intervals: the usual one; not tuned."""


@dataclass(frozen=True)
class Spread:
    """The spread of `count` values.

    mean: their mean; deviation: their sample standard deviation; low, high: the ends of the 95 % confidence interval of
    the mean. A single value has no deviation and no interval: None.
    """

    count: int
    mean: float
    deviation: float | None
    low: float | None
    high: float | None


def spread_of(values: Sequence[float]) -> Spread:
    """Mean, standard deviation (n - 1 in the denominator) and Student's 95 % interval of at least one value.

    The interval covers the mean over all possible seeds if figures are normally distributed over seeds. For two seeds
    it is 18 standard deviations wide, because two values say little about their distribution.
    """
    # fsum rounds only once, so that the order of the seeds makes no difference
    count, mean = len(values), math.fsum(values) / len(values)
    if count == 1:
        return Spread(1, mean, None, None, None)
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (count - 1))
    half = float(student.ppf((1 + CONFIDENCE) / 2, count - 1)) * deviation / math.sqrt(count)
    return Spread(count, mean, deviation, mean - half, mean + half)
