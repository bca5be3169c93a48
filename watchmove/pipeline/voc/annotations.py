"""PASCAL VOC's own folder layout: Annotations/ID.xml, JPEGImages/ID.jpg, ImageSets/Main/SPLIT.txt, and detections.

Boxes in the files are 1-based with their last pixel inside; here they are 0-based, max exclusive, so that a width is a
plain difference and equals the development kit's `xmax - xmin + 1`. Elements that other tools than VOC's leave out or
write in another order are accepted; values that cannot be a box are refused, with the file's name.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError
from xml.sax.saxutils import escape

import cv2
import numpy as np
from defusedxml.ElementTree import fromstring
from numpy.typing import NDArray

from watchmove.pipeline.errors import InvalidInput, Unavailable
from watchmove.pipeline.files.atomic import write_bytes
from watchmove.pipeline.files.numbers import number_of
from watchmove.pipeline.voc.detections import Detection, read_detections, write_detections
from watchmove.pipeline.voc.image_lists import annotation_path, listed_ids, split_names
from watchmove.pipeline.voc.images import image_path, read_image, read_image_bgr

__all__ = [
    "Detection",
    "VocImage",
    "VocObject",
    "read_detections",
    "read_image",
    "read_image_bgr",
    "read_voc",
    "split_names",
    "write_detections",
    "write_split",
    "write_voc_image",
]

_JPEG_QUALITY = 92
"""Of images that this module writes; set by hand, not tuned."""
_MAX_NAME_LETTERS = 60
"""A bound set by hand: result files are named by class, and file names are limited to 255 bytes."""
_FARTHEST_PIXELS = 2**24
"""Largest corner that float32, in which the detector computes, holds to the pixel; no image is as large."""
_DIFFICULT = {
    **dict.fromkeys(("1", "1.0", "true", "yes"), True),
    **dict.fromkeys(("", "0", "0.0", "false", "no", "unspecified"), False),
}
"""Values of <difficult> in the published sets and in files of common annotation tools."""


@dataclass(frozen=True)
class VocObject:
    """One object: class, box in pixels (0-based, max exclusive), and whether scoring ignores it (difficult)."""

    name: str
    box_xyxy: tuple[float, float, float, float]
    difficult: bool = False


@dataclass(frozen=True)
class VocImage:
    """One annotated image. `path` is the place of the image file, which may be missing; a size of 0 is not known."""

    image_id: str
    path: Path
    width: int
    height: int
    objects: tuple[VocObject, ...]


def _child(parent: Element, tag: str) -> Element | None:
    """The first child with a tag, in any case of its letters: some tools write <Difficult>."""
    return next(iter(_children(parent, tag)), None)


def _text(parent: Element | None, tag: str) -> str:
    child = None if parent is None else _child(parent, tag)
    return "" if child is None else (child.text or "").strip()


def _box_xyxy(element: Element, where: str) -> tuple[float, float, float, float]:
    """The box of an <object>, by its own <bndbox> and never by that of one of its <part>s."""
    bounds = _child(element, "bndbox")
    if bounds is None:
        raise InvalidInput(f"{where} has no bndbox; give it one with xmin, ymin, xmax and ymax")
    corners = []
    for tag in ("xmin", "ymin", "xmax", "ymax"):
        try:
            corners.append(number_of(_text(bounds, tag)))
        except ValueError:
            raise InvalidInput(f"{where}: {tag} is {_text(bounds, tag)!r}; give a number of pixels") from None
    xmin, ymin, xmax, ymax = corners
    if not all(map(math.isfinite, corners)) or xmax < xmin or ymax < ymin:
        raise InvalidInput(f"{where}: ({xmin:g}, {ymin:g}) to ({xmax:g}, {ymax:g}) is no box; give min before max")
    if max(map(abs, corners)) > _FARTHEST_PIXELS:
        raise InvalidInput(f"{where}: ({xmin:g}, {ymin:g}) to ({xmax:g}, {ymax:g}) is in no image; give pixels of it")
    return xmin - 1, ymin - 1, xmax, ymax


def _children(parent: Element, tag: str) -> list[Element]:
    """All children with a tag, in any case of its letters."""
    return [child for child in parent if isinstance(child.tag, str) and child.tag.lower() == tag]


def _object(element: Element, where: str) -> VocObject:
    name, difficult = _text(element, "name"), _text(element, "difficult").lower()
    if not name:
        raise InvalidInput(f"{where} has no name; give its class")
    if len(name) > _MAX_NAME_LETTERS or "/" in name or not name.isprintable():
        wanted = f"give a class of at most {_MAX_NAME_LETTERS} letters without '/', as files are named by it"
        raise InvalidInput(f"{where} ({name[:30]!r}): {wanted}")
    if difficult not in _DIFFICULT:
        raise InvalidInput(f"{where} ({name}): difficult is {difficult!r}; give 0 or 1")
    return VocObject(name, _box_xyxy(element, f"{where} ({name})"), _DIFFICULT[difficult])


def _size(annotation: Element, path: Path) -> tuple[int, int]:
    """Width and height from the annotation, else from the image file, else 0, 0."""
    try:
        width, height = (int(number_of(_text(_child(annotation, "size"), tag))) for tag in ("width", "height"))
    except (ValueError, OverflowError):
        width = height = 0
    if width > 0 and height > 0:
        return width, height
    image = read_image_bgr(path)
    return (0, 0) if image is None else (image.shape[1], image.shape[0])


def _read_image(root: Path, path_of_xml: Path, image_id: str) -> VocImage:
    if not path_of_xml.is_file():
        state = "is a folder" if path_of_xml.is_dir() else "no such annotation"
        raise InvalidInput(f"{path_of_xml}: {state}; add it or take {image_id} off the list")
    try:
        annotation = fromstring(path_of_xml.read_bytes())
    except OSError as error:
        raise InvalidInput(f"{path_of_xml}: cannot be read ({error.strerror}); check its permissions") from error
    # ValueError includes defusedxml's refusals; an unknown encoding raises LookupError
    except (ParseError, ValueError, LookupError) as error:
        raise InvalidInput(f"{path_of_xml}: not readable as XML ({error}); repair or remove it") from error
    if annotation.tag != "annotation":
        raise InvalidInput(f"{path_of_xml}: begins with <{annotation.tag}>; a VOC file begins with <annotation>")
    path = image_path(root, image_id)
    objects = tuple(
        _object(element, f"{path_of_xml}: object {number}")
        for number, element in enumerate(_children(annotation, "object"), start=1)
    )
    return VocImage(image_id, path, *_size(annotation, path), objects)


def _annotated_ids(annotations: Path) -> list[str]:
    """The ids of all annotations of a folder, in order; hidden files, which desktops leave there, are not any."""
    files = annotations.iterdir() if annotations.is_dir() else ()
    return sorted({path.stem for path in files if path.suffix in (".xml", ".XML") and not path.name.startswith(".")})


def read_voc(root: Path, split: str | None) -> tuple[VocImage, ...]:
    """Annotated images of a split in its list's order, or, without one, all of Annotations/ in order of id.

    `root` may also be a plain folder of XML files. An image's id is the name of its XML file, whatever <filename> says.
    No image is opened, except to learn a size that the annotation leaves out. Raises InvalidInput for a missing or
    empty folder or list, and for an annotation that cannot be understood, with its name.
    """
    annotations = root / "Annotations" if (root / "Annotations").is_dir() else root
    ids = listed_ids(root, annotations, split) if split is not None else _annotated_ids(annotations)
    if not ids:
        raise InvalidInput(
            f"{root}: no Annotations/*.xml here; give the folder that has them, such as VOCdevkit/VOC2007"
        )
    return tuple(_read_image(root, annotation_path(annotations, image_id), image_id) for image_id in ids)


def _object_xml(annotated: VocObject) -> str:
    x0, y0, x1, y1 = (round(corner) for corner in annotated.box_xyxy)
    return (
        f"\t<object>\n\t\t<name>{escape(annotated.name)}</name>\n\t\t<pose>Unspecified</pose>\n\t\t<truncated>0</truncated>\n"
        f"\t\t<difficult>{int(annotated.difficult)}</difficult>\n\t\t<bndbox>\n\t\t\t<xmin>{x0 + 1}</xmin>\n"
        f"\t\t\t<ymin>{y0 + 1}</ymin>\n\t\t\t<xmax>{x1}</xmax>\n\t\t\t<ymax>{y1}</ymax>\n\t\t</bndbox>\n\t</object>\n"
    )


def write_voc_image(root: Path, image_id: str, image: NDArray[np.uint8], objects: Sequence[VocObject]) -> VocImage:
    """Write an image, uint8 RGB (H, W, 3), as JPEG and then its annotation; boxes are rounded to integer pixels.

    Each file is written completely or not at all, the annotation last. Raises Unavailable where the disk refuses.
    """
    height, width = image.shape[:2]
    encoded, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    if not encoded:
        raise Unavailable(f"{image_id}: OpenCV could not encode a {width}x{height} image as JPEG; check its memory")
    path = root / "JPEGImages" / f"{image_id}.jpg"
    write_bytes(path, data.tobytes())
    size = f"\t<size>\n\t\t<width>{width}</width>\n\t\t<height>{height}</height>\n\t\t<depth>3</depth>\n\t</size>\n"
    xml = (
        f"<annotation>\n\t<folder>{escape(root.name)}</folder>\n\t<filename>{escape(path.name)}</filename>\n{size}"
        f"\t<segmented>0</segmented>\n{''.join(map(_object_xml, objects))}</annotation>\n"
    )
    write_bytes(root / "Annotations" / f"{image_id}.xml", xml.encode())
    return VocImage(image_id, path, width, height, tuple(objects))


def write_split(root: Path, split: str, image_ids: Sequence[str]) -> None:
    """Write ImageSets/Main/SPLIT.txt, one id a line. Raises Unavailable where the disk refuses."""
    text = "".join(f"{image_id}\n" for image_id in image_ids)
    write_bytes(root / "ImageSets" / "Main" / f"{split}.txt", text.encode())
