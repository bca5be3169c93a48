"""The list of every video that a plan saw, in the store: compressed JSON lines, written and read as a stream.

Its first line says what made it; each other line is one video, in the order of the source.
"""

import gzip
from collections.abc import Iterator
from hashlib import sha256
from io import BufferedWriter
from pathlib import Path

from pydantic import ValidationError

from watchmove.pipeline.errors import InvalidInput
from watchmove.service.records import layout
from watchmove.service.records.outcomes import Video
from watchmove.service.records.record import Origin, Record
from watchmove.service.store.store import Store
from watchmove.service.store.text_stream import PIECE_BYTES, lines, text_of

_LEVEL = 3


class ListingHead(Record):
    """First line of a listing: what made it, and the store that its keys are below."""

    uri: str


class ListingWriter:
    """Writes a listing to a local file; `digest` tells two lists of videos apart, whoever made them and when."""

    def __init__(self, path: Path, made_by: Origin, uri: str) -> None:
        # Lines are compressed many at a time: one by one, each costs as much as a hundred of its bytes.
        self._file = BufferedWriter(gzip.GzipFile(path, "wb", compresslevel=_LEVEL), PIECE_BYTES)
        self._file.write(ListingHead(made_by=made_by, uri=uri).model_dump_json().encode() + b"\n")
        self._sum = sha256()

    def add(self, video: Video) -> None:
        """Write one video."""
        line = video.model_dump_json().encode() + b"\n"
        self._sum.update(line)
        self._file.write(line)

    def close(self) -> str:
        """End the file; the digest."""
        self._file.close()
        return self._sum.hexdigest()


def listing_lines(path: Path) -> Iterator[bytes]:
    """The lines of videos of a local listing that has just been written."""
    with gzip.open(path, "rb") as file:
        next(file)
        yield from file


def read_listing(store: Store, recipe: str, plan: str) -> Iterator[Video]:
    """Every video that a plan saw, in the order of its source; memory does not grow with their number.

    Raises:
        InvalidInput: the listing is gone or damaged.
        Unavailable: the store cannot be reached.
    """
    key = layout.listing(recipe, plan)
    where = f"{store.uri}/{key}"
    item = store.head(key)
    if item is None:
        raise InvalidInput(f"{where}: not there; run `watchmove plan` first")
    kind: type[ListingHead] | type[Video] = ListingHead
    for number, line in enumerate(lines(text_of(store, item), where), start=1):
        try:
            row = kind.model_validate_json(line)
        except ValidationError as error:
            raise InvalidInput(f"{where} line {number}: not a {kind.__name__}; plan again as another run") from error
        if isinstance(row, Video):
            yield row
        kind = Video
