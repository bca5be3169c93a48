"""The spread of figures over several seeds, and the confidence interval of their mean.

Figures of pretrained trunks are nested: each seed of pretraining gives a trunk, on which detectors are trained with
several seeds. Detectors of one trunk are not independent of each other, so the units of an interval or a test are the
means of the trunks (Snedecor and Cochran, Statistical Methods, on nested classifications).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from watchmove.pipeline.statistics.students_t import students_quantile

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
    half = students_quantile((1 + CONFIDENCE) / 2, count - 1) * deviation / math.sqrt(count)
    return Spread(count, mean, deviation, mean - half, mean + half)


@dataclass(frozen=True)
class Components:
    """Standard deviations of the two levels of nested figures; None where one value in each group leaves it unknown.

    outer: between the groups' true means; inner: between the values of one group.
    """

    outer: float | None
    inner: float | None


def units_of(groups: Sequence[Sequence[float]]) -> tuple[float, ...]:
    """The independent figures of nested ones: the mean of each group, or the values if there is one group.

    Each group, at least one, holds the figures of one seed of pretraining, at least one.
    """
    if len(groups) == 1:
        return tuple(groups[0])
    return tuple(math.fsum(group) / len(group) for group in groups)


def components_of(groups: Sequence[Sequence[float]]) -> Components:
    """The variance components of nested figures by the analysis of variance, as standard deviations.

    The mean square within groups estimates the inner variance; the variance of the groups' means exceeds the outer
    variance by the inner variance over the number of values in a group, and is 0 if the difference is negative.
    """
    freedom = sum(len(group) - 1 for group in groups)
    if not freedom:
        return Components(None, None)
    means = [math.fsum(group) / len(group) for group in groups]
    squares = math.fsum((value - mean) ** 2 for group, mean in zip(groups, means, strict=True) for value in group)
    inner = squares / freedom
    if len(groups) == 1:
        return Components(None, math.sqrt(inner))
    between = (spread_of(means).deviation or 0.0) ** 2
    # for groups of different sizes, the mean of 1 / n
    excess = inner * math.fsum(1 / len(group) for group in groups) / len(groups)
    return Components(math.sqrt(max(between - excess, 0.0)), math.sqrt(inner))
