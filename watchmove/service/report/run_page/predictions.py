"""Predictions for a few held-out crops beside their pseudo ground truth, as a table over the training."""

import io
from collections.abc import Sequence
from typing import NamedTuple

import PIL.Image

from watchmove.pipeline.dataset.shard import Sample
from watchmove.service.report.images import frame_of, scaled_jpeg, soft_mask_of
from watchmove.service.report.run_page.page_files import PageFiles

CROP_PIXELS = 112
"""Side of the pictures on the page: two pixels for each that is predicted."""


class CropRow(NamedTuple):
    """The files of one crop: its image, its trimap, and the prediction at each moment; and the key of its video."""

    video: str
    image: str
    trimap: str
    predictions: tuple[str, ...]


class PredictionsTable(NamedTuple):
    """The crops, and the numbers of steps after which their masks were predicted."""

    iterations: tuple[int, ...]
    rows: tuple[CropRow, ...]


def predictions_table(files: PageFiles, samples: Sequence[Sample]) -> PredictionsTable | None:
    """Return the table of the samples that pretraining has written; None without any.

    Samples that cannot be decoded, or that have other moments than the first, are left out.
    """
    rows: list[tuple[tuple[int, ...], CropRow]] = []
    for sample in samples:
        image, strip, moments = frame_of(sample), soft_mask_of(sample), sample.metadata.get("iterations")
        if image is None or strip is None or not isinstance(moments, list):
            continue
        side = strip.shape[1]
        if len(strip) != side * (1 + len(moments)):
            continue
        levels = PIL.Image.open(io.BytesIO(sample.mask_png)).convert("L")
        parts = [files.add(_part(levels, number, side), ".png") for number in range(1 + len(moments))]
        jpeg = files.add(scaled_jpeg(image, CROP_PIXELS, CROP_PIXELS), ".jpg")
        rows.append((tuple(moments), CropRow(str(sample.metadata.get("video")), jpeg, parts[0], tuple(parts[1:]))))
    if not rows:
        return None
    return PredictionsTable(rows[0][0], tuple(row for moments, row in rows if moments == rows[0][0]))


def _part(strip: PIL.Image.Image, number: int, side: int) -> bytes:
    """One of the squares of a strip, as PNG."""
    buffer = io.BytesIO()
    strip.crop((0, number * side, side, (number + 1) * side)).save(buffer, format="PNG")
    return buffer.getvalue()
