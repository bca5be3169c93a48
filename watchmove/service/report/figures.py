"""Charts of a run's result: mean average precision over frozen layers, and over the number of pretraining frames."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from watchmove.pipeline.statistics.forecast import FrameCurve, fit_frames
from watchmove.service.records.training import PRETRAINED, RANDOM
from watchmove.service.report.images import new_chart, short_label
from watchmove.service.report.result import Growth, ResultRow, SeedSpread

_COLOURS = {RANDOM: "#888888", PRETRAINED: "#cc3333"}
_OTHERS = ("#223366", "#2a8a4a", "#b8860b", "#7a3d8f")
_AXIS = "mAP (11-point, IoU 0.5)"


def freezing_figure(rows: Sequence[ResultRow]) -> Figure | None:
    """Mean average precision over the number of frozen convolutions, a line for each initialisation.

    Bars are the 95 % interval of the mean over seeds, if there are several. None if there is a single freezing level.
    """
    if len({row.freeze_through for row in rows}) < 2:
        return None
    figure, axes = new_chart(3.6)
    names = list(dict.fromkeys(row.initialisation for row in rows))
    # Repeated, so that there is a colour for every line.
    others = iter(_OTHERS * len(names))
    for name in names:
        own = [(row.freeze_through, row.ap_11_point) for row in rows if row.initialisation == name]
        known = sorted((level, spread) for level, spread in own if spread is not None)
        colour = _COLOURS.get(name) or next(others)
        _line(axes, [level for level, _ in known], [spread for _, spread in known], short_label(name), colour)
    levels = sorted({row.freeze_through for row in rows})
    axes.set_xticks(levels, ["none" if level == 0 else f"conv1–{level}" if level > 1 else "conv1" for level in levels])
    axes.set_xlabel("frozen layers")
    axes.set_ylabel(_AXIS)
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)
    return figure


def frames_figure(growth: Growth) -> Figure | None:
    """Mean average precision of backbones over their number of pretraining frames, with the fitted line.

    The chart includes the line's 95 % band, and the forecast if there is one. None if there is a single backbone.
    """
    if len(growth.points) < 2:
        return None
    figure, axes = new_chart(3.6)
    frames = [point.frames for point in growth.points]
    _line(axes, frames, [point.ap_11_point for point in growth.points], "backbones", _COLOURS[PRETRAINED], line="")
    # Fitted again, because the record holds the line only, and its band depends on all points.
    curve = fit_frames(frames, [point.ap_11_point.mean for point in growth.points])
    if curve is not None:
        _band(axes, curve, min(frames), max(growth.frames or 0, *frames))
    if growth.goal is not None:
        axes.axhline(growth.goal, color="#223366", linestyle="--", linewidth=1, label=f"supervised, {growth.goal:.3f}")
    if growth.frames is not None and growth.frames_low is not None and growth.frames_high is not None:
        sides = [[growth.frames - growth.frames_low], [growth.frames_high - growth.frames]]
        axes.errorbar(
            [growth.frames], [growth.goal or 0], xerr=sides, fmt="D", color="#223366", capsize=3, label="forecast"
        )
    axes.set_xscale("log")  # the fitted line is straight over log10 n
    axes.set_xlabel("pretraining frames")
    axes.set_ylabel(_AXIS)
    axes.legend(frameon=False)
    return figure


def _line(
    axes: Axes, places: Sequence[int], spreads: Sequence[SeedSpread], name: str, colour: str, *, line: str = "-"
) -> None:
    """Draw means, with their 95 % intervals where there are several seeds."""
    halves = [spread.high - spread.mean if spread.high is not None else 0.0 for spread in spreads]
    means = [spread.mean for spread in spreads]
    axes.errorbar(places, means, halves, color=colour, marker="o", linestyle=line, capsize=3, label=name)


def _band(axes: Axes, curve: FrameCurve, first: float, last: float) -> None:
    frames = np.logspace(np.log10(first), np.log10(last), 100)
    line, half = curve.at(frames), curve.half_band(frames)
    axes.plot(frames, line, color="#cc3333", linewidth=1, label=f"{curve.slope:+.3f} for ten times the frames")
    axes.fill_between(frames, line - half, line + half, color="#cc3333", alpha=0.15, linewidth=0, label="95 % band")
