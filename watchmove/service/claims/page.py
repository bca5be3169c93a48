"""The page of the claims: their table, three figures, and what the network predicts of held-out videos."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from matplotlib.figure import Figure

from watchmove.pipeline.statistics.forecast import fit_frames
from watchmove.pipeline.statistics.seed_spread import spread_of
from watchmove.service.claims.mask_iou import Crop, HeldOutVideo
from watchmove.service.claims.rows import ON_PAR_MARGIN, Claim, frozen_key
from watchmove.service.claims.series import FROZEN_LEVELS, MASKS
from watchmove.service.report.html_pages import html_environment
from watchmove.service.report.images import jpeg_uri, overlay, svg, svg_uri

_COLOURS = {"random": "#888888", MASKS: "#cc3333"}
_OTHERS = ("#223366", "#2a8a4a", "#b8860b", "#7a3d8f", "#0b7a8f", "#e377c2")
_AXIS = "mAP (11-point, IoU 0.5)"
_PICTURES = 8
"""Most held-out videos on the page. Set by hand."""
_PICTURE_PIXELS = 160
"""Side of a crop on the page. Set by hand: the crops of the small AlexNet are of 115 pixels."""


class _Cost(NamedTuple):
    stage: str
    cells: int
    mean: float
    total: float


class HeldOutPicture(NamedTuple):
    """A crop of a held-out video four times, plain and with each mask, as a data URI; IoUs are means of the video."""

    video: str
    source: str
    network: float
    motion: float
    average: float


def held_out_pictures(videos: Mapping[str, HeldOutVideo]) -> list[HeldOutPicture]:
    """Pictures of up to eight videos, from the one whose masks the network predicts worst to the best.

    Those between are evenly spaced in that order.
    """
    ranked = sorted(videos.items(), key=lambda item: item[1].network)
    places = np.unique(np.linspace(0, len(ranked) - 1, _PICTURES).astype(int)) if ranked else ()
    chosen = (ranked[place] for place in places)
    return [HeldOutPicture(video, _strip(row.example), row.network, row.motion, row.average) for video, row in chosen]


def _strip(crop: Crop) -> str:
    """A crop beside itself with the masks of the network, of motion and of the truth."""
    size = (_PICTURE_PIXELS, _PICTURE_PIXELS)
    plain = np.asarray(cv2.resize(crop.image, size), np.uint8)
    masks = (cv2.resize(one.astype(np.float32), size) for one in (crop.network, crop.motion, crop.truth))
    return jpeg_uri(np.hstack([plain, *(overlay(plain, np.asarray(mask, np.float32)) for mask in masks)]))


def page_of(
    claims: Sequence[Claim],
    figures: Mapping[str, Sequence[float]],
    growth: Sequence[tuple[int, float]],
    seconds: Mapping[str, float],
    facts: Mapping[str, object],
) -> str:
    """Return the page as HTML that stands alone.

    figures: mAPs under the keys of `detection_claims`; growth: frames and mAP of each detector; seconds: those of each
    cell by its name, which begins with its stage; facts: the template's other values.
    """
    environment = html_environment("watchmove.service.claims")
    environment.filters["figure"] = lambda value: f"{value:.3f}"
    environment.filters["difference"] = lambda value: f"{value:+z.3f}"
    verdicts = [claim.verdict for claim in claims]
    counts = {"shown": verdicts.count("shown"), "opposite": verdicts.count("opposite")}
    return environment.get_template("claims.html.j2").render(
        claims=claims,
        counts=counts | {"open": len(verdicts) - sum(counts.values())},
        margin=ON_PAR_MARGIN,
        bars=svg_uri(svg(_bars(figures))),
        frozen=svg_uri(svg(_frozen(figures))),
        growth=svg_uri(svg(_growth(growth))),
        costs=_costs(seconds),
        **facts,
    )


def _bars(figures: Mapping[str, Sequence[float]]) -> Figure:
    """The mAP of each pretraining with its 95 % interval over seeds, in the order of the series."""
    spreads = {name: spread_of(values) for name, values in figures.items() if "frozen" not in name}
    figure = Figure(figsize=(7.6, 0.8 + 0.32 * len(spreads)), layout="constrained")
    axes = figure.add_subplot()
    means = [spread.mean for spread in spreads.values()]
    halves = [0.0 if spread.high is None else spread.high - spread.mean for spread in spreads.values()]
    colours = [_COLOURS.get(name.partition(",")[0], _OTHERS[0]) for name in spreads]
    axes.barh(list(spreads), means, xerr=halves, color=colours, capsize=3)
    axes.invert_yaxis()  # the first bar at the top
    axes.set_xlim(left=0)
    axes.set_xlabel(_AXIS)
    return figure


def _frozen(figures: Mapping[str, Sequence[float]]) -> Figure:
    """The mAP over the number of frozen convolutions, a line for each pretraining."""
    figure = Figure(figsize=(7.6, 3.8), layout="constrained")
    axes = figure.add_subplot()
    levels = [level for level in (0, *FROZEN_LEVELS) if any(frozen_key(name, level) in figures for name in figures)]
    names = [name for name in figures if all(frozen_key(name, level) in figures for level in levels)]
    others = iter(_OTHERS * len(names))
    for name in names:
        spreads = [spread_of(figures[frozen_key(name, level)]) for level in levels]
        halves = [0.0 if spread.high is None else spread.high - spread.mean for spread in spreads]
        means = [spread.mean for spread in spreads]
        axes.errorbar(
            levels, means, halves, marker="o", capsize=3, label=name, color=_COLOURS.get(name) or next(others)
        )
    axes.set_xticks(levels, ["none" if level == 0 else f"conv1–{level}" if level > 1 else "conv1" for level in levels])
    axes.set_xlabel("frozen layers")
    axes.set_ylabel(_AXIS)
    axes.set_ylim(bottom=0)
    figure.legend(frameon=False, ncols=4, loc="outside upper center")  # inside, it would cover lines
    return figure


def _growth(points: Sequence[tuple[int, float]]) -> Figure:
    """The mAP over the number of frames, a point for each detector, with the fitted line and its 95 % band."""
    figure = Figure(figsize=(7.6, 3.4), layout="constrained")
    axes = figure.add_subplot()
    frames = [number for number, _ in points]
    axes.plot(frames, [value for _, value in points], "o", color=_COLOURS[MASKS])
    curve = fit_frames(frames, [value for _, value in points])
    if curve is not None:
        along = np.logspace(np.log10(min(frames)), np.log10(max(frames)), 50)
        line, half = curve.at(along), curve.half_band(along)
        axes.plot(along, line, color=_COLOURS[MASKS], linewidth=1)
        axes.fill_between(along, line - half, line + half, color=_COLOURS[MASKS], alpha=0.15, linewidth=0)
    axes.set_xscale("log")  # the fitted line is straight over log10 n
    axes.set_xticks(sorted(set(frames)), [f"{number:,}" for number in sorted(set(frames))], minor=False)
    axes.minorticks_off()
    axes.set_xlabel("frames")
    axes.set_ylabel(_AXIS)
    return figure


def _costs(seconds: Mapping[str, float]) -> list[_Cost]:
    by_stage: defaultdict[str, list[float]] = defaultdict(list)
    for name, value in seconds.items():
        by_stage[name.partition("-")[0]].append(value)
    return [_Cost(stage, len(rows), sum(rows) / len(rows), sum(rows)) for stage, rows in by_stage.items()]
