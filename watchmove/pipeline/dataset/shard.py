"""Datasets as tar files that any WebDataset reader opens: KEY.jpg, KEY.mask.png (8-bit soft mask), KEY.json."""

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


@dataclass(frozen=True)
class Sample:
    """One frame: its key (no dot in it), JPEG, 8-bit mask PNG, and where it comes from."""

    key: str
    jpeg: bytes
    mask_png: bytes
    metadata: dict[str, object]


class Span(NamedTuple):
    """Where a file lies in a tar: first byte and length."""

    offset: int
    length: int


@dataclass(frozen=True)
class SamplePlace:
    """Where a sample lies, so that it can be read alone."""

    shard: Path
    key: str
    jpeg: Span
    mask_png: Span
    metadata: Span

    @property
    def extent(self) -> Span:
        """All of the sample's files with their headers and padding: by itself a readable tar."""
        spans = (self.jpeg, self.mask_png, self.metadata)
        begin = min(span.offset for span in spans) - tarfile.BLOCKSIZE
        end = max(span.offset + -(-span.length // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE for span in spans)
        return Span(begin, end - begin)


def write_shard(path: Path, samples: Iterable[Sample]) -> int:
    """Write samples in their order and return how many; same samples, same bytes. Raises Unavailable on a full disk."""
    count = 0
    with replacing(path) as temporary, tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as tar:
        for sample in samples:
            count += 1
            text = json.dumps(sample.metadata, sort_keys=True).encode()
            for part, content in zip(_PARTS, (sample.jpeg, sample.mask_png, text), strict=True):
                # A bare TarInfo has time 0 and no owner: nothing of this machine gets into the bytes.
                entry = tarfile.TarInfo(f"{sample.key}.{part}")
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
    return count


def index_shard(path: Path) -> list[SamplePlace]:
    """Where each complete sample of a shard lies; files that belong to none are passed over.

    Raises:
        InvalidInput: the file is no tar.
    """
    spans: dict[str, dict[str, Span]] = {}
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                folder, slash, name = member.name.rpartition("/")
                stem, _, part = name.partition(".")
                if member.isfile() and part in _PARTS:
                    spans.setdefault(folder + slash + stem, {})[part] = Span(member.offset_data, member.size)
    except (tarfile.TarError, OSError) as error:
        raise InvalidInput(f"{path}: not a readable tar file ({error}); extract its shard again") from error
    whole = {key: parts for key, parts in spans.items() if len(parts) == len(_PARTS)}
    return [SamplePlace(path, key, parts["jpg"], parts["mask.png"], parts["json"]) for key, parts in whole.items()]


def read_sample(place: SamplePlace) -> Sample:
    """The sample at a place; threads may read at the same time.

    Raises:
        InvalidInput: its metadata is no JSON object.
    """
    with place.shard.open("rb") as file:
        jpeg, mask_png, text = (_read(file, span) for span in (place.jpeg, place.mask_png, place.metadata))
    return Sample(place.key, jpeg, mask_png, _metadata(text, f"{place.shard}: {place.key}"))


def sample_in(content: bytes, key: str) -> Sample:
    """The sample `key` in a piece of a shard that holds its files, as `SamplePlace.extent` says.

    Raises:
        InvalidInput: they are not in it, or its metadata is no JSON object.
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
    """Every complete sample of a shard, in order. Raises InvalidInput as `index_shard` and `read_sample` do."""
    for place in index_shard(path):
        yield read_sample(place)


def _read(file: io.BufferedReader, span: Span) -> bytes:
    file.seek(span.offset)
    return file.read(span.length)


def _files_in(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Names and contents of a tar's files. TarFile takes a fifth of an example's time to read all that headers say."""
    at = 0
    while at < len(content):
        header = content[at : at + tarfile.BLOCKSIZE]
        name, prefix = (_text(header[:100]), _text(header[345:500]) if header[257:263] == b"ustar\0" else "")
        size = int(header[124:136].strip(b" \0"), 8)
        if size < 0:
            raise ValueError(f"a file of {size} bytes")
        begin = at + tarfile.BLOCKSIZE
        yield f"{prefix}/{name}" if prefix else name, content[begin : begin + size]
        at = begin + -(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def _metadata(text: bytes, where: str) -> dict[str, object]:
    """A sample's metadata; JSON that nests without end is no JSON either."""
    try:
        metadata = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{where}.json is not JSON; extract its shard again") from error
    if not isinstance(metadata, dict):
        raise InvalidInput(f"{where}.json is no object; extract its shard again")
    return metadata
