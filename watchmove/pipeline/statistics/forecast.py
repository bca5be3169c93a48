"""How average precision grows with the frames that a trunk is pretrained on, and how many would reach a given one.

The model is a line over the logarithm of frames, mAP = a + b · log10 n, fitted by least squares: the growth that the
paper reports (Pathak et al., CVPR 2017). Uncertainty is Student's, from how far runs lie from the line.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

CONFIDENCE = 0.95
LEAST_SIZES = 3
FURTHEST = 100.0
"""A forecast of more than so many times the frames of the largest run is refused: the line need not hold there."""
WIDEST = 10_000.0
"""So is one whose interval ends beyond so many times these frames: it would say nothing."""


@dataclass(frozen=True)
class FrameCurve:
    """mAP = `intercept` + `slope` · log10 n through `count` runs; `slope_low`, `slope_high`: its 95 % interval."""

    intercept: float
    slope: float
    slope_low: float
    slope_high: float
    deviation: float
    """Of runs from the line, count − 2 in the denominator."""
    count: int
    mean_log_frames: float
    spread_log_frames: float
    """Sum of squared differences of log10 n from its mean."""

    def at(self, frames: NDArray[np.float64]) -> NDArray[np.float64]:
        """The line, at numbers of frames (N,)."""
        return self.intercept + self.slope * np.log10(frames)

    def half_band(self, frames: NDArray[np.float64]) -> NDArray[np.float64]:
        """Half the width (N,) of the 95 % band in which the line lies."""
        away = (np.log10(frames) - self.mean_log_frames) ** 2 / self.spread_log_frames
        return self.quantile * self.deviation * np.sqrt(1 / self.count + away)

    @property
    def quantile(self) -> float:
        """Student's, of count − 2 degrees of freedom."""
        return float(student.ppf((1 + CONFIDENCE) / 2, self.count - 2))


@dataclass(frozen=True)
class Forecast:
    """Frames at which the line reaches a goal, and the 95 % interval of that; None where `refused` says why."""

    frames: float | None
    low: float | None
    high: float | None
    refused: str = ""


def fit_frames(frames: Sequence[float], figures: Sequence[float]) -> FrameCurve | None:
    """The line through runs, each with its number of frames (≥ 1) and its mAP; None with fewer than three sizes."""
    if len(set(frames)) < LEAST_SIZES:
        return None
    logs, values = np.log10(np.asarray(frames, np.float64)), np.asarray(figures, np.float64)
    count, centre = len(logs), float(logs.mean())
    spread = float(((logs - centre) ** 2).sum())
    slope = float(((logs - centre) * (values - values.mean())).sum()) / spread
    intercept = float(values.mean()) - slope * centre
    deviation = math.sqrt(float(((values - intercept - slope * logs) ** 2).sum()) / (count - 2))
    half = float(student.ppf((1 + CONFIDENCE) / 2, count - 2)) * deviation / math.sqrt(spread)
    return FrameCurve(intercept, slope, slope - half, slope + half, deviation, count, centre, spread)


def forecast(curve: FrameCurve | None, goal: float, largest: float) -> Forecast:
    """Frames that would reach `goal`, where the runs, of at most `largest` frames, can carry that.

    The interval is Fieller's: all numbers of frames at which the line's band contains the goal.
    """
    reason = _refusal(curve, goal, largest)
    if curve is None or reason:
        return Forecast(None, None, None, reason)
    reached = _frames((goal - curve.intercept) / curve.slope)
    low, high = (_frames(end) for end in _fieller(curve, goal))
    if high > WIDEST * largest:
        why = f"its 95 % interval ends beyond {WIDEST:,.0f} times the frames of the largest run: too wide to say"
        return Forecast(None, None, None, why)
    return Forecast(reached, low, high)


def _refusal(curve: FrameCurve | None, goal: float, largest: float) -> str:
    if curve is None:
        return f"runs of fewer than {LEAST_SIZES} numbers of frames: no line is fitted"
    if curve.slope_low <= 0:
        interval = f"{curve.slope_low:+.4f} to {curve.slope_high:+.4f} for ten times the frames"
        return f"growth is not certain: its 95 % interval is {interval}"
    if curve.at(np.array([largest]))[0] >= goal:
        return "the line is there already at the frames of the largest run"
    if (goal - curve.intercept) / curve.slope > math.log10(FURTHEST * largest):
        return f"more than {FURTHEST:.0f} times the frames of the largest run: too far to say"
    return ""


def _fieller(curve: FrameCurve, goal: float) -> tuple[float, float]:
    """log10 n at both ends of the band's crossing with the goal; the slope's interval lies above zero."""
    # (m + b u − goal)² = c² (1 / N + u² / S), with u = log10 n − its mean, m the line there and c = t · deviation
    rise = curve.intercept + curve.slope * curve.mean_log_frames - goal
    scale = (curve.quantile * curve.deviation) ** 2
    square = curve.slope**2 - scale / curve.spread_log_frames
    linear, constant = 2 * rise * curve.slope, rise**2 - scale / curve.count
    root = math.sqrt(max(linear**2 - 4 * square * constant, 0.0))
    return tuple(curve.mean_log_frames + (-linear + sign * root) / (2 * square) for sign in (-1, 1))  # type: ignore[return-value]


def _frames(log_frames: float) -> float:
    """10 to that power; infinity where no float holds it."""
    return float("inf") if log_frames > 300 else 10.0**log_frames
