"""One picture of what the stages of segmentation have found in a frame, for the run's report."""

from collections.abc import Iterable

import cv2
import numpy as np
from numpy.typing import NDArray

from watchmove.pipeline.extraction.sampled_video import Frame
from watchmove.pipeline.masks.chain import StageMaps

STAGES = ("image", "flow", "motion", "appearance", "votes")
"""The pictures of a frame, from top to bottom."""
_MOST_WIDTH_PIXELS, _MOST_BYTES = 320, 56 * 1024
"""Bounds on the width and the size of the picture; a frame with its mask adds little. Set by hand: sharp on a page."""
_QUALITIES = (88, 75, 60, 45, 30, 15)
"""Qualities of the JPEG that are tried one after the other until it is small enough. Set by hand."""
_FULL_SPEED_PERCENTILE = 99
"""Percentile of the lengths of flow that has full colour; the highest values are outliers. Set by hand."""
_LEAST_FULL_SPEED_PIXELS = 0.5
"""Least motion with full colour, so that the noise of still frames stays pale. Set by hand."""


def most_confident(frames: Iterable[Frame]) -> Frame | None:
    """Return the kept frame of highest confidence whose stages are known, the first of equals; None without any."""
    shown = [frame for frame in frames if frame.reject_reason is None and frame.stages is not None]
    return max(shown, key=lambda frame: frame.confidence, default=None)


def stage_strip(frame: Frame, stages: tuple[StageMaps, slice, slice]) -> bytes:
    """Return a JPEG with the pictures of STAGES from top to bottom, each as large as the others.

    The maps are black in black borders. The same frame gives the same bytes.
    """
    maps, rows, columns = stages
    height, width = frame.image.shape[:2]
    scale = min(1.0, _MOST_WIDTH_PIXELS / width)
    size = (max(1, round(scale * width)), max(1, round(scale * height)))
    drawn = {
        "image": frame.image,
        "flow": flow_colours(maps.flow.astype(np.float32)),
        "motion": _grey(maps.motion),
        "appearance": _grey(maps.appearance),
        "votes": _grey(maps.votes),
    }
    pictures = []
    for name in STAGES:
        picture = drawn[name]
        if name != "image":
            full = np.zeros((height, width, 3), np.uint8)
            inside = full[rows, columns]
            inside[:] = cv2.resize(picture, inside.shape[1::-1], interpolation=cv2.INTER_LINEAR)
            picture = full
        pictures.append(cv2.resize(picture, size, interpolation=cv2.INTER_AREA))
    return _small_jpeg(np.asarray(np.vstack(pictures)[..., ::-1], np.uint8))


def flow_colours(field: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return flow (h, w, 2) as a colour wheel, uint8 RGB (h, w, 3): the hue is the direction, white is no motion."""
    angle, length = np.arctan2(field[..., 1], field[..., 0]), np.hypot(field[..., 0], field[..., 1])
    full = max(_LEAST_FULL_SPEED_PIXELS, float(np.percentile(length, _FULL_SPEED_PERCENTILE)))
    # OpenCV's hues are from 0 to 179
    hue = np.rint(angle % (2 * np.pi) * (90 / np.pi)).astype(np.uint8) % 180
    saturation = np.rint(np.clip(length / full, 0, 1) * 255).astype(np.uint8)
    wheel = np.dstack([hue, saturation, np.full_like(hue, 255)])
    return np.asarray(cv2.cvtColor(wheel, cv2.COLOR_HSV2RGB), np.uint8)


def _grey(values: NDArray[np.float16]) -> NDArray[np.uint8]:
    """A map (h, w) in [0, 1] as uint8 RGB (h, w, 3), from black to white."""
    levels = np.rint(np.clip(values.astype(np.float32), 0, 1) * 255).astype(np.uint8)
    return np.repeat(levels[..., None], 3, axis=2)


def _small_jpeg(bgr: NDArray[np.uint8]) -> bytes:
    """A picture (H, W, 3) as JPEG, in the best quality whose size is within the bound."""
    jpeg = b""
    for quality in _QUALITIES:
        _, content = cv2.imencode(".jpg", np.ascontiguousarray(bgr), [cv2.IMWRITE_JPEG_QUALITY, quality])
        jpeg = content.tobytes()
        if len(jpeg) <= _MOST_BYTES:
            break
    return jpeg
