"""What every source yields, and the account it gives of what it did not."""

from collections import Counter
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from watchmove.service.records.outcomes import Credit

NAMED_ROWS = 10_000
"""Most malformed rows that are named; all are counted."""
_SHOWN_CHARACTERS = 200


class ListedVideo(NamedTuple):
    """One video of a list: where it lies below the store of videos, and what else the list says of it.

    `size_bytes` and `duration_seconds` are 0 and `etag` is empty where the list does not say.
    """

    key: str
    size_bytes: int = 0
    etag: str = ""
    duration_seconds: float = 0.0
    credit: Credit = Credit()


class MalformedRow(BaseModel):
    """A row that could not be taken: where it stands, what is wrong, and how it begins."""

    model_config = ConfigDict(frozen=True)

    where: str
    why: str
    begins: str


class Tally:
    """Counts what a source passes over while it is read; nothing is passed over uncounted."""

    def __init__(self) -> None:
        self.files_ignored = 0
        self.rows_malformed = 0
        self.malformed: list[MalformedRow] = []
        self.filtered: Counter[str] = Counter()

    def pass_over(self, where: str, why: str, row: str) -> None:
        """Count a malformed row, and name it while there are not too many."""
        self.rows_malformed += 1
        if len(self.malformed) < NAMED_ROWS:
            self.malformed.append(MalformedRow(where=where, why=why, begins=row[:_SHOWN_CHARACTERS]))

    def text(self) -> str:
        """What was passed over, in words; empty where nothing was."""
        parts = [f"{self.files_ignored} other files"] if self.files_ignored else []
        parts += [f"{self.rows_malformed} malformed rows"] if self.rows_malformed else []
        return ", ".join(parts + [f"{count} left out: {reason}" for reason, count in sorted(self.filtered.items())])
