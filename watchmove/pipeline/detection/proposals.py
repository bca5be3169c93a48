"""Region proposals: selective search (Uijlings et al., IJCV 2013) from OpenCV contrib, once for each image."""

import cv2
import numpy as np
from numpy.typing import NDArray

from watchmove.pipeline.arrays import BoxArray
from watchmove.pipeline.settings.evaluation import ProposalSettings

_MIN_SEARCHED_SIDE = 16
"""Pixels; set by hand, not tuned, above the sides that OpenCV's search cannot process."""


def _shrink(image: NDArray[np.uint8], longer_side_pixels: int) -> NDArray[np.uint8]:
    """The image with its longer side at most `longer_side_pixels` and no side below _MIN_SEARCHED_SIDE."""
    height, width = image.shape[:2]
    scale = min(1.0, longer_side_pixels / max(height, width))
    size = (max(round(width * scale), _MIN_SEARCHED_SIDE), max(round(height * scale), _MIN_SEARCHED_SIDE))
    return (
        image
        if size == (width, height)
        else np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    )


def _search(image: NDArray[np.uint8], mode: str) -> NDArray[np.int64]:
    """Distinct boxes x, y, width, height (N, 4), sorted: OpenCV orders them with the C library's rand()."""
    search = cv2.ximgproc.segmentation.createSelectiveSearchSegmentation()
    search.setBaseImage(np.ascontiguousarray(image[..., ::-1]))
    if mode == "single":
        search.switchToSingleStrategy()
    elif mode == "fast":
        search.switchToSelectiveSearchFast()
    else:
        search.switchToSelectiveSearchQuality()
    return np.unique(np.asarray(search.process(), np.int64).reshape(-1, 4), axis=0)


def _rank(boxes_xyxy: BoxArray, seed: int) -> BoxArray:
    """Boxes in random order, larger ones tending to the front.

    Uijlings et al. (IJCV 2013) multiply the place in the hierarchy of segments by a random number. OpenCV does not
    return that place; the rank by area approximates it, because segments only grow up the hierarchy.
    """
    area = np.prod(boxes_xyxy[:, 2:] - boxes_xyxy[:, :2], axis=1)
    place = np.argsort(np.argsort(-area, kind="stable"), kind="stable") + 1
    return boxes_xyxy[np.argsort(place * np.random.default_rng(seed).random(len(place)), kind="stable")]


def selective_search(image: NDArray[np.uint8], settings: ProposalSettings) -> BoxArray:
    """Boxes that may hold an object, float32 (N, 4) xyxy in pixels of `image`, 0-based, max exclusive; best first.

    `image` is uint8 RGB (H, W, 3). The same image and settings give the same boxes; N may be 0. Images can be searched
    in parallel.
    """
    height, width = image.shape[:2]
    searched = _shrink(image, settings.longer_side_pixels)
    found = _search(searched, settings.mode).astype(np.float32)
    scale = np.array([width / searched.shape[1], height / searched.shape[0]] * 2, np.float32)
    boxes = np.concatenate([found[:, :2], found[:, :2] + found[:, 2:]], axis=1) * scale
    # rounding in float32 can move a corner beyond the border
    boxes = np.clip(boxes, 0, np.array([width, height] * 2, np.float32))
    large = (boxes[:, 2:] - boxes[:, :2]).min(axis=1) >= settings.min_side_pixels
    return _rank(boxes[large], settings.seed)[: settings.max_boxes]
