"""True masks of videos: as `.npz` files, or as the annotated frames of a folder in the layout of DAVIS."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.files.natural_order import natural_order
from watchmove.pipeline.files.npz import DAMAGED, open_npz

_MOST_TRUTH_BYTES = 2**31
"""Most bytes of the true masks of one video: a bound on memory, set by hand."""
_TRUTH_LEVEL = 127
"""Grey level of an annotation above which a pixel belongs to the object; DAVIS 2016 uses 0 and 255."""
_WIDE_TO_BYTE = 257
"""A level of 16 bits as a multiple of one of 8 bits: 65,535 of 255."""
DAVIS_RESOLUTION = "480p"
"""Folder of DAVIS's own archives between JPEGImages/ or Annotations/ and the sequences; other sets have none there."""
_COLOURED = ("P", "PA", "RGB", "RGBA")
"""Pillow's modes of images that can have colours."""


class VideoTruth(NamedTuple):
    """What is known of a video of T frames with N objects.

    masks: bool (T, H, W); boxes_xyxy: float32 (T, N, 4) in pixels, NaN where an object is not visible; class_names: the
    class of each object.
    """

    masks: NDArray[np.bool_]
    boxes_xyxy: NDArray[np.float32]
    class_names: tuple[str, ...]


def read_truth(path: Path) -> VideoTruth:
    """Read a file `.npz` with `masks` and, where classes are known, `boxes_xyxy` and `class_names`.

    Nothing in it is unpickled.

    Raises:
        InvalidInput: the file is no such file, is larger than 2 GiB, or its arrays do not fit each other.
    """
    try:
        with open_npz(path) as arrays:
            entries = arrays.zip.infolist() if arrays.zip else []
            if sum(entry.file_size for entry in entries) > _MOST_TRUTH_BYTES:
                raise InvalidInput(f"{path}: true masks of more than 2 GiB; divide the video")
            masks = np.asarray(arrays["masks"])
            has_classes = "boxes_xyxy" in arrays and "class_names" in arrays
            boxes = np.asarray(arrays["boxes_xyxy"]) if has_classes else np.empty((len(masks), 0, 4), np.float32)
            names = tuple(map(str, arrays["class_names"])) if has_classes else ()
    except DAMAGED as error:
        raise InvalidInput(f"{path}: no true masks ({error}); give a .npz file with masks, bool (T, H, W)") from error
    if masks.dtype != bool or masks.ndim != 3 or boxes.shape != (len(masks), len(names), 4):
        raise InvalidInput(
            f"{path}: masks are {masks.dtype} {masks.shape}, boxes {boxes.shape}, classes {len(names)}; "
            "give masks bool (T, H, W), boxes_xyxy (T, N, 4) and N class_names"
        )
    return VideoTruth(masks, boxes.astype(np.float32), names)


def davis_folder(davis: Path, part: str) -> Path:
    """The folder of the sequences in `part`, JPEGImages or Annotations: `480p` there where it exists, else `part`."""
    folder = davis / part
    return folder / DAVIS_RESOLUTION if (folder / DAVIS_RESOLUTION).is_dir() else folder


def annotation_paths(folder: Path) -> list[Path]:
    """The annotations of a sequence, in the order of its frames; hidden files are passed over."""
    return sorted((path for path in folder.glob("*.png") if not path.name.startswith(".")), key=natural_order)


def read_annotation(path: Path) -> NDArray[np.bool_]:
    """The annotated mask (H, W) of an image file: pixels that are brighter than half, or that have a colour.

    Colours are those of several objects, as in DAVIS 2017.

    Raises:
        InvalidInput: the file is no image, or all of its pixels are black or too dark to be an object's.
    """
    try:
        with PIL.Image.open(path) as image:
            # Pillow's own conversion of 16 bits to 8 keeps their upper half or cuts them off, depending on its version
            wide = image.mode.startswith("I")
            levels = np.asarray(image) / _WIDE_TO_BYTE if wide else np.asarray(image.convert("L"))
            colours = np.asarray(image.convert("RGB")) if image.mode in _COLOURED else None
    # Pillow reports some damaged files by a SyntaxError or a ValueError
    except (OSError, SyntaxError, ValueError, PIL.Image.DecompressionBombError) as error:
        raise InvalidInput(f"{path}: not an image that can be read; repair it or leave out its sequence") from error
    found = levels > _TRUTH_LEVEL
    if colours is not None:
        found |= colours.max(axis=-1) != colours.min(axis=-1)
    if levels.any() and not found.any():
        raise InvalidInput(
            f"{path}: its brightest pixel is {levels.max():.3g} of 255, and an object's are above {_TRUTH_LEVEL}; "
            "save objects as 255 or in colours"
        )
    return np.asarray(found)


def jaccard(mask: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Intersection over union of two masks (H, W), from 0 to 1; 1 if both are empty."""
    union = int((mask | truth).sum())
    return float((mask & truth).sum() / union) if union else 1.0
