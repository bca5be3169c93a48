"""The image files of a folder in PASCAL VOC's layout: where they are, and their pixels."""

from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.files.images import decoded_image

_VOC_SUFFIX = ".jpg"
"""Suffix of the image that PASCAL VOC's own code reads, whatever other files there are."""
_IMAGE_SUFFIXES = (_VOC_SUFFIX, ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".jp2")
"""Suffixes of image files, in any case of their letters."""


def image_path(root: Path, image_id: str) -> Path:
    """The image file: in JPEGImages/ of the folder or its parent, or with the annotations; else its expected place.

    Of several files with one id, it is the one with VOC's own suffix; where none has it, `read_image` refuses them.
    """
    # the parent, because `root` may be the folder Annotations itself
    places = [folder / image_id for folder in (root / "JPEGImages", root.parent / "JPEGImages", root)]
    found = (_images_like(place) for place in places)
    return next((paths[0] for paths in found if paths), places[0].with_name(f"{places[0].name}{_VOC_SUFFIX}"))


def _images_like(place: Path) -> tuple[Path, ...]:
    """The image files with a path without suffix, VOC's own suffix first."""
    try:
        return _images_in(place.parent, place.parent.stat().st_mtime_ns).get(place.name, ())
    except OSError:  # no such folder, or one that may not be read
        return ()


@lru_cache(maxsize=8)
def _images_in(folder: Path, modified: int) -> dict[str, tuple[Path, ...]]:  # noqa: ARG001 (a change lists it again)
    """The image files of a folder by their ids, in any case of their suffixes; listed once until it is modified."""
    images = [path for path in folder.iterdir() if path.suffix.lower() in _IMAGE_SUFFIXES and path.is_file()]
    found: dict[str, tuple[Path, ...]] = {}
    for path in sorted(images, key=lambda path: (path.suffix != _VOC_SUFFIX, path.name)):
        found[path.stem] = (*found.get(path.stem, ()), path)
    return found


def read_image_bgr(path: Path) -> NDArray[np.uint8] | None:
    """Read an image file as uint8 BGR (H, W, 3), grey ones too; EXIF does not rotate it: boxes refer to stored pixels.

    Returns None where the file is missing, cannot be decoded, or is truncated.

    Raises:
        InvalidInput: several files are the image, none with VOC's own suffix.
    """
    others = _images_like(path.with_suffix("")) if path.suffix != _VOC_SUFFIX else ()
    if len(others) > 1:
        raise InvalidInput(f"{path}: {others[0].name} and {others[1].name} are images of one id; remove one of them")
    try:
        return decoded_image(path.read_bytes())
    except OSError:
        return None


def read_image(path: Path) -> NDArray[np.uint8]:
    """Read an image file as uint8 RGB (H, W, 3), grey ones too; EXIF does not rotate it: boxes refer to stored pixels.

    Raises InvalidInput where the file is missing or cannot be decoded, or where several files are the image.
    """
    image = read_image_bgr(path)
    if image is None:
        state = "cannot be decoded completely" if path.is_file() else "is a folder" if path.is_dir() else "no such file"
        raise InvalidInput(f"{path}: {state}; put the image there or take its id off the list")
    return np.ascontiguousarray(image[..., ::-1], np.uint8)
