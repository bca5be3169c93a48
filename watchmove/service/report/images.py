"""Images for the report and the model card: frames with their masks drawn in, curves and bars."""

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
from watchmove.pipeline.files.images import decoded_image
from watchmove.pipeline.settings.pretraining import FOREGROUND_THRESHOLD
from watchmove.service.records.training import CurveRow

IMAGE_WIDTH_PIXELS = 240
"""Width at which frames are embedded in the report, a compromise between detail and the size of the page."""
_SHORT_CURVE = 10
"""A curve of fewer points is drawn with dots, because a line through a single point is invisible."""
_TINT_BGR = (60, 60, 255)
_TINT_WEIGHT = 0.55
"""Opacity of the tint where the mask is 1; the frame remains visible below it."""
_OUTLINE_BGR = (0, 255, 255)
_JPEG_QUALITY = 85


@dataclass(frozen=True)
class CaptionedImage:
    """An image as a data URI, and its caption."""

    source: str
    caption: str


def image_of(sample: Sample) -> CaptionedImage | None:
    """A dataset frame tinted by its soft mask and outlined at FOREGROUND_THRESHOLD; None if it cannot be decoded."""
    drawn = drawn_mask(sample)
    if drawn is None:
        return None
    height = round(IMAGE_WIDTH_PIXELS * drawn.shape[0] / drawn.shape[1])
    seconds = _number(sample.metadata.get("time_seconds"))
    reason = sample.metadata.get("reject_reason")
    caption = f"{sample.metadata.get('video')} at {seconds:.1f} s"
    confidence = f"confidence {_number(sample.metadata.get('confidence')):.2f}"
    return CaptionedImage(scaled_jpeg_uri(drawn, IMAGE_WIDTH_PIXELS, height), f"{caption}: {reason or confidence}")


def drawn_mask(sample: Sample) -> NDArray[np.uint8] | None:
    """A dataset frame, uint8 BGR (H, W, 3), with its soft mask as `overlay` draws it; None if it cannot be decoded."""
    image, mask = decoded_image(sample.jpeg), soft_mask_of(sample)
    return None if image is None or mask is None or mask.shape != image.shape[:2] else overlay(image, mask)


def soft_mask_of(sample: Sample) -> NDArray[np.float32] | None:
    """The soft mask of a dataset frame, float32 (H, W) in [0, 1]; None if it cannot be decoded."""
    mask = decoded_image(sample.mask_png)
    return None if mask is None else mask[..., 0].astype(np.float32) / np.float32(255)


def scaled_jpeg_uri(image_bgr: NDArray[np.uint8], width: int, height: int) -> str:
    """An image, uint8 BGR (H, W, 3), as a data URI of a JPEG of this size in pixels."""
    smaller = width < image_bgr.shape[1]
    scaled = cv2.resize(image_bgr, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
    return jpeg_uri(np.asarray(scaled, np.uint8))


def _number(value: object) -> float:
    """A number from a frame's metadata, or 0 if the metadata holds something else."""
    return float(value) if isinstance(value, int | float) else 0.0


def overlay(image_bgr: NDArray[np.uint8], soft_mask: NDArray[np.float32]) -> NDArray[np.uint8]:
    """`image_bgr` (H, W, 3) uint8 with `soft_mask` (H, W) in [0, 1] as a red tint, outlined at FOREGROUND_THRESHOLD."""
    weight = _TINT_WEIGHT * soft_mask[..., None]
    tinted = (image_bgr * (1 - weight) + np.array(_TINT_BGR) * weight).astype(np.uint8)
    certain = (soft_mask >= FOREGROUND_THRESHOLD).astype(np.uint8)
    outlines, _ = cv2.findContours(certain, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.asarray(cv2.drawContours(tinted, outlines, -1, _OUTLINE_BGR, 1), np.uint8)


def curve_image(points: Sequence[tuple[int, float]], held_out: Sequence[tuple[int, float]], name: str) -> str:
    """The training curve as a data URI: the loss on the left axis, the score `name` of held-out videos on the right."""
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
    """The training curve as a PNG: training and held-out loss on the left axis, the held-out `score` on the right."""
    figure = Figure(figsize=(7, 3.2), dpi=150, layout="constrained")
    left = figure.add_subplot()
    dots = "." if len(curve) < _SHORT_CURVE else ""
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
    # By default the version of Matplotlib would be part of the file.
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def detection_image(names: Sequence[str], values: Sequence[float]) -> str:
    """A bar chart of mean average precision, one bar for each evaluation, as a data URI."""
    figure = Figure(figsize=(7, 0.6 + 0.4 * len(names)), layout="constrained")
    axes = figure.add_subplot()
    # A bar's name begins with its initialisation.
    colours = ["#999" if name.startswith("random") else "#c33" for name in names]
    bars = axes.barh(list(names), list(values), color=colours)
    axes.bar_label(bars, fmt="%.3f", padding=3)
    axes.invert_yaxis()  # the first bar at the top, as in the table
    # A fifth is left for the labels; the lower limit keeps an axis if all values are zero, or there is none.
    axes.set_xlim(0, max([0.05, *values]) * 1.2)
    axes.set_xlabel("mAP (11-point, IoU 0.5)")
    return svg_uri(svg(figure))


def jpeg_uri(image_bgr: NDArray[np.uint8]) -> str:
    """An image (H, W, 3) uint8 BGR as a JPEG in a data URI."""
    _, jpeg = cv2.imencode(".jpg", image_bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return _data_uri("image/jpeg", jpeg.tobytes())


def svg(figure: Figure) -> bytes:
    """A figure as SVG. The same figure gives the same bytes: its ids have a constant salt, and it holds no date."""
    buffer = io.BytesIO()
    with rc_context({"svg.hashsalt": "watchmove"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def svg_uri(data: bytes) -> str:
    """SVG data as a data URI."""
    return _data_uri("image/svg+xml", data)


def _data_uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
