"""Records: what a step decided or made, written last. A record that exists is the commit of all it names."""

import json
import os
import time
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import version
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from watchmove.pipeline.errors import InvalidInput
from watchmove.service.settings.settings import Settings, settings_hash
from watchmove.service.store.store import Store


class Origin(BaseModel):
    """What made a record: settings, their hash, code version, image, and inputs with their ETags."""

    model_config = ConfigDict(frozen=True)

    settings: dict[str, Any]
    settings_hash: str
    version: str
    image: str
    inputs: dict[str, str]
    written_at_unix_seconds: float


class Record(BaseModel):
    """Base of every record."""

    model_config = ConfigDict(frozen=True)

    made_by: Origin


AnyRecord = TypeVar("AnyRecord", bound=Record)


class Written(NamedTuple):
    """A record's content and whether this call made it."""

    key: str
    new: bool


def origin(settings: Settings, inputs: Mapping[str, str]) -> Origin:
    """The origin of something made now, by these settings, from these inputs (URI to ETag)."""
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
    """The installed distribution's version."""
    return version("watchmove")


def commit(store: Store, key: str, record: Record) -> Written:
    """Write a record unless there is one already: of two writers, one wins and the other's is dropped."""
    return Written(key, store.create(key, record.model_dump_json(indent=1).encode()))


def point(store: Store, key: str, pointer: Record) -> None:
    """Make a record that points to others say what `pointer` says; one that says it already stays as it is."""
    known = find(store, key, type(pointer))
    if known is None or known.model_dump(exclude={"made_by"}) != pointer.model_dump(exclude={"made_by"}):
        store.write(key, pointer.model_dump_json(indent=1).encode())


def find(store: Store, key: str, kind: type[AnyRecord]) -> AnyRecord | None:
    """The record at `key`, or None.

    Raises:
        InvalidInput: there is something at `key`, but no such record.
    """
    data = store.read(key)
    if data is None:
        return None
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidInput(
            f"{store.uri}/{key}: no valid record ({where}: {first['msg']}); remove it to redo"
        ) from error


def need(store: Store, key: str, kind: type[AnyRecord], made_by_step: str) -> AnyRecord:
    """The record at `key`.

    Raises:
        InvalidInput: it is not there; the message names the step that makes it.
    """
    record = find(store, key, kind)
    if record is None:
        raise InvalidInput(f"{store.uri}/{key}: not there; run `watchmove {made_by_step}` first")
    return record


def json_lines(rows: Sequence[BaseModel]) -> bytes:
    """Rows as JSON lines, a form that a shell can count and cut."""
    return b"".join(row.model_dump_json().encode() + b"\n" for row in rows)


def from_json_lines(data: bytes, kind: type[BaseModel], where: str) -> list[Any]:
    """Rows of JSON lines.

    Raises:
        InvalidInput: a line is no such row; the message names it.
    """
    rows = []
    for number, line in enumerate(data.splitlines(), start=1):
        try:
            rows.append(kind.model_validate_json(line))
        except (ValidationError, json.JSONDecodeError) as error:
            raise InvalidInput(
                f"{where} line {number}: not a {kind.__name__}; remove the file to plan again"
            ) from error
    return rows
