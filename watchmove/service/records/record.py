"""Records of what a step decided or made. A step writes its record last: it commits the objects that it names."""

import json
import os
import time
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import version
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from watchmove.pipeline.errors import InvalidInput, NotYet
from watchmove.pipeline.files.text_lines import printable
from watchmove.service.settings.settings import Settings, settings_hash
from watchmove.service.store.store import Store

# The numbers that records may have. What could not have been counted or measured makes a record invalid, so that
# readers can add numbers, and write times as dates, without asking each of them whether it is one.

Count = Annotated[int, Field(ge=0, lt=2**63)]
"""A number of things, or of bytes."""

Seconds = Annotated[float, Field(ge=0, le=1e9)]
"""How long one piece of work took. The bound, of 32 years, keeps sums finite; set by hand."""

END_OF_DATES = 253_402_300_800
"""The year 10000 in seconds since 1970: from then on, Python has no dates."""

UnixSeconds = Annotated[float, Field(ge=0, lt=END_OF_DATES)]
"""A time in seconds since 1970."""

FINITE = ConfigDict(frozen=True, allow_inf_nan=False)
"""The configuration of all that records consist of: parsers of JSON take NaN and 1e999, which are no measurements."""


class Origin(BaseModel):
    """What made a record: settings, their hash, code version, image, and inputs with their ETags."""

    model_config = FINITE

    settings: dict[str, Any]
    settings_hash: str
    version: str
    image: str
    inputs: dict[str, str]
    written_at_unix_seconds: UnixSeconds


class Record(BaseModel):
    """Base class of every record."""

    model_config = FINITE

    made_by: Origin


AnyRecord = TypeVar("AnyRecord", bound=Record)

Cause = Literal["invalid-input", "not-finite", "bug"]
"""Why a step has failed, so that running it again unchanged does not help; `not-finite`: its loss or a weight."""


class StepFailure(Record):
    """A step of a run has failed by `cause`, and not succeeded since; `number` is that of its shard or evaluation.

    `message` is the line that it ended with; records of earlier versions have none.
    """

    step: str
    number: int | None = None
    cause: Cause
    message: str = ""

    @property
    def name(self) -> str:
        """The step with the number of its shard or evaluation, as `evaluate 3`."""
        return self.step if self.number is None else f"{self.step} {self.number}"


class Written(NamedTuple):
    """The key of a record, and whether this call wrote it."""

    key: str
    new: bool


def origin(settings: Settings, inputs: Mapping[str, str]) -> Origin:
    """Return the origin of an object made now with `settings` from `inputs` (URI to ETag)."""
    return Origin(
        settings=settings.model_dump(mode="json"),
        settings_hash=settings_hash(settings),
        version=code_version(),
        image=os.environ.get("WATCHMOVE_IMAGE", ""),
        inputs=dict(inputs),
        written_at_unix_seconds=time.time(),
    )


@cache
def code_version() -> str:
    """Return the version of the installed distribution."""
    return version("watchmove")


def commit(store: Store, key: str, record: Record) -> Written:
    """Write a record unless the key exists: of two writers, the first one's record stays."""
    return Written(key, store.create(key, record.model_dump_json(indent=1).encode()))


def point(store: Store, key: str, pointer: Record) -> None:
    """Write a record that points to others, unless the stored one has the same content and the same settings.

    Settings of the machine and the store's place may differ. With other settings the record is written again, so that
    the last written one has the settings of the last call.
    """
    known = find(store, key, type(pointer))
    if known is None or _content(known) != _content(pointer):
        store.write(key, pointer.model_dump_json(indent=1).encode())


def _content(record: Record) -> tuple[dict[str, Any], dict[str, Any]]:
    # not the whole of `made_by`, which holds the time of writing
    return record.model_dump(exclude={"made_by"}), deciding(record.made_by.settings)


def deciding(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The part of recorded settings that decides what a run makes: without the store's place and the machine's."""
    return {name: value for name, value in settings.items() if name not in ("store", "work")}


def find(store: Store, key: str, kind: type[AnyRecord]) -> AnyRecord | None:
    """Return the record at `key`, or None if it is absent.

    Raises:
        InvalidInput: the object at `key` is not a valid record of this kind.
    """
    data = store.read(key)
    if data is None:
        return None
    try:
        # strictly, because pydantic would read the text "1_0" as the number 10
        return kind.model_validate_json(data, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidInput(f"{store.uri}/{key}: no valid record ({where}: {first['msg']}); {_remedy(data)}") from error


def _remedy(data: bytes) -> str:
    """What to do about an object that is no valid record: one of another version need not be damaged."""
    try:
        written_by = json.loads(data)["made_by"]["version"]
    except (ValueError, LookupError, TypeError, RecursionError):
        written_by = code_version()
    if written_by == code_version():
        return "remove it and run its step again"
    return f"version {printable(str(written_by))} wrote it, and this is {code_version()}: use that version"


def need(store: Store, key: str, kind: type[AnyRecord], made_by_step: str) -> AnyRecord:
    """Return the record at `key`.

    Raises:
        NotYet: the record is absent; the message names the step that makes it.
        InvalidInput: the record is not valid.
    """
    record = find(store, key, kind)
    if record is None:
        raise NotYet(f"{store.uri}/{key}: not there; run `watchmove {made_by_step}` first")
    return record


def json_lines(rows: Sequence[BaseModel]) -> bytes:
    """Return rows as JSON lines, which the tools of a shell can count and filter."""
    return b"".join(row.model_dump_json().encode() + b"\n" for row in rows)


def need_lines(store: Store, key: str, kind: type[BaseModel]) -> list[Any]:
    """Return the rows of the JSON lines at `key`.

    Raises:
        InvalidInput: the object is absent, or a line is not a valid row.
    """
    where = f"{store.uri}/{key}"
    data = store.read(key)
    if data is None:  # an empty list is written as an empty object, so this one was lost
        raise InvalidInput(f"{where}: not there; plan again under another name")
    return from_json_lines(data, kind, where)


def from_json_lines(data: bytes, kind: type[BaseModel], where: str) -> list[Any]:
    """Return the rows of JSON lines.

    Raises:
        InvalidInput: a line is not a valid row; the message has its number.
    """
    rows = []
    for number, line in enumerate(data.splitlines(), start=1):
        try:
            rows.append(kind.model_validate_json(line, strict=True))
        except ValidationError as error:
            raise InvalidInput(
                f"{where} line {number}: not a {kind.__name__}; remove the file to plan again"
            ) from error
    return rows
