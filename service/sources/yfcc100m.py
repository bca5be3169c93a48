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

from pipeline.errors import InvalidInput
from service.outcomes import Credit
from service.sources.listed import ListedVideo, Tally
from service.text_stream import blocks_of_lines

_PHOTO, _VIDEO = b"\t0\n", b"\t1\n"
_COLUMNS, _COLUMNS_WITHOUT_HASH = 25, 23
_HASH = re.compile(r"[0-9a-f]{16,32}")
_MOST_MALFORMED_FRACTION = 0.5
_ENOUGH_ROWS = 10_000


class RawRow(NamedTuple):
    """The columns that matter, as they stand in the file; `hash` is empty in the first release."""

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
    """The name that the public bucket gives to what was downloaded from a URL, 16 to 32 hex digits."""
    return "".join(f"{byte:x}" for byte in hashlib.md5(download_url.encode(), usedforsecurity=False).digest())


def key_of(name: str) -> str:
    """Where the public bucket keeps the video of a hash."""
    return f"data/videos/mp4/{name[:3]}/{name[3:6]}/{name}.mp4"


def video_of(row: RawRow) -> ListedVideo:
    """What a row says of its video.

    Raises:
        ValueError: a column cannot be what it says.
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
    """The videos of a metadata file. Of a photo's row nothing but its marker is looked at: they are a hundred to one.

    Raises:
        InvalidInput: most rows are malformed, so this is another kind of file.
    """
    first, before = 1, tally.rows_malformed
    for block in blocks_of_lines(pieces, where):
        block = block.replace(b"\r\n", b"\n") if b"\r\n" in block else block
        rows = block.count(b"\n")
        if block.count(_PHOTO) + block.count(_VIDEO) != rows:
            _pass_over_unmarked(block, where, first, tally)
        yield from _marked_videos(block, where, first, tally)
        first += rows
        malformed = tally.rows_malformed - before
        if first > _ENOUGH_ROWS and malformed > _MOST_MALFORMED_FRACTION * first:
            raise InvalidInput(f"{where}: {malformed} of {first - 1} rows are malformed; name YFCC100M's metadata file")


def _marked_videos(block: bytes, where: str, first: int, tally: Tally) -> Iterator[ListedVideo]:
    """Videos of a block of whole lines, found by their marker, so that no other line is split."""
    at = block.find(_VIDEO)
    while at >= 0:
        begin = block.rfind(b"\n", 0, at) + 1
        line = block[begin : at + 2]
        try:
            yield video_of(_columns(line.decode()))
        except ValueError as error:
            number = first + block.count(b"\n", 0, at)
            tally.pass_over(f"{where} line {number}", _why(error), _shown(line))
        at = block.find(_VIDEO, at + 2)


def _pass_over_unmarked(block: bytes, where: str, first: int, tally: Tally) -> None:
    for number, line in enumerate(block[:-1].split(b"\n"), start=first):
        if not line.endswith((_PHOTO[:-1], _VIDEO[:-1])):
            tally.pass_over(f"{where} line {number}", "the last column is neither 0 nor 1", _shown(line))


def _columns(line: str) -> RawRow:
    columns = line.split("\t")
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
    degrees = float(word)
    if not -most <= degrees <= most:
        raise ValueError(f"{word} is no angle within {most:.0f} degrees")
    return degrees


def _why(error: ValueError) -> str:
    return "not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)


def _shown(line: bytes) -> str:
    return line.decode(errors="replace").rstrip("\n")
