"""COCO's instances.json, read as a stream: its images, divided into shards, and the annotations of each shard.

The list of images is in memory, some 500 bytes each; annotations are written to one file on disk for each shard.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from watchmove.pipeline.coco.list_elements import list_elements
from watchmove.pipeline.errors import InvalidInput, Unavailable
from watchmove.pipeline.files.digest import file_sha256
from watchmove.service.records.listing import ListingWriter
from watchmove.service.records.outcomes import Credit, Video, video_id
from watchmove.service.records.record import Origin

IMAGES_PER_SHARD = 2000
"""Set by hand, not tuned. A shard's annotations are loaded together."""

_PIECE_BYTES = 2**16
"""Bytes read at once; set by hand. ijson parses a piece to its end before the first value of it is used."""
_ELEMENTS_PER_STOP_CHECK = 10_000
"""Set by hand: elements that are read between two checks for a stop, a fraction of a second."""


class Instances:
    """The images and annotations of a file; `sha256` is the hash of its bytes."""

    def __init__(self, path: Path, uri: str, folder: Path, check_stop: Callable[[], None]) -> None:
        """Read `path`; file names in it are relative to `uri`, and `folder` receives what does not fit into memory.

        Raises:
            InvalidInput: the file is missing, or is not in COCO's format.
        """
        self._path, self._uri, self._folder, self._check_stop = path, uri, folder, check_stop
        images, licences = self._heads()
        self.sha256 = file_sha256(path)
        if not images:
            raise InvalidInput(f"{path}: lists no images; give COCO's instances as published")
        ordered = sorted(images.items(), key=lambda item: str(item[1]["file_name"]))
        self._images = [self._video(image, licences) for _, image in ordered]
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

    def annotations_of(self, shard: int) -> dict[str, list[dict[str, Any]]]:
        """The annotations of one shard's images, by the key of the image."""
        found: dict[str, list[dict[str, Any]]] = {}
        path = self._spill(shard)
        if path.is_file():
            with path.open(encoding="utf-8") as file:
                for line in file:
                    row, annotation = json.loads(line)
                    found.setdefault(self._images[row].key, []).append(annotation)
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
                kept = ("license", "flickr_url", "coco_url")
                images[number] = {"file_name": name, **{word: element[word] for word in kept if word in element}}
            elif key == "licenses" and isinstance(element, dict) and isinstance(element.get("id"), int | str):
                licences[element["id"]] = element
        return images, licences

    def _write_annotations(self, row_of: dict[int, int]) -> None:
        """Write each annotation to the file of its image's shard. Raises InvalidInput where the image is not listed."""
        files = [self._spill(shard).open("w", encoding="utf-8") for shard in range(self.shards)]
        try:
            for key, element in self._elements():
                if key != "annotations":
                    continue
                row = row_of.get(_field(element, "image_id", int, self._path))
                if row is None:
                    image = element["image_id"]
                    raise InvalidInput(f"{self._path}: an annotation of image {image}, which it does not list")
                kept = {word: element.get(word) for word in ("segmentation", "iscrowd")}
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
