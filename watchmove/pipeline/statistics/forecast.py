"""The growth of mAP with the number of frames for pretraining, and a forecast of the frames that reach a goal.

The model is a line over the logarithm of the number of frames, mAP = a + b · log10 n, fitted by least squares: the
growth that Pathak et al. report (CVPR 2017). Intervals are Student's, from the distances of the runs from the line.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from watchmove.pipeline.statistics.seed_spread import CONFIDENCE
from watchmove.pipeline.statistics.students_t import students_quantile

LEAST_SIZES = 3
"""Fewest different numbers of frames: a line through two always fits, which leaves no distance to judge it by."""

LARGEST_EXTRAPOLATION = 100.0
"""A forecast of more than this many times the frames of the largest run is refused, as the line may not hold there.

Set by hand; not tuned.
"""

LARGEST_INTERVAL_END = 10_000.0
"""A forecast whose interval ends beyond this many times the frames of the largest run is refused as too uncertain.

Set by hand; not tuned.
"""

_LARGEST_EXPONENT = 300
"""Largest power of ten that is computed; a float holds up to 10^308."""


@dataclass(frozen=True)
class FrameCurve:
    """The line mAP = `intercept` + `slope` · log10 n through `count` runs.

    `slope_low` and `slope_high` are the ends of the 95 % interval of the slope.
    """

    intercept: float
    slope: float
    slope_low: float
    slope_high: float
    deviation: float
    """Standard deviation of the runs from the line, with count − 2 in the denominator."""
    count: int
    mean_log_frames: float
    """Mean of log10 n over the runs."""
    spread_log_frames: float
    """Sum of the squared differences of log10 n from its mean."""

    def at(self, frames: NDArray[np.float64]) -> NDArray[np.float64]:
        """The mAP (N,) of the line at numbers of frames (N,)."""
        return self.intercept + self.slope * np.log10(frames)

    def half_band(self, frames: NDArray[np.float64]) -> NDArray[np.float64]:
        """Half the width (N,) of the 95 % confidence band of the line at numbers of frames (N,)."""
        distance = (np.log10(frames) - self.mean_log_frames) ** 2 / self.spread_log_frames
        return self.quantile * self.deviation * np.sqrt(1 / self.count + distance)

    @property
    def quantile(self) -> float:
        """The quantile of Student's distribution with count − 2 degrees of freedom for a two-sided interval."""
        return students_quantile((1 + CONFIDENCE) / 2, self.count - 2)


@dataclass(frozen=True)
class Forecast:
    """The number of frames at which the line reaches a goal, with the ends of its 95 % interval.

    All three are None if the forecast is refused; `refused` says why.
    """

    frames: float | None
    low: float | None
    high: float | None
    refused: str = ""


def fit_frames(frames: Sequence[float], figures: Sequence[float]) -> FrameCurve | None:
    """Fit the line through runs, given the number of frames (≥ 1) and the mAP of each.

    None where there are fewer than three different numbers of frames.
    """
    if len(set(frames)) < LEAST_SIZES:
        return None
    logs, values = np.log10(np.asarray(frames, np.float64)), np.asarray(figures, np.float64)
    count, centre = len(logs), float(logs.mean())
    spread = float(((logs - centre) ** 2).sum())
    slope = float(((logs - centre) * (values - values.mean())).sum()) / spread
    intercept = float(values.mean()) - slope * centre
    deviation = math.sqrt(float(((values - intercept - slope * logs) ** 2).sum()) / (count - 2))
    half = students_quantile((1 + CONFIDENCE) / 2, count - 2) * deviation / math.sqrt(spread)
    return FrameCurve(intercept, slope, slope - half, slope + half, deviation, count, centre, spread)


def forecast(curve: FrameCurve | None, goal: float, largest: float) -> Forecast:
    """Forecast the number of frames that reaches the mAP `goal`; `largest` is the number of frames of the largest run.

    The interval is Fieller's: all numbers of frames at which the confidence band of the line contains the goal. The
    forecast is refused where no line is fitted, growth is not certain, the goal is reached already, or is too far.
    """
    reason = _refusal(curve, goal, largest)
    if curve is None or reason:
        return Forecast(None, None, None, reason)
    reached = _frames((goal - curve.intercept) / curve.slope)
    low, high = (_frames(end) for end in _fieller(curve, goal))
    if high > LARGEST_INTERVAL_END * largest:
        times = f"{LARGEST_INTERVAL_END:,.0f} times"
        why = f"its 95 % interval ends beyond {times} the frames of the largest run: too uncertain"
        return Forecast(None, None, None, why)
    return Forecast(reached, low, high)


def _refusal(curve: FrameCurve | None, goal: float, largest: float) -> str:
    """Why there is no forecast, or nothing where there is one."""
    if curve is None:
        return f"runs of fewer than {LEAST_SIZES} numbers of frames: no line is fitted"
    if curve.slope_low <= 0:
        interval = f"{curve.slope_low:+.4f} to {curve.slope_high:+.4f} for ten times the frames"
        return f"growth is not certain: its 95 % interval is {interval}"
    if curve.at(np.array([largest]))[0] >= goal:
        return "the line reaches the goal within the frames of the largest run"
    if (goal - curve.intercept) / curve.slope > math.log10(LARGEST_EXTRAPOLATION * largest):
        return f"more than {LARGEST_EXTRAPOLATION:.0f} times the frames of the largest run: too far to forecast"
    return ""


def _fieller(curve: FrameCurve, goal: float) -> tuple[float, float]:
    """log10 n at both ends of Fieller's interval; the slope must be positive within its whole interval."""
    # (m + b u − goal)² = c² (1 / N + u² / S), with u = log10 n − its mean, m the line there and c = t · deviation
    rise = curve.intercept + curve.slope * curve.mean_log_frames - goal
    scale = (curve.quantile * curve.deviation) ** 2
    # positive, because the slope is positive within its whole interval: the solutions are between two roots
    square = curve.slope**2 - scale / curve.spread_log_frames
    linear, constant = 2 * rise * curve.slope, rise**2 - scale / curve.count
    # without noise both roots coincide, and rounding can make this slightly negative
    root = math.sqrt(max(linear**2 - 4 * square * constant, 0.0))
    return tuple(curve.mean_log_frames + (-linear + sign * root) / (2 * square) for sign in (-1, 1))  # type: ignore[return-value]


def _frames(log_frames: float) -> float:
    """10 to the power of `log_frames`; infinity where a float cannot hold it."""
    return float("inf") if log_frames > _LARGEST_EXPONENT else 10.0**log_frames
