"""The stored frames of a video as files: the picture with the mask's outline, the mask, and the trimap."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from watchmove.pipeline.dataset.shard import Sample
from watchmove.pipeline.dataset.trimap import trimap_levels, trimap_of
from watchmove.pipeline.files.images import decoded_image
from watchmove.pipeline.settings.pretraining import PretrainingSettings
from watchmove.service.explanation.video_page.drawing import outlined
from watchmove.service.report.images import soft_mask_of

FOLDER = "frames"
_JPEG_QUALITY = 92
_SIDE_OF_A_LINE_PIXEL = 110
"""Pixels of the shorter side for each pixel of the line's width, as browsers scale pictures down. Set by hand."""


class StoredFrame(NamedTuple):
    """The files of a stored frame, by paths that are relative to the page, and their size in pixels."""

    frame: int
    picture: str
    mask: str
    trimap: str
    width: int
    height: int


def write_pictures(folder: Path, samples: Iterable[Sample], settings: PretrainingSettings) -> dict[int, StoredFrame]:
    """Write the pictures of stored frames below a folder, and return them by the numbers of the frames.

    A frame whose picture or mask cannot be decoded is left out. The names of the files are made of numbers alone.
    """
    written = {}
    for sample in samples:
        number = sample.metadata.get("frame")
        stored = _write(folder, number, sample, settings) if isinstance(number, int) and number >= 0 else None
        if stored is not None:
            written[stored.frame] = stored
    return written


def _write(folder: Path, number: int, sample: Sample, settings: PretrainingSettings) -> StoredFrame | None:
    picture, mask = decoded_image(sample.jpeg), soft_mask_of(sample)
    if picture is None or mask is None or mask.shape != picture.shape[:2]:
        return None
    # OpenCV's channels are in the order blue, green, red, and the function's the other way round
    line_pixels = max(1, min(mask.shape) // _SIDE_OF_A_LINE_PIXEL)
    drawn = outlined(picture[..., ::-1], mask, settings.foreground_threshold, line_pixels)[..., ::-1]
    levels = trimap_levels(trimap_of(mask, settings.foreground_threshold, settings.background_threshold))
    _, jpeg = cv2.imencode(".jpg", np.ascontiguousarray(drawn), [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    _, png = cv2.imencode(".png", levels)
    (folder / FOLDER).mkdir(exist_ok=True)
    stem, (height, width) = f"{FOLDER}/{number:06d}", mask.shape
    stored = StoredFrame(number, f"{stem}-picture.jpg", f"{stem}-mask.png", f"{stem}-trimap.png", width, height)
    (folder / stored.picture).write_bytes(jpeg.tobytes())
    (folder / stored.mask).write_bytes(sample.mask_png)
    (folder / stored.trimap).write_bytes(png.tobytes())
    return stored
