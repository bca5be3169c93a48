"""Images for the report and the model card: frames with their masks drawn in, curves and bars.

Frames are decoded and encoded by Pillow, which Matplotlib needs too: OpenCV would add 180 MB to the slim image.
"""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import PIL.Image
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from watchmove.pipeline.dataset.shard import Sample
from watchmove.pipeline.settings.pretraining import FOREGROUND_THRESHOLD
from watchmove.service.records.training import CurveRow

IMAGE_WIDTH_PIXELS = 240
"""Width at which frames are embedded in the report, a compromise between detail and the size of the page."""
_SHORT_CURVE = 10
"""A curve of fewer points is drawn with dots, because a line through a single point is invisible."""
_TINT_RGB = (255, 60, 60)
_TINT_WEIGHT = 0.55
"""Opacity of the tint where the mask is 1; the frame remains visible below it."""
_OUTLINE_RGB = (255, 255, 0)
_JPEG_QUALITY = 85
_CHART_INCHES = 7.0
_BOTTOM_INCHES = 0.55
"""Room for the labels below a chart: those of its ticks and of its axis."""
_LETTER_INCHES = 0.085
"""Width of a letter of a label, a little more than the mean."""
_MOST_LETTERS = 40
"""Length of a name that fits a chart."""


@dataclass(frozen=True)
class CaptionedImage:
    """An image as the bytes of a JPEG, its size in pixels, and its caption."""

    jpeg: bytes
    width: int
    height: int
    caption: str


def image_of(sample: Sample) -> CaptionedImage | None:
    """A dataset frame tinted by its soft mask and outlined at FOREGROUND_THRESHOLD; None if it cannot be decoded."""
    drawn = drawn_mask(sample)
    if drawn is None:
        return None
    height = max(1, round(IMAGE_WIDTH_PIXELS * drawn.shape[0] / drawn.shape[1]))
    jpeg = scaled_jpeg(drawn, IMAGE_WIDTH_PIXELS, height)
    return CaptionedImage(jpeg, IMAGE_WIDTH_PIXELS, height, caption_of(sample))


def caption_of(sample: Sample) -> str:
    """The video of a frame and its time, and why it was rejected or else its confidence.

    Forgetting a work looks for captions of this form.
    """
    seconds = _number(sample.metadata.get("time_seconds"))
    reason = sample.metadata.get("reject_reason")
    confidence = f"confidence {_number(sample.metadata.get('confidence')):.2f}"
    return f"{sample.metadata.get('video')} at {seconds:.1f} s: {reason or confidence}"


def drawn_mask(sample: Sample) -> NDArray[np.uint8] | None:
    """A dataset frame, uint8 RGB (H, W, 3), with its soft mask as `overlay` draws it; None if it cannot be decoded."""
    image, mask = frame_of(sample), soft_mask_of(sample)
    return None if image is None or mask is None or mask.shape != image.shape[:2] else overlay(image, mask)


def frame_of(sample: Sample) -> NDArray[np.uint8] | None:
    """A dataset frame, uint8 RGB (H, W, 3), without its mask; None if it cannot be decoded."""
    return _decoded(sample.jpeg, "RGB")


def soft_mask_of(sample: Sample) -> NDArray[np.float32] | None:
    """The soft mask of a dataset frame, float32 (H, W) in [0, 1]; None if it cannot be decoded."""
    mask = _decoded(sample.mask_png, "L")
    return None if mask is None else mask.astype(np.float32) / np.float32(255)


def _decoded(content: bytes, mode: str) -> NDArray[np.uint8] | None:
    try:
        with PIL.Image.open(io.BytesIO(content)) as image:
            return np.array(image.convert(mode))
    # what Pillow raises for files of other formats, truncated ones, and those of very many pixels
    except (OSError, SyntaxError, ValueError, PIL.Image.DecompressionBombError):
        return None


def scaled_jpeg(image: NDArray[np.uint8], width: int, height: int) -> bytes:
    """An image, uint8 RGB (H, W, 3), as a JPEG of this size in pixels."""
    method = PIL.Image.Resampling.BOX if width < image.shape[1] else PIL.Image.Resampling.BILINEAR
    return _jpeg(np.asarray(PIL.Image.fromarray(image).resize((width, height), method)))


def scaled_jpeg_uri(image: NDArray[np.uint8], width: int, height: int) -> str:
    """An image, uint8 RGB (H, W, 3), as a data URI of a JPEG of this size in pixels."""
    return _data_uri("image/jpeg", scaled_jpeg(image, width, height))


def _number(value: object) -> float:
    """A number from a frame's metadata, or 0 if the metadata holds something else."""
    return float(value) if isinstance(value, int | float) else 0.0


def overlay(image: NDArray[np.uint8], soft_mask: NDArray[np.float32]) -> NDArray[np.uint8]:
    """`image` (H, W, 3) uint8 RGB with `soft_mask` (H, W) in [0, 1] as a red tint, outlined at FOREGROUND_THRESHOLD."""
    weight = _TINT_WEIGHT * soft_mask[..., None]
    tint = np.array(_TINT_RGB, np.float32)
    drawn: NDArray[np.uint8] = (image * (1 - weight) + tint * weight).astype(np.uint8)
    certain = np.pad(soft_mask >= FOREGROUND_THRESHOLD, 1)
    inside = certain[:-2, 1:-1] & certain[2:, 1:-1] & certain[1:-1, :-2] & certain[1:-1, 2:]
    drawn[certain[1:-1, 1:-1] & ~inside] = _OUTLINE_RGB
    return drawn


def new_chart(
    height_inches: float, *, left_inches: float = 0.75, right_inches: float = 0.2, top_inches: float = 0.12
) -> tuple[Figure, Axes]:
    """A figure 7 inches wide, and its axes with room for their labels.

    The room does not depend on the texts: Matplotlib takes as long to measure them as to draw the chart.
    """
    figure = Figure(figsize=(_CHART_INCHES, height_inches))
    width = 1 - (left_inches + right_inches) / _CHART_INCHES
    height = 1 - (_BOTTOM_INCHES + top_inches) / height_inches
    return figure, figure.add_axes((left_inches / _CHART_INCHES, _BOTTOM_INCHES / height_inches, width, height))


def short_label(name: str) -> str:
    """A name that fits a chart; of a long one only the end, which distinguishes files better than the beginning."""
    return name if len(name) <= _MOST_LETTERS else f"…{name[1 - _MOST_LETTERS :]}"


def curve_image(points: Sequence[tuple[int, float]], held_out: Sequence[tuple[int, float]], name: str) -> bytes:
    """The training curve as SVG: the loss on the left axis, the score `name` of held-out videos on the right."""
    figure, left = new_chart(3, right_inches=0.75)
    left.plot(*zip(*points, strict=True), color="#c33", linewidth=1.5, label="loss")
    left.set_xlabel("iteration")
    left.set_ylabel("cross-entropy", color="#c33")
    left.set_ylim(bottom=0)
    if held_out:
        right = left.twinx()
        right.plot(*zip(*held_out, strict=True), color="#236", marker="o", label=name)
        right.set_ylabel(f"{name} on held-out videos", color="#236")
        right.set_ylim(0, 1)
    return svg(figure)


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


def detection_image(names: Sequence[str], values: Sequence[float]) -> bytes:
    """A bar chart of mean average precision, one bar for each evaluation, as SVG."""
    labels = [short_label(name) for name in names]
    longest = max(map(len, labels), default=0)
    figure, axes = new_chart(0.8 + 0.4 * len(names), left_inches=0.2 + longest * _LETTER_INCHES)
    # A bar's name begins with its initialisation.
    colours = ["#999" if name.startswith("random") else "#c33" for name in names]
    bars = axes.barh(range(len(values)), list(values), color=colours, tick_label=labels)
    axes.bar_label(bars, fmt="%.3f", padding=3)
    axes.invert_yaxis()  # the first bar at the top, as in the table
    # A fifth is left for the labels; the lower limit keeps an axis if all values are zero, or there is none.
    axes.set_xlim(0, max([0.05, *values]) * 1.2)
    axes.set_xlabel("mAP (11-point, IoU 0.5)")
    return svg(figure)


def jpeg_uri(image: NDArray[np.uint8]) -> str:
    """An image (H, W, 3) uint8 RGB as a JPEG in a data URI."""
    return _data_uri("image/jpeg", _jpeg(image))


def _jpeg(image: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    PIL.Image.fromarray(image).save(buffer, format="JPEG", quality=_JPEG_QUALITY)
    return buffer.getvalue()


def svg(figure: Figure) -> bytes:
    """A figure as SVG. The same figure gives the same bytes: its ids have a constant salt, and it holds no date."""
    buffer = io.BytesIO()
    # text as text, which can be selected and is smaller than outlines of letters
    with rc_context({"svg.hashsalt": "watchmove", "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def svg_uri(data: bytes) -> str:
    """SVG data as a data URI."""
    return _data_uri("image/svg+xml", data)


def _data_uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
