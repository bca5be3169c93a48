"""COCO's instances.json, read as a stream: its images, divided into shards, and the annotations of each shard.

The list of images is in memory, some 500 bytes each; annotations are written to one file on disk for each shard.
"""

import codecs
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from watchmove.pipeline.coco.list_elements import list_elements
from watchmove.pipeline.errors import InvalidInput, Unavailable
from watchmove.pipeline.files.digest import file_sha256
from watchmove.pipeline.files.numbers import number_if_text
from watchmove.service.records.listing import ListingWriter
from watchmove.service.records.outcomes import Credit, Video, video_id
from watchmove.service.records.record import Origin

IMAGES_PER_SHARD = 2000
"""Set by hand, not tuned. A shard's annotations are loaded together."""

_PIECE_BYTES = 2**16
"""Bytes read at once; set by hand. ijson parses a piece to its end before the first value of it is used."""
_ELEMENTS_PER_STOP_CHECK = 10_000
"""Set by hand: elements that are read between two checks for a stop, a fraction of a second."""


@dataclass(frozen=True)
class ImageAnnotations:
    """What a file says of one image: its (height, width) in pixels, None where it does not say, and its objects."""

    size: tuple[int, int] | None = None
    objects: list[dict[str, Any]] = field(default_factory=list)


class Instances:
    """The images and annotations of a file; `sha256` is the hash of its bytes.

    `annotations_unlisted` counts annotations of images that the file does not list.
    """

    def __init__(self, path: Path, uri: str, folder: Path, check_stop: Callable[[], None]) -> None:
        """Read `path`; file names in it are relative to `uri`, and `folder` receives what does not fit into memory.

        Raises:
            InvalidInput: the file is missing, or is not in COCO's format.
        """
        self._path, self._uri, self._folder, self._check_stop = path, uri, folder, check_stop
        self.annotations_unlisted = 0
        images, licences = self._heads()
        self.sha256 = file_sha256(path)
        if not images:
            raise InvalidInput(f"{path}: lists no images; give COCO's instances as published")
        ordered = sorted(images.items(), key=lambda item: str(item[1]["file_name"]))
        self._images = [self._video(image, licences) for _, image in ordered]
        self._sizes = [_size(image) for _, image in ordered]
        if len({image.key for image in self._images}) < len(self._images):
            raise InvalidInput(f"{path}: two images have one file_name; give COCO's instances as published")
        # a second pass over the file, because JSON allows `annotations` before `images`
        self._write_annotations({number: row for row, (number, _) in enumerate(ordered)})

    def __len__(self) -> int:
        return len(self._images)

    @property
    def shards(self) -> int:
        """Number of shards that the images are divided into."""
        return -(-len(self._images) // IMAGES_PER_SHARD)

    def images_of(self, shard: int) -> list[Video]:
        """The images of one shard, in order of their names."""
        return self._images[shard * IMAGES_PER_SHARD : (shard + 1) * IMAGES_PER_SHARD]

    def annotations_of(self, shard: int) -> dict[str, ImageAnnotations]:
        """The annotations of one shard's images, by the key of the image."""
        rows = range(shard * IMAGES_PER_SHARD, min(len(self), (shard + 1) * IMAGES_PER_SHARD))
        found = {self._images[row].key: ImageAnnotations(self._sizes[row]) for row in rows}
        path = self._spill(shard)
        if path.is_file():
            with path.open(encoding="utf-8") as file:
                for line in file:
                    row, annotation = json.loads(line)
                    found[self._images[row].key].objects.append(annotation)
        return found

    def listing(self, made_by: Origin) -> tuple[Path, str]:
        """A local file that lists the images as a plan's listing does, and its digest."""
        path = self._folder / "listing.json.gz"
        writer = ListingWriter(path, made_by, self._uri)
        for image in self._images:
            writer.add(image)
        return path, writer.close()

    def _heads(self) -> tuple[dict[int, dict[str, Any]], dict[object, dict[str, Any]]]:
        """Images and licences, by their ids."""
        images: dict[int, dict[str, Any]] = {}
        licences: dict[object, dict[str, Any]] = {}
        for key, element in self._elements():
            if key == "images":
                name, number = _field(element, "file_name", str, self._path), _field(element, "id", int, self._path)
                kept = ("license", "flickr_url", "coco_url", "height", "width")
                if number in images:
                    raise InvalidInput(f"{self._path}: two images have the id {number}; give each its own")
                images[number] = {"file_name": name, **{word: element[word] for word in kept if word in element}}
            elif key == "licenses" and isinstance(element, dict) and isinstance(element.get("id"), int | str):
                licences[element["id"]] = element
        return images, licences

    def _write_annotations(self, row_of: dict[int, int]) -> None:
        """Write each annotation to the file of its image's shard; those of images that are not listed are counted."""
        files = [self._spill(shard).open("w", encoding="utf-8") for shard in range(self.shards)]
        try:
            for key, element in self._elements():
                if key != "annotations":
                    continue
                row = row_of.get(_field(element, "image_id", int, self._path))
                if row is None:  # as in a file from which images were removed, but not their annotations
                    self.annotations_unlisted += 1
                    continue
                kept = {word: element.get(word) for word in ("segmentation", "iscrowd", "bbox")}
                files[row // IMAGES_PER_SHARD].write(json.dumps([row, kept]) + "\n")
        except OSError as error:
            raise Unavailable(f"{self._folder}: cannot be written ({error.strerror}); make room") from error
        finally:
            for file in files:
                file.close()

    def _elements(self) -> Iterator[tuple[str, Any]]:
        for number, element in enumerate(list_elements(self._pieces(), str(self._path))):
            if number % _ELEMENTS_PER_STOP_CHECK == 0:
                self._check_stop()
            yield element

    def _pieces(self) -> Iterator[bytes]:
        try:
            with self._path.open("rb") as file:
                if file.read(len(codecs.BOM_UTF8)) != codecs.BOM_UTF8:  # Windows editors write it
                    file.seek(0)
                while piece := file.read(_PIECE_BYTES):
                    yield piece
        except OSError as error:
            raise InvalidInput(f"{self._path}: cannot be read ({error.strerror}); name COCO's instances") from error

    def _spill(self, shard: int) -> Path:
        return self._folder / f"annotations-{shard}.jsonl"

    def _video(self, image: dict[str, Any], licences: dict[object, dict[str, Any]]) -> Video:
        """An image as a video of one frame, with its credit where the file has one."""
        number = image.get("license")
        licence = licences.get(number, {}) if isinstance(number, int | str) else {}
        credit = Credit(
            licence=_text(licence.get("name")),
            licence_url=_text(licence.get("url")),
            page_url=_text(image.get("flickr_url")) or _text(image.get("coco_url")),
        )
        key = image["file_name"]
        # identified by the hash of the annotations, from which its masks come: other annotations make it a new video
        return Video(id=video_id(self._uri, key, self.sha256), key=key, etag="", size_bytes=0, credit=credit)


def _field(element: object, name: str, kind: type[Any], path: Path) -> Any:
    value = element.get(name) if isinstance(element, dict) else None
    if not isinstance(value, kind) or isinstance(value, bool):  # True is an int to Python
        raise InvalidInput(f"{path}: no {name} in {str(element)[:80]}; give COCO's instances as published")
    return value


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _size(image: dict[str, Any]) -> tuple[int, int] | None:
    """(height, width) of an entry of an image, None where it has none; some tools write them as text or as 480.0."""
    try:
        height, width = (number_if_text(image.get(name)) for name in ("height", "width"))
    except ValueError:
        return None
    if not isinstance(height, int | float) or not isinstance(width, int | float) or not (height > 0 < width):
        return None
    return (int(height), int(width)) if height == height // 1 and width == width // 1 else None
