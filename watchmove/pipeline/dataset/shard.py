"""Shards: tar files that any WebDataset reader opens, with KEY.jpg, KEY.mask.png (8-bit soft mask) and KEY.json.

A frame whose motion is known also has KEY.motion.png; shards of older extractions and of imported masks have none.
"""

import io
import json
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from watchmove.pipeline.dataset.tar_members import files_in, members_of, padded
from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.files.atomic import replacing

_PARTS = ("jpg", "mask.png", "json")
_MOTION = "motion.png"


@dataclass(frozen=True)
class Sample:
    """One frame of a dataset: its key, which has no dot, its JPEG, its 8-bit soft mask as PNG, and its metadata.

    `metadata` is plain JSON: the video, time, licence and owner that the frame comes from. `motion_png` has what
    extraction knew of the frame's motion (see `masks.motion_cues`); it is empty where nothing is known.
    """

    key: str
    jpeg: bytes
    mask_png: bytes
    metadata: dict[str, object]
    motion_png: bytes = b""


class Span(NamedTuple):
    """Place of a file's content in a tar: its first byte and its length in bytes."""

    offset: int
    length: int


@dataclass(frozen=True)
class SamplePlace:
    """Place of a sample's files in a shard, from which it can be read without the rest of the shard."""

    shard: Path
    key: str
    begin: int
    """First byte of the first header of the sample's files."""
    jpeg: Span
    mask_png: Span
    metadata: Span
    motion_png: Span | None = None

    @property
    def extent(self) -> Span:
        """Bytes from the first header of the sample's files to the end of the last padding: a readable tar."""
        spans = (self.jpeg, self.mask_png, self.metadata, self.motion_png)
        end = max(span.offset + padded(span.length) for span in spans if span is not None)
        return Span(self.begin, end - self.begin)


def write_shard(path: Path, samples: Iterable[Sample]) -> int:
    """Write samples in the given order and return their number; equal samples give equal bytes.

    Raises:
        Unavailable: writing failed, for example because the disk is full.
    """
    count = 0
    with replacing(path) as temporary, tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as tar:
        for sample in samples:
            count += 1
            text = json.dumps(sample.metadata, sort_keys=True).encode()
            parts = dict(zip(_PARTS, (sample.jpeg, sample.mask_png, text), strict=True))
            for part, content in (parts | ({_MOTION: sample.motion_png} if sample.motion_png else {})).items():
                # A new TarInfo has time 0 and no owner, so the bytes do not depend on the machine or the time.
                entry = tarfile.TarInfo(f"{sample.key}.{part}")
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
    return count


def index_shard(path: Path) -> list[SamplePlace]:
    """Return the place of each complete sample of a shard, in order; other files in it are ignored.

    A file that the shard has twice counts once. Names may have any length, in the ways of POSIX, PAX or GNU, and
    several tars may follow each other in the file. A mask makes a frame, of which no part may be missing.

    Raises:
        InvalidInput: the file is not a tar, ends within a file, has a damaged header, more zeros at its end than tars
            have, a sparse file, two different files of one name, or a mask without its image or metadata as a file;
            the message says where.
    """
    places: dict[str, dict[str, tuple[int, Span]]] = {}
    masked: set[str] = set()
    for member in members_of(path):
        folder, slash, name = member.name.removeprefix("./").rpartition("/")
        # the first dot ends the key, because the part mask.png has a dot of its own
        stem, _, part = name.partition(".")
        if part.lower() == "mask.png":
            masked.add(folder + slash + stem)  # a link too, which tar programs write for the second of equal files
        if member.isfile() and part.lower() in (*_PARTS, _MOTION):
            parts = places.setdefault(folder + slash + stem, {})
            place = (member.offset, Span(member.offset_data, member.size))
            _, other = parts.setdefault(part.lower(), place)
            if other != place[1] and not _are_equal(path, other, place[1]):
                raise InvalidInput(
                    f"{path}: has two files {member.name!r} that differ; give each frame a key of its own"
                )
    complete = {key: parts for key, parts in places.items() if parts.keys() >= set(_PARTS)}
    if incomplete := sorted(masked - complete.keys()):
        missing = ", ".join(f".{part}" for part in _PARTS if part not in places.get(incomplete[0], {}))
        raise InvalidInput(
            f"{path}: {len(incomplete)} frames are incomplete, {incomplete[0]!r} has no file {missing}; "
            "extract its shard again, or pack it without links"
        )
    return [_place(path, key, parts) for key, parts in complete.items()]


def _place(path: Path, key: str, parts: dict[str, tuple[int, Span]]) -> SamplePlace:
    """The place of a sample from the first byte and the span of each of its files."""
    begin = min(begin for begin, _ in parts.values())
    motion = parts[_MOTION][1] if _MOTION in parts else None
    jpeg, mask_png, metadata = (parts[part][1] for part in _PARTS)
    return SamplePlace(path, key, begin, jpeg, mask_png, metadata, motion)


def _are_equal(path: Path, one: Span, other: Span) -> bool:
    """Whether two files of a shard have the same content."""
    with path.open("rb") as file:
        return one.length == other.length and _read(file, one) == _read(file, other)


def read_sample(place: SamplePlace) -> Sample:
    """Read the sample at a place; several threads may read at the same time.

    Raises:
        InvalidInput: its metadata is not a JSON object.
    """
    with place.shard.open("rb") as file:
        jpeg, mask_png, text = (_read(file, span) for span in (place.jpeg, place.mask_png, place.metadata))
        motion_png = _read(file, place.motion_png) if place.motion_png else b""
    return Sample(place.key, jpeg, mask_png, _metadata(text, f"{place.shard}: {place.key}"), motion_png)


def sample_in(content: bytes, key: str) -> Sample:
    """Return the sample `key` from the bytes of a shard that hold its files, those of `SamplePlace.extent`.

    Raises:
        InvalidInput: the files are not in the bytes, or the metadata is not a JSON object.
    """
    try:
        parts = dict(files_in(content))
    except (ValueError, tarfile.TarError, RecursionError) as error:
        raise InvalidInput(f"{key}: no files where its index says ({error}); extract its shard again") from error
    parts = {_with_lower_suffix(name): part for name, part in parts.items()}
    try:
        jpeg, mask_png, text = (parts[f"{key}.{part}"] for part in _PARTS)
    except KeyError as error:
        raise InvalidInput(f"{key}: no {error.args[0]} where its index says; extract its shard again") from error
    return Sample(key, jpeg, mask_png, _metadata(text, key), parts.get(f"{key}.{_MOTION}", b""))


def read_shard(path: Path) -> Iterator[Sample]:
    """Yield every complete sample of a shard, in order.

    Raises:
        InvalidInput: the file is not a readable tar, or a sample's metadata is not a JSON object.
    """
    for place in index_shard(path):
        yield read_sample(place)


def _read(file: io.BufferedReader, span: Span) -> bytes:
    file.seek(span.offset)
    return file.read(span.length)


def _with_lower_suffix(name: str) -> str:
    """The name of a file in a tar as `index_shard` reads it."""
    folder, slash, file = name.removeprefix("./").rpartition("/")
    stem, dot, part = file.partition(".")
    return folder + slash + stem + dot + part.lower()


def _metadata(text: bytes, where: str) -> dict[str, object]:
    """Parse a sample's metadata. Raises InvalidInput also for JSON nested so deeply that parsing it overflows."""
    try:
        metadata = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{where}.json is not JSON; extract its shard again") from error
    if not isinstance(metadata, dict):
        raise InvalidInput(f"{where}.json is not a JSON object; extract its shard again")
    return metadata
