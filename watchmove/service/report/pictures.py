"""Pictures for people: frames with their masks drawn in, and curves."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from numpy.typing import NDArray

from watchmove.pipeline.dataset.shard import Sample
from watchmove.service.records.training import CurveRow

PICTURE_WIDTH_PIXELS = 240
FOREGROUND = 0.7
_SHORT_CURVE = 10
_TINT_BGR = (60, 60, 255)
_OUTLINE_BGR = (0, 255, 255)


@dataclass(frozen=True)
class Picture:
    """A picture as a data URI, with what is written below it."""

    source: str
    caption: str


def picture_of(sample: Sample) -> Picture | None:
    """A dataset frame with its soft mask: tinted by the mask's value, outlined at the foreground threshold."""
    image = cv2.imdecode(np.frombuffer(sample.jpeg, np.uint8), cv2.IMREAD_COLOR)
    mask = cv2.imdecode(np.frombuffer(sample.mask_png, np.uint8), cv2.IMREAD_GRAYSCALE)
    if image is None or mask is None:
        return None
    drawn = overlay(np.asarray(image, np.uint8), mask.astype(np.float32) / np.float32(255))
    height = round(PICTURE_WIDTH_PIXELS * drawn.shape[0] / drawn.shape[1])
    small = cv2.resize(drawn, (PICTURE_WIDTH_PIXELS, height), interpolation=cv2.INTER_AREA)
    _, jpeg = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 85])
    seconds = _number(sample.metadata.get("time_seconds"))
    reason = sample.metadata.get("reject_reason")
    caption = f"{sample.metadata.get('video')} at {seconds:.1f} s"
    confidence = f"confidence {_number(sample.metadata.get('confidence')):.2f}"
    return Picture(_data_uri("image/jpeg", jpeg.tobytes()), f"{caption}: {reason or confidence}")


def _number(value: object) -> float:
    """A number from metadata that may hold anything."""
    return float(value) if isinstance(value, int | float) else 0.0


def overlay(image_bgr: NDArray[np.uint8], soft_mask: NDArray[np.float32]) -> NDArray[np.uint8]:
    """`image_bgr` (H, W, 3) uint8 tinted where `soft_mask` (H, W) in [0, 1] is high, outlined at 0.7."""
    weight = 0.55 * soft_mask[..., None]
    tinted = (image_bgr * (1 - weight) + np.array(_TINT_BGR) * weight).astype(np.uint8)
    certain = (soft_mask >= FOREGROUND).astype(np.uint8)
    outlines, _ = cv2.findContours(certain, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.asarray(cv2.drawContours(tinted, outlines, -1, _OUTLINE_BGR, 1), np.uint8)


def curve_picture(points: Sequence[tuple[int, float]], held_out: Sequence[tuple[int, float]], name: str) -> str:
    """The training curve as a data URI: loss on the left axis, on the right the score `name` on held-out videos."""
    figure = Figure(figsize=(7, 3), layout="constrained")
    left = figure.add_subplot()
    left.plot(*zip(*points, strict=True), color="#c33", linewidth=1.5, label="loss")
    left.set_xlabel("iteration")
    left.set_ylabel("cross-entropy", color="#c33")
    left.set_ylim(bottom=0)
    if held_out:
        right = left.twinx()
        right.plot(*zip(*held_out, strict=True), color="#236", marker="o", label=name)
        right.set_ylabel(f"{name} on held-out videos", color="#236")
        right.set_ylim(0, 1)
    return svg_uri(svg(figure))


def curve_png(curve: Sequence[CurveRow], score: str) -> bytes:
    """A training's curve as a PNG: loss of training and of held-out videos on the left axis, `score` on the right."""
    figure = Figure(figsize=(7, 3.2), dpi=150, layout="constrained")
    left = figure.add_subplot()
    dots = "." if len(curve) < _SHORT_CURVE else ""  # a line through one point is none
    left.plot([row.iteration for row in curve], [row.loss for row in curve], color="#c33", marker=dots, label="loss")
    losses = [(row.iteration, row.validation_loss) for row in curve if row.validation_loss is not None]
    if losses:
        left.plot(*zip(*losses, strict=True), color="#c33", linestyle="--", marker="o", label="held-out loss")
    left.set_xlabel("iteration")
    left.set_ylabel("loss (nats)", color="#c33")
    left.set_ylim(bottom=0)
    scores = [(row.iteration, row.validation_score) for row in curve if row.validation_score is not None]
    if scores:
        right = left.twinx()
        right.plot(*zip(*scores, strict=True), color="#236", marker="s", label=f"held-out {score}")
        right.set_ylabel(score, color="#236")
        right.set_ylim(0, 1)
    figure.legend(loc="outside upper center", ncols=3, frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def detection_picture(names: Sequence[str], values: Sequence[float]) -> str:
    """Bars of mean average precision, one for each evaluation, as a data URI."""
    figure = Figure(figsize=(7, 0.6 + 0.4 * len(names)), layout="constrained")
    axes = figure.add_subplot()
    colours = ["#999" if name.startswith("random") else "#c33" for name in names]
    bars = axes.barh(list(names), list(values), color=colours)
    axes.bar_label(bars, fmt="%.3f", padding=3)
    axes.invert_yaxis()
    axes.set_xlim(0, max(0.05, *values) * 1.2)
    axes.set_xlabel("mAP (11-point, IoU 0.5)")
    return svg_uri(svg(figure))


def svg(figure: Figure) -> bytes:
    """A figure as SVG, the same bytes whenever it is drawn."""
    buffer = io.BytesIO()
    with rc_context({"svg.hashsalt": "watchmove"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def svg_uri(data: bytes) -> str:
    """An SVG as a data URI."""
    return _data_uri("image/svg+xml", data)


def _data_uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
