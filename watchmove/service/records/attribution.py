"""Attribution: who made the videos that a snapshot's frames come from, in a file that goes where the frames go."""

import gzip
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from watchmove.service.records.attempts import Rows
from watchmove.service.records.outcomes import ShardRecord, VideoOutcome

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
    """What a snapshot holds under one licence."""

    model_config = ConfigDict(frozen=True)

    videos: int
    frames: int


class Credits:
    """The credit of every video with frames, put aside on disk until it is known which attempts count."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "credits.tsv"
        self._path.write_bytes(b"")
        self._next = 0

    def add(self, record: ShardRecord) -> None:
        """Take up the rows of a record; they are numbered on, as a table of attempts numbers them."""
        with self._path.open("a", encoding="utf-8", newline="\n") as file:
            for number, row in enumerate(record.videos, start=self._next):
                if row.frames_kept:
                    file.write("\t".join((str(number), *_columns(row))) + "\n")
        self._next += len(record.videos)

    def write(self, path: Path, dataset: str, rows: Rows) -> dict[str, LicenceCount]:
        """Write the attribution of some attempts' videos, compressed; same videos, same bytes. Counts by licence."""
        videos: dict[str, int] = {}
        frames: dict[str, int] = {}
        # No file name and no time in the compressed file: nothing of this machine gets into the bytes.
        with path.open("wb") as raw, gzip.GzipFile("", "wb", mtime=0, fileobj=raw) as packed:
            packed.write(_HEAD.format(dataset=dataset, columns="\t".join(COLUMNS)).encode())
            for line in self._wanted(rows):
                packed.write("\t".join(line).encode() + b"\n")
                videos[line[_LICENCE]] = videos.get(line[_LICENCE], 0) + 1
                frames[line[_LICENCE]] = frames.get(line[_LICENCE], 0) + int(line[_FRAMES])
        return {licence: LicenceCount(videos=videos[licence], frames=frames[licence]) for licence in sorted(videos)}

    def _wanted(self, rows: Rows) -> Iterator[list[str]]:
        with self._path.open(encoding="utf-8", newline="\n") as file:
            for text in file:
                number, *line = text.rstrip("\n").split("\t")
                if rows[int(number)]:
                    yield line


def _columns(row: VideoOutcome) -> tuple[str, ...]:
    credit = row.video.credit
    words = (credit.title, credit.owner, credit.page_url, credit.licence, credit.licence_url)
    title, owner, page, licence, licence_url = map(_one_line, words)
    place = (str(row.frames_kept), row.video.id, _one_line(row.video.key))
    return title, owner, page, licence or UNKNOWN_LICENCE, licence_url, *place


def _one_line(word: str) -> str:
    """A word from outside as one column: no tab, no line break, nothing that a terminal would obey."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in word).split())
