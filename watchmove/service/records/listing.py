"""The list of all videos of a plan in the store: compressed JSON lines, written and read as a stream.

The first line records what made the list; each other line is one video, in the order of the source.
"""

import gzip
from array import array
from collections.abc import Iterator
from hashlib import sha256
from io import BufferedWriter
from pathlib import Path

from pydantic import ValidationError

from watchmove.pipeline.errors import InvalidInput
from watchmove.service.records import layout
from watchmove.service.records.attempts import Ids, ids_of, number_of
from watchmove.service.records.forgotten import forgotten_works
from watchmove.service.records.outcomes import Video
from watchmove.service.records.plans import PlanRecord
from watchmove.service.records.record import Origin, Record
from watchmove.service.store.store import Store
from watchmove.service.store.text_stream import PIECE_BYTES, lines, text_of

_LEVEL = 3
"""Compression level of gzip, nearer to fast (1) than to small (9). Set by hand; not tuned."""


class ListingHead(Record):
    """The first line of a listing: what made it, and the URI that its keys are relative to."""

    uri: str


class ListingWriter:
    """Writes a listing to a local file. The digest depends on the videos alone, not on who made the list or when."""

    def __init__(self, path: Path, made_by: Origin, uri: str) -> None:
        # Buffered, because a call of GzipFile.write for each short line is slow.
        self._file = BufferedWriter(gzip.GzipFile(path, "wb", compresslevel=_LEVEL), PIECE_BYTES)
        self._file.write(ListingHead(made_by=made_by, uri=uri).model_dump_json().encode() + b"\n")
        # the head is not in the digest: it has the time of writing, and the digest becomes part of the plan's id
        self._sum = sha256()

    def add(self, video: Video) -> None:
        """Write one video."""
        line = video.model_dump_json().encode() + b"\n"
        self._sum.update(line)
        self._file.write(line)

    def close(self) -> str:
        """Close the file and return the SHA-256 of the lines of videos in hex digits."""
        self._file.close()
        return self._sum.hexdigest()


def listing_lines(path: Path) -> Iterator[bytes]:
    """Yield the lines of videos of a local listing, without its first line."""
    with gzip.open(path, "rb") as file:
        next(file)
        yield from file


def read_listing(store: Store, recipe: str, plan: str) -> Iterator[Video]:
    """Yield every video of a plan in the order of its source, without works that are forgotten.

    Memory does not grow with the number of videos.

    Raises:
        InvalidInput: the listing is absent or damaged.
        Unavailable: the store cannot be reached.
    """
    forgotten = forgotten_works(store)
    for _, head, video in listing_rows(store, recipe, plan):
        if not forgotten.has(head.uri, video.key):
            yield video


def listed_ids(store: Store, plan: PlanRecord) -> Ids:
    """(M,) sorted numbers of the videos that a plan listed. Raises InvalidInput if its listing is missing."""
    key = layout.listing(plan.recipe, plan.plan)
    return ids_of(array("Q", (number_of(video.id, key) for video in read_listing(store, plan.recipe, plan.plan))))


def listing_rows(store: Store, recipe: str, plan: str) -> Iterator[tuple[bytes, ListingHead, Video]]:
    """Yield each line of a listing after the first, with the first line as a record, and the line's video.

    Raises the errors of `read_listing`.
    """
    key = layout.listing(recipe, plan)
    where = f"{store.uri}/{key}"
    item = store.head(key)
    if item is None:
        raise InvalidInput(f"{where}: not there; run `watchmove plan` first")
    head: ListingHead | None = None
    for number, line in enumerate(lines(text_of(store, item), where), start=1):
        kind: type[ListingHead] | type[Video] = ListingHead if head is None else Video
        try:
            row = kind.model_validate_json(line, strict=True)
        except ValidationError as error:
            raise InvalidInput(f"{where} line {number}: not a {kind.__name__}; plan again as another run") from error
        if isinstance(row, ListingHead):
            head = row
        elif head is not None:
            yield line, head, row
