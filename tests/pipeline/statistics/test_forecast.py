"""Growth over frames: the line, its confidence band, the forecast, and the cases in which it is refused."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchmove.pipeline.statistics.forecast import fit_frames, forecast

FRAMES = (1e3, 1e4, 1e5, 1e6)


def test_a_line_by_hand() -> None:
    """Four points; the interval of the slope is by hand: t(0.975; 2) = 4.3027, s² = 0.0004 / 2, S = 5."""
    curve = fit_frames(FRAMES, [0.31, 0.39, 0.49, 0.61])
    assert curve is not None
    residuals = np.array([0.31, 0.39, 0.49, 0.61]) - (0.3 + 0.1 * np.arange(4))
    slope = 0.1 + (residuals * (np.arange(4) - 1.5)).sum() / 5

    assert curve.slope == pytest.approx(slope)
    assert curve.slope == pytest.approx(0.1)
    assert curve.deviation == pytest.approx(math.sqrt(0.0004 / 2))
    assert curve.slope_high - curve.slope == pytest.approx(4.30265 * math.sqrt(0.0002 / 5), rel=1e-5)


@given(st.floats(0.001, 0.3), st.floats(-0.5, 0.5), st.floats(0.01, 1.9))
def test_without_noise_the_forecast_is_exact(slope: float, intercept: float, further: float) -> None:
    """Without noise the forecast is exact, and its interval is no wider than rounding errors."""
    curve = fit_frames(FRAMES, [intercept + slope * math.log10(one) for one in FRAMES])
    found = forecast(curve, intercept + slope * (6 + further), 1e6)

    assert found.refused == ""
    assert [math.log10(one or 0) for one in (found.low, found.frames, found.high)] == pytest.approx(
        [6 + further] * 3, abs=1e-3
    )


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """In 2,000 noisy growths, the intervals of slope, band and forecast contain the truth in about 95 %."""
    rng, inside = np.random.default_rng(0), np.zeros(3)
    frames = np.array([1e3, 3e3, 1e4, 3e4, 1e5, 1e6])
    logs, asked = np.log10(frames), 0
    for _ in range(2000):
        curve = fit_frames(list(frames), list(0.1 + 0.05 * logs + rng.normal(0, 0.01, 6)))
        assert curve is not None
        at = np.array([1e7])
        found = forecast(curve, 0.1 + 0.05 * 6.5, 1e6)
        inside[0] += curve.slope_low <= 0.05 <= curve.slope_high
        inside[1] += abs(curve.at(at)[0] - 0.45) <= curve.half_band(at)[0]
        if found.low is not None and found.high is not None:
            asked += 1
            inside[2] += found.low <= 10**6.5 <= found.high

    assert asked > 1500
    assert inside[:2] / 2000 == pytest.approx([0.95, 0.95], abs=0.015)
    assert inside[2] / asked > 0.93


@pytest.mark.parametrize(
    ("frames", "figures", "goal", "reason"),
    [
        ((1e3, 1e4), (0.3, 0.4), 0.5, "fewer than 3 numbers of frames"),
        ((1e3, 1e3, 1e4), (0.3, 0.3, 0.4), 0.5, "fewer than 3 numbers of frames"),
        (FRAMES, (0.3, 0.5, 0.2, 0.4), 0.5, "growth is not certain"),
        (FRAMES, (0.6, 0.5, 0.4, 0.3), 0.5, "growth is not certain"),
        (FRAMES, (0.3, 0.3, 0.3, 0.3), 0.5, "growth is not certain"),
        (FRAMES, (0.3, 0.4, 0.5, 0.6), 0.55, "reaches the goal within"),
        (FRAMES, (0.3, 0.301, 0.302, 0.303), 0.5, "too far to forecast"),
        (FRAMES, (0.30, 0.44, 0.50, 0.56), 0.66, "too uncertain"),
        (FRAMES, (0.30, 0.45, 0.50, 0.55), 0.66, "too uncertain"),
    ],
)
def test_forecasts_that_the_runs_do_not_support_are_refused(
    frames: tuple[float, ...], figures: tuple[float, ...], goal: float, reason: str
) -> None:
    """A refused forecast has a reason and no numbers."""
    found = forecast(fit_frames(frames, figures), goal, max(frames))

    assert reason in found.refused
    assert (found.frames, found.low, found.high) == (None, None, None)
