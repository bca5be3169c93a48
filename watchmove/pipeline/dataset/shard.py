"""Shards: tar files that any WebDataset reader opens, with KEY.jpg, KEY.mask.png (8-bit soft mask) and KEY.json."""

import io
import json
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.files.atomic import replacing

_PARTS = ("jpg", "mask.png", "json")

# Fields of a tar's header that `_files_in` reads (POSIX.1-1988, the format "ustar").
_NAME, _SIZE, _MAGIC, _PREFIX = slice(0, 100), slice(124, 136), slice(257, 263), slice(345, 500)


@dataclass(frozen=True)
class Sample:
    """One frame of a dataset: its key, which has no dot, its JPEG, its 8-bit soft mask as PNG, and its metadata.

    `metadata` is plain JSON: the video, time, licence and owner that the frame comes from.
    """

    key: str
    jpeg: bytes
    mask_png: bytes
    metadata: dict[str, object]


class Span(NamedTuple):
    """Place of a file's content in a tar: its first byte and its length in bytes."""

    offset: int
    length: int


@dataclass(frozen=True)
class SamplePlace:
    """Place of a sample's files in a shard, from which it can be read without the rest of the shard."""

    shard: Path
    key: str
    jpeg: Span
    mask_png: Span
    metadata: Span

    @property
    def extent(self) -> Span:
        """Bytes from the first header of the sample's files to the end of the last padding: a readable tar."""
        spans = (self.jpeg, self.mask_png, self.metadata)
        # a header takes one block in the format "ustar"
        begin = min(span.offset for span in spans) - tarfile.BLOCKSIZE
        end = max(span.offset + -(-span.length // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE for span in spans)
        return Span(begin, end - begin)


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
            for part, content in zip(_PARTS, (sample.jpeg, sample.mask_png, text), strict=True):
                # A new TarInfo has time 0 and no owner, so the bytes do not depend on the machine or the time.
                entry = tarfile.TarInfo(f"{sample.key}.{part}")
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
    return count


def index_shard(path: Path) -> list[SamplePlace]:
    """Return the place of each complete sample of a shard, in order; other files in it are ignored.

    Raises:
        InvalidInput: the file is not a readable tar.
    """
    spans: dict[str, dict[str, Span]] = {}
    try:
        # "r:" refuses compressed tars, in which the offsets would not be places in the file
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                folder, slash, name = member.name.rpartition("/")
                # the first dot ends the key, because the part mask.png has a dot of its own
                stem, _, part = name.partition(".")
                if member.isfile() and part in _PARTS:
                    spans.setdefault(folder + slash + stem, {})[part] = Span(member.offset_data, member.size)
    except (tarfile.TarError, OSError) as error:
        raise InvalidInput(f"{path}: not a readable tar file ({error}); extract its shard again") from error
    complete = {key: parts for key, parts in spans.items() if len(parts) == len(_PARTS)}
    return [SamplePlace(path, key, parts["jpg"], parts["mask.png"], parts["json"]) for key, parts in complete.items()]


def read_sample(place: SamplePlace) -> Sample:
    """Read the sample at a place; several threads may read at the same time.

    Raises:
        InvalidInput: its metadata is not a JSON object.
    """
    with place.shard.open("rb") as file:
        jpeg, mask_png, text = (_read(file, span) for span in (place.jpeg, place.mask_png, place.metadata))
    return Sample(place.key, jpeg, mask_png, _metadata(text, f"{place.shard}: {place.key}"))


def sample_in(content: bytes, key: str) -> Sample:
    """Return the sample `key` from the bytes of a shard that hold its files, those of `SamplePlace.extent`.

    Raises:
        InvalidInput: the files are not in the bytes, or the metadata is not a JSON object.
    """
    try:
        parts = dict(_files_in(content))
    except ValueError as error:
        raise InvalidInput(f"{key}: no files where its index says ({error}); extract its shard again") from error
    try:
        jpeg, mask_png, text = (parts[f"{key}.{part}"] for part in _PARTS)
    except KeyError as error:
        raise InvalidInput(f"{key}: no {error.args[0]} where its index says; extract its shard again") from error
    return Sample(key, jpeg, mask_png, _metadata(text, key))


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


def _files_in(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of each file of a tar. Raises ValueError where a header is not one.

    tarfile is not used: parsing all fields of headers would take a fifth of the time of making an example.
    """
    at = 0
    while at < len(content):
        header = content[at : at + tarfile.BLOCKSIZE]
        name, prefix = (_text(header[_NAME]), _text(header[_PREFIX]) if header[_MAGIC] == b"ustar\0" else "")
        # an empty block, which marks the end of a tar, raises ValueError: a sample's bytes have none
        size = int(header[_SIZE].strip(b" \0"), 8)
        if size < 0:  # it would move back, and the loop would not end
            raise ValueError(f"a file of {size} bytes")
        begin = at + tarfile.BLOCKSIZE
        yield f"{prefix}/{name}" if prefix else name, content[begin : begin + size]
        at = begin + -(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


def _text(field: bytes) -> str:
    # as tarfile decodes names when a shard is indexed
    return field.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def _metadata(text: bytes, where: str) -> dict[str, object]:
    """Parse a sample's metadata. Raises InvalidInput also for JSON nested so deeply that parsing it overflows."""
    try:
        metadata = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{where}.json is not JSON; extract its shard again") from error
    if not isinstance(metadata, dict):
        raise InvalidInput(f"{where}.json is not a JSON object; extract its shard again")
    return metadata
