"""YFCC100M's metadata as it is published: 100 million lines of 25 columns, or 23 in its first release.

Columns, by Yahoo Webscope's description, separated by tabs: [line number,] id, [hash,] owner's id, owner's name, taken,
uploaded, device, title, description, tags, machine tags, longitude, latitude, accuracy, page, download, licence, URL of
the licence, server, farm, secret, secret of the original, extension, marker: 0 photo, 1 video. Free text is URL-coded.

The public bucket names files by a hash: the MD5 of the download URL, without the leading zero of each of its bytes.
"""

import hashlib
import re
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import unquote_plus

import numpy as np

from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.files.numbers import number_of
from watchmove.service.planning.sources.listed import ListedVideo, Tally
from watchmove.service.records.outcomes import Credit
from watchmove.service.store.text_stream import blocks_of_lines

_MARKERS = ("0", "1")
_COLUMNS, _COLUMNS_WITHOUT_HASH = 25, 23
"""Published format of YFCC100M, and of its first release."""
_HASH = re.compile(r"[0-9a-f]{16,32}")  # each of the 16 bytes of an MD5 gives one or two digits
_MAX_MALFORMED_FRACTION = 0.5
"""Fraction of malformed rows above which the file is refused. Set by hand; not tuned."""
_ENOUGH_ROWS = 10_000
"""Rows read before that fraction is judged. Set by hand; not tuned."""


class RawRow(NamedTuple):
    """The columns that are used, unchanged from the file; `hash` is empty in the first release."""

    hash: str
    owner_id: str
    owner: str
    taken: str
    title: str
    longitude: str
    latitude: str
    page_url: str
    download_url: str
    licence: str
    licence_url: str


def hash_of(download_url: str) -> str:
    """The name, 16 to 32 hex digits, that the public bucket gives to the file downloaded from a URL."""
    return "".join(f"{byte:x}" for byte in hashlib.md5(download_url.encode(), usedforsecurity=False).digest())


def key_of(name: str) -> str:
    """The key of a video in the public bucket, by its hash."""
    return f"data/videos/mp4/{name[:3]}/{name[3:6]}/{name}.mp4"


def video_of(row: RawRow) -> ListedVideo:
    """The video of a row.

    Raises:
        ValueError: a column is malformed.
    """
    if not row.hash and not row.download_url.startswith(("http://", "https://")):
        raise ValueError("neither a hash nor a download URL")
    name = row.hash or hash_of(row.download_url)
    if not _HASH.fullmatch(name):
        raise ValueError("the hash is not 16 to 32 hex digits")
    credit = Credit(
        owner=unquote_plus(row.owner) or row.owner_id,
        licence=row.licence,
        licence_url=row.licence_url,
        page_url=row.page_url,
        title=unquote_plus(row.title),
        taken="" if row.taken == "null" else row.taken,
        longitude=_degrees(row.longitude, 180),
        latitude=_degrees(row.latitude, 90),
    )
    return ListedVideo(key_of(name), credit=credit)


def videos_in(pieces: Iterator[bytes], where: str, tally: Tally) -> Iterator[ListedVideo]:
    """Yield the videos of a metadata file. Only the marker of a photo's row is read: photos are a hundred to one.

    Raises:
        InvalidInput: most rows are malformed, so this is another kind of file.
    """
    rows, before = 0, tally.rows_malformed
    for block in blocks_of_lines(pieces, where):
        # the marker must be the last character of a line; the last line tells whether the file has Windows line ends
        block = block.replace(b"\r\n", b"\n") if block.endswith(b"\r\n") else block
        count, wanted = _not_photos(block)
        for number, line in wanted:
            try:
                yield video_of(_columns(line.decode()))
            except ValueError as error:
                why = "not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
                tally.pass_over(f"{where} line {rows + number}", why, line.decode(errors="replace"))
        rows += count
        malformed = tally.rows_malformed - before
        if rows > _ENOUGH_ROWS and malformed > _MAX_MALFORMED_FRACTION * rows:
            raise InvalidInput(
                f"{where}: {malformed} of {rows} rows are malformed{tally.first()}; name YFCC100M's metadata file"
            )


def _not_photos(block: bytes) -> tuple[int, Iterator[tuple[int, bytes]]]:
    """Number of lines in a block of complete lines, and the lines that are not photos, each with its number from 1.

    The marker, the last character of a line, is compared in all lines at once, and lines of photos are never copied:
    this is about ten times as fast as splitting every line.
    """
    characters = np.frombuffer(block, np.uint8)
    ends = np.flatnonzero(characters == ord("\n"))
    # A negative index means the end of the block, which is a line's end and so no tab: a line too short is no photo's.
    photo = (characters[ends - 1] == ord("0")) & (characters.take(ends - 2, mode="wrap") == ord("\t"))
    lines = np.flatnonzero(~photo).tolist()
    begin = np.concatenate([[0], ends + 1])
    return len(ends), ((line + 1, block[begin[line] : ends[line]]) for line in lines)


def _columns(line: str) -> RawRow:
    columns = line.split("\t")
    if columns[-1] not in _MARKERS:
        raise ValueError("the last column is neither 0 nor 1")
    if len(columns) == _COLUMNS:
        name, rest = columns[2], columns[3:]
        if not name:
            raise ValueError("the hash is empty")
    elif len(columns) == _COLUMNS_WITHOUT_HASH:
        name, rest = "", columns[1:]
    else:
        raise ValueError(f"{len(columns)} columns, neither {_COLUMNS} nor {_COLUMNS_WITHOUT_HASH}")
    return RawRow(name, rest[0], rest[1], rest[2], rest[5], rest[9], rest[10], *rest[12:16])


def _degrees(word: str, most: float) -> float | None:
    if not word:
        return None
    degrees = number_of(word)
    if not -most <= degrees <= most:  # in this form NaN is refused too
        raise ValueError(f"{word} is no angle within {most:.0f} degrees")
    return degrees
