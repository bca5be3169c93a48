"""Student's distribution, from the incomplete beta function of mpmath: SciPy would add 140 MB to the slim image."""

import math
from functools import lru_cache
from statistics import NormalDist

_TOLERANCE = 1e-14
"""Relative step at which the search for a quantile ends, a few roundings of a float."""


@lru_cache(maxsize=4096)
def students_quantile(probability: float, freedom: float) -> float:
    """The quantile of Student's distribution with `freedom` > 0 degrees of freedom, for a probability in (0.5, 1).

    Newton's method. Above 0 the distribution function is concave and grows more slowly than the normal one, so that
    steps from the normal quantile only rise, and do not pass the root.
    """
    found = NormalDist().inv_cdf(probability)
    while True:
        step = (probability - _distribution(found, freedom)) / _density(found, freedom)
        found += step
        if step <= _TOLERANCE * found:
            return found


def _distribution(value: float, freedom: float) -> float:
    """The probability of at most `value` > 0 (Abramowitz and Stegun, 26.7.1)."""
    # loaded where a quantile is needed: most reports of one seed need none
    from mpmath import betainc

    square = value**2
    # of the two equal forms the one whose argument is small, which rounding leaves exact
    if square > freedom:
        return 1 - float(betainc(freedom / 2, 0.5, 0, freedom / (freedom + square), regularized=True)) / 2
    return 0.5 + float(betainc(0.5, freedom / 2, 0, square / (freedom + square), regularized=True)) / 2


def _density(value: float, freedom: float) -> float:
    logarithm = math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2) - math.log(freedom * math.pi) / 2
    return math.exp(logarithm - (freedom + 1) / 2 * math.log1p(value**2 / freedom))
