"""Published proposals in MATLAB's format: cells `boxes` and `images`, as selective search was given out for VOC."""

import struct
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from watchmove.pipeline.arrays import BoxArray
from watchmove.pipeline.detection.mat_size import check_unpacked_size
from watchmove.pipeline.errors import InvalidInput

_NAMES = ("boxes", "images")
_MAX_UNPACKED_BYTES = 2**30
"""2,000 boxes for each of 16,000 images."""
_BROKEN = (MatReadError, ValueError, TypeError, KeyError, IndexError, OSError, EOFError, zlib.error, struct.error)


def read_mat_proposals(path: Path) -> dict[str, BoxArray]:
    """Boxes float32 (P, 4) xyxy, 0-based, max exclusive, of each image's id, from cells of rows y1 x1 y2 x2, 1-based.

    The file is not trusted: arrays alone are read, nothing is run, and what it would take of memory is known before.
    Raises InvalidInput where it is something else, or would take more than 1 GiB.
    """
    try:
        check_unpacked_size(path, _NAMES, _MAX_UNPACKED_BYTES)
        held = loadmat(path, variable_names=_NAMES, chars_as_strings=True)
        boxes, images = held["boxes"].ravel(), held["images"].ravel()
        ids = [str(np.asarray(one).item()).strip() for one in images]
    except NotImplementedError as error:
        raise InvalidInput(f"{path}: in MATLAB's format 7.3; save it with -v7") from error
    except _BROKEN as error:
        raise InvalidInput(f"{path}: no proposals ({error}); it needs cells named boxes and images") from error
    if len(ids) != len(boxes):
        raise InvalidInput(f"{path}: {len(boxes)} cells of boxes for {len(ids)} images; each image needs one")
    return {one: _boxes_xyxy(rows, f"{path}: image {one}") for one, rows in zip(ids, boxes, strict=True)}


def _boxes_xyxy(rows: object, where: str) -> BoxArray:
    array = np.asarray(rows)
    if array.size == 0:
        return np.zeros((0, 4), np.float32)
    if array.ndim != 2 or array.shape[1] != 4 or array.dtype.kind not in "fiu":
        raise InvalidInput(f"{where}: boxes of shape {array.shape} and type {array.dtype}; give rows of y1 x1 y2 x2")
    # axes: rows (y1, x1, y2, x2), last pixel inside -> (x0, y0, x1, y1), max exclusive
    boxes = array[:, [1, 0, 3, 2]].astype(np.float32) - np.array([1, 1, 0, 0], np.float32)
    if not np.isfinite(boxes).all() or (boxes[:, 2:] <= boxes[:, :2]).any() or boxes.min() < 0:
        raise InvalidInput(f"{where}: a row is no box; each is y1 x1 y2 x2 in pixels counted from 1")
    return boxes


def need_all(proposals: dict[str, BoxArray], image_ids: Iterable[str]) -> dict[str, BoxArray]:
    """Those of the images asked for. Raises InvalidInput, naming the first ones, where some have no entry."""
    wanted = list(image_ids)
    missing = sorted(one for one in wanted if one not in proposals)
    if missing:
        shown = ", ".join(missing[:5]) + (", …" if len(missing) > 5 else "")
        raise InvalidInput(f"proposals: none for {len(missing)} of {len(wanted)} images ({shown}); name their file too")
    return {one: proposals[one] for one in wanted}
