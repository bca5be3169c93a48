"""The listed video that every source yields, and the tally of the rows and files that it skipped."""

from collections import Counter
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from watchmove.service.records.outcomes import Credit

NAMED_ROWS = 10_000
"""Malformed rows that are kept in the tally; all are counted. A bound on memory, not a tuned value."""
_SHOWN_CHARACTERS = 200
"""Characters kept of a malformed row. Set by hand; not tuned."""


class ListedVideo(NamedTuple):
    """A video of a list: its key in the store of videos, and the other columns of the list.

    `size_bytes` and `duration_seconds` are 0 and `etag` is empty if the list does not give them.
    """

    key: str
    size_bytes: int = 0
    etag: str = ""
    duration_seconds: float = 0.0
    credit: Credit = Credit()


class MalformedRow(BaseModel):
    """A row that could not be read: its place, the error, and its first characters."""

    model_config = ConfigDict(frozen=True)

    where: str
    why: str
    begins: str


class Tally:
    """Counts of the rows and files that a source skips while it is read."""

    def __init__(self) -> None:
        self.files_ignored = 0
        self.rows_malformed = 0
        self.malformed: list[MalformedRow] = []
        self.filtered: Counter[str] = Counter()

    def pass_over(self, where: str, why: str, row: str) -> None:
        """Count a malformed row, and keep its beginning while fewer than NAMED_ROWS are kept."""
        self.rows_malformed += 1
        if len(self.malformed) < NAMED_ROWS:
            self.malformed.append(MalformedRow(where=where, why=why, begins=row[:_SHOWN_CHARACTERS]))

    def first(self) -> str:
        """Where the first malformed row is and what is wrong with it, to end a message; empty if there is none."""
        return f"; malformed is first {self.malformed[0].where}: {self.malformed[0].why}" if self.malformed else ""

    def text(self) -> str:
        """The counts in words; empty if nothing was skipped."""
        parts = [f"{self.files_ignored} other files"] if self.files_ignored else []
        parts += [f"{self.rows_malformed} malformed rows"] if self.rows_malformed else []
        return ", ".join(parts + [f"{count} left out: {reason}" for reason, count in sorted(self.filtered.items())])
