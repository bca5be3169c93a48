"""Quantiles of Student's distribution against SciPy's."""

import pytest
from scipy.stats import t as student

from watchmove.pipeline.statistics.students_t import students_quantile


@pytest.mark.parametrize("freedom", [0.5, 1, 1.37, 2, 4, 7.5, 30, 99.9, 998, 1e6])
@pytest.mark.parametrize("probability", [0.6, 0.975, 0.9995])
def test_quantiles_are_those_of_scipy(probability: float, freedom: float) -> None:
    """From the heaviest tails, where a search goes far, to nearly the normal distribution, where it hardly moves."""
    expected = float(student.ppf(probability, freedom))

    assert students_quantile(probability, freedom) == pytest.approx(expected, rel=1e-12)


def test_the_quantile_of_two_values() -> None:
    """With one degree of freedom it is that of Cauchy's distribution, tan(π (p − 1/2))."""
    assert students_quantile(0.975, 1) == pytest.approx(12.7062047361747, rel=1e-13)
