"""Source of videos from a list that the user writes: CSV with a header line, or JSON lines."""

import csv
import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.files.numbers import number_if_text
from watchmove.service.planning.sources.listed import ListedVideo, Tally
from watchmove.service.records.outcomes import Credit
from watchmove.service.records.record import Count, Seconds
from watchmove.service.store.store import check_key, check_path
from watchmove.service.store.text_stream import lines

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
"""Beginning of a complete URI (RFC 3986, section 3.1), also of one that no store has, such as `https://`."""

Row = tuple[int, str, object]
"""Number of the line, its text, and its columns by name."""
_IN_DIGITS = BeforeValidator(number_if_text)
"""Text is read by the one strict reader: pydantic's own takes `1_0` for 10."""


class ListRow(BaseModel):
    """The columns that a list may have; only `uri` is required: a URI, or a key in the store of videos."""

    model_config = ConfigDict(frozen=True, extra="ignore", coerce_numbers_to_str=True)

    uri: str = Field(min_length=1)
    size: Annotated[Count, _IN_DIGITS] = 0
    etag: str = ""
    owner: str = ""
    licence: str = ""
    licence_url: str = ""
    title: str = ""
    page_url: str = ""
    taken: str = ""
    longitude: Annotated[float | None, _IN_DIGITS] = Field(None, ge=-180, le=180)
    latitude: Annotated[float | None, _IN_DIGITS] = Field(None, ge=-90, le=90)
    duration_seconds: Annotated[Seconds, _IN_DIGITS] = Field(0.0, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _is_unicode(cls, value: Any) -> Any:
        # pydantic takes half of a pair of surrogates, as CSV in Latin-1 and JSON's escapes give it; records cannot
        if isinstance(value, str) and any("\ud800" <= letter <= "\udfff" for letter in value):
            raise ValueError("not UTF-8")
        return value

    @model_validator(mode="before")
    @classmethod
    def _empty_is_absent(cls, columns: Any) -> Any:
        if not isinstance(columns, dict):
            return columns
        # CSV has no null: an empty column is one that the row does not give
        return {name: value for name, value in columns.items() if value is not None and value != ""}

    @model_validator(mode="after")
    def _version_is_whole(self) -> "ListRow":
        # a fetch compares size and ETag with those of the list, and would find the unknown size 0 changed
        if self.etag and "size" not in self.model_fields_set:
            raise ValueError("an ETag without a size")
        return self

    def credit(self) -> Credit:
        """The credit of the video: its owner, licence and origin."""
        return Credit(**self.model_dump(include=set(Credit.model_fields)))


def csv_rows(pieces: Iterator[bytes], where: str, tally: Tally) -> Iterator[Row]:
    """The rows of a CSV file. Raises InvalidInput if its first line names no column `uri`."""
    # Bytes that are not UTF-8 become surrogates, which `ListRow` refuses, so that only their row is skipped.
    # Line breaks are added again because a quoted field may contain some.
    reader = csv.reader(line.decode(errors="surrogateescape") + "\n" for line in lines(pieces, where))
    # spreadsheets write a byte order mark before the first name
    try:
        names = [name.strip().removeprefix("\ufeff") for name in next(reader, [])]
    except csv.Error as error:
        raise InvalidInput(f"{where}: the first line is no line of CSV ({error}); name its columns there") from error
    if "uri" not in names:
        known = ", ".join(ListRow.model_fields)
        raise InvalidInput(f"{where}: the first line names no column `uri`; the columns known are {known}")
    if twice := [name for name, count in Counter(names).items() if count > 1 and name in ListRow.model_fields]:
        raise InvalidInput(f"{where}: the first line names the column `{twice[0]}` more than once; name it once")
    while True:
        try:
            values = next(reader, None)
        # csv refuses a field of more than 128 KiB: the end of a quote that is never closed
        except csv.Error as error:
            tally.pass_over(f"{where} line {reader.line_num}", str(error), "")
            continue
        if values is None:
            return
        if len(values) == len(names):
            yield reader.line_num, ",".join(values), dict(zip(names, values, strict=True))
        elif values:
            why = f"{len(values)} columns, the first line names {len(names)}"
            tally.pass_over(f"{where} line {reader.line_num}", why, _printable(",".join(values)))


def json_rows(pieces: Iterator[bytes], where: str, tally: Tally) -> Iterator[Row]:
    """Yield the rows of a file of JSON lines; empty lines are skipped."""
    for number, line in enumerate(lines(pieces, where), start=1):
        if line.strip():
            begins = line.decode(errors="replace")
            try:
                yield number, begins, json.loads(line)
            # json recurses, so deep nesting is a malformed row here and not a bug
            except (ValueError, RecursionError) as error:
                tally.pass_over(f"{where} line {number}", f"no JSON ({error})", begins)


def videos_in(rows: Iterator[Row], where: str, videos_uri: str, tally: Tally) -> Iterator[ListedVideo]:
    """Yield the videos of a list, all of which must be below `videos_uri`.

    Raises:
        InvalidInput: a video is in another store.
    """
    for number, begins, columns in rows:
        place = f"{where} line {number}"
        try:
            row = ListRow.model_validate(columns)
            key = _key_of(row.uri, place, videos_uri)
        # InvalidInput, for a URI in another store, ends the run: the settings are wrong and not one row
        except ValueError as error:
            tally.pass_over(place, _first_fault(error), _printable(begins))
        else:
            yield ListedVideo(key, row.size, row.etag.strip('"'), row.duration_seconds, row.credit())


def _key_of(uri: str, place: str, videos_uri: str) -> str:
    if _SCHEME.match(uri):
        if not uri.startswith(videos_uri + "/"):
            raise InvalidInput(
                f"{place}: {uri} is not below videos ({videos_uri}); a run reads the videos of one store"
            )
        uri = uri.removeprefix(videos_uri + "/")
        # a complete URI says that an empty part is meant; a key that begins with a slash is rather a path by mistake
        check = check_key if videos_uri.startswith("s3://") else check_path
    else:
        check = check_path
    try:
        return check(uri)
    except InvalidInput as error:
        raise ValueError(str(error)) from error


def _first_fault(error: ValueError) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg']}" if where else str(first["msg"])


def _printable(text: str) -> str:
    # a surrogate could not be written to the store as UTF-8
    return text.encode(errors="replace").decode()
