"""The attribution file of a dataset snapshot: who made the videos of its frames, and under which licence."""

import gzip
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from pydantic import BaseModel

from watchmove.pipeline.errors import InvalidInput
from watchmove.service.records.attempts import Rows
from watchmove.service.records.outcomes import ShardRecord, VideoOutcome
from watchmove.service.records.record import FINITE, Count

COLUMNS = ("title", "owner", "page", "licence", "licence_url", "frames", "video_id", "video_key")
UNKNOWN_LICENCE = "unknown"

_LICENCE, _FRAMES = COLUMNS.index("licence"), COLUMNS.index("frames")
_HEAD = """\
# Attribution of the watchmove dataset {dataset}.
# Its frames are single pictures of the videos below, made smaller; the masks beside them were computed from the videos.
# Whoever passes frames on passes on the credit that the video's licence asks for.
# One line for each video with frames in the dataset, its columns separated by tabs:
{columns}
"""


class LicenceCount(BaseModel):
    """The numbers of videos and frames of a snapshot under one licence."""

    model_config = FINITE

    videos: Count
    frames: Count


class Credits:
    """The credits of all videos with frames, kept on disk until it is known which attempts count."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "credits.tsv"
        # `write` reads the file even if no record was added
        self._path.write_bytes(b"")
        self._next = 0

    def add(self, record: ShardRecord) -> None:
        """Add the rows of a record, numbered consecutively as in the table of attempts."""
        with self._path.open("a", encoding="utf-8", newline="\n") as file:
            for number, row in enumerate(record.videos, start=self._next):
                if row.frames_kept:
                    file.write("\t".join((str(number), *_columns(row))) + "\n")
        self._next += len(record.videos)

    def write(self, path: Path, dataset: str, rows: Rows) -> dict[str, LicenceCount]:
        """Write the compressed attribution of the attempts in `rows` to `path`, and return the counts by licence.

        The same videos give the same bytes.
        """
        # The compressed file stores no file name and no time, so that its bytes do not depend on the machine.
        with path.open("wb") as raw, gzip.GzipFile("", "wb", mtime=0, fileobj=raw) as packed:
            packed.write(_HEAD.format(dataset=dataset, columns="\t".join(COLUMNS)).encode())
            return counts_by_licence(self._written(packed, rows))

    def _written(self, packed: gzip.GzipFile, rows: Rows) -> Iterator[list[str]]:
        for line in self._wanted(rows):
            packed.write("\t".join(line).encode() + b"\n")
            yield line

    def _wanted(self, rows: Rows) -> Iterator[list[str]]:
        with self._path.open(encoding="utf-8", newline="\n") as file:
            for text in file:
                number, *line = text.rstrip("\n").split("\t")
                if rows[int(number)]:
                    yield line


def attribution_lines(packed: bytes, where: str) -> list[bytes]:
    """The lines of a compressed attribution file, with their line breaks; `where` names it in the error.

    Raises:
        InvalidInput: the file is damaged.
    """
    try:
        return gzip.decompress(packed).splitlines(keepends=True)
    except (OSError, EOFError, zlib.error) as error:
        raise InvalidInput(f"{where}: damaged ({error}); remove it and run again") from error


def counts_by_licence(rows: Iterable[Sequence[str]]) -> dict[str, LicenceCount]:
    """Count the videos and frames of rows of an attribution file, which have the columns COLUMNS, by licence."""
    videos, frames = Counter[str](), Counter[str]()
    for row in rows:
        videos[row[_LICENCE]] += 1
        frames[row[_LICENCE]] += int(row[_FRAMES])
    return {licence: LicenceCount(videos=videos[licence], frames=frames[licence]) for licence in sorted(videos)}


def _columns(row: VideoOutcome) -> tuple[str, ...]:
    credit = row.video.credit
    words = (credit.title, credit.owner, credit.page_url, credit.licence, credit.licence_url)
    title, owner, page, licence, licence_url = map(one_line, words)
    place = (str(row.frames_kept), row.video.id, one_line(row.video.key))
    return title, owner, page, licence or UNKNOWN_LICENCE, licence_url, *place


def one_line(word: str) -> str:
    """Return text from a video list as one column, without tabs, line breaks or control characters of a terminal."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in word).split())
