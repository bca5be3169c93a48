"""Source of YFCC100M's videos from the published SQLite file: columns by name, without the hash."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from watchmove.pipeline.errors import InvalidInput
from watchmove.service.planning.sources.listed import ListedVideo, Tally
from watchmove.service.planning.sources.yfcc100m import RawRow, video_of

TABLE = "yfcc100m_dataset"
_COLUMNS = (
    "uid", "unickname", "datetaken", "title", "longitude", "latitude",
    "pageurl", "downloadurl", "licensename", "licenseurl",
)  # fmt: skip
"""Columns in the order of RawRow's fields, without the hash."""


def videos_in(path: Path, tally: Tally) -> Iterator[ListedVideo]:
    """Yield the videos of a metadata file, in the order of its rows. The file is opened read-only.

    Raises:
        InvalidInput: it is not an SQLite file, is damaged, or lacks the table or a column.
    """
    # SQLite reads an unknown name in double quotes as a string; in brackets an unknown name is an error.
    words = ", ".join(f"[{name}]" for name in ("rowid", *_COLUMNS))
    query = f"SELECT {words} FROM [{TABLE}] WHERE [marker] = 1"  # noqa: S608 (constants)
    try:
        # immutable: SQLite takes no lock and looks for no journal, so that a read-only folder is enough
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro&immutable=1", uri=True)) as database:
            # by default text that is not UTF-8 raises an error, which would end the run
            database.text_factory = lambda data: data.decode(errors="replace")
            # a view or generated column in a file from elsewhere must not call functions with side effects
            database.execute("PRAGMA trusted_schema = OFF")
            for number, *values in database.execute(query):
                row = RawRow("", *("" if value is None else str(value) for value in values))
                try:
                    yield video_of(row)
                except ValueError as error:
                    tally.pass_over(f"{path} row {number}", str(error), "\t".join(row))
    except (sqlite3.Error, UnicodeDecodeError) as error:  # the latter of a message that quotes damaged text
        raise InvalidInput(f"{path}: {error}; name an SQLite file with YFCC100M's table {TABLE}") from error
