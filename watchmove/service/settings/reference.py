"""Settings as text: a settings file, and the reference table that is generated from the models."""

from collections.abc import Iterator
from typing import Literal, get_args, get_origin

import yaml
from pydantic.fields import FieldInfo

from watchmove.pipeline.settings import Section
from watchmove.service.settings.settings import Settings


def as_yaml(settings: Settings) -> str:
    """The settings as the text of a YAML file that `--settings` reads."""
    return yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False)


def reference_table() -> str:
    """A Markdown table with one row for each setting: its name, default, range and meaning."""
    rows = ["| setting | default | range | meaning |", "| --- | --- | --- | --- |"]
    return "\n".join([*rows, *_rows(Settings, "")])


def _rows(model: type[Section], prefix: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            yield from _rows(kind, f"{prefix}{name}.")
        else:
            default = field.get_default(call_default_factory=False)
            yield f"| `{prefix}{name}` | `{_plain(default)}` | {_range(field)} | {field.description} |"


def _plain(value: object) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(str(item) for item in value) + "]"
    return str(value)


def _range(field: FieldInfo) -> str:
    """The words that a setting may be, or the limits of a number."""
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<", "multiple_of": "multiple of"}
    found = [f"`{word}`" for word in _words(field.annotation)]
    found += [
        f"{sign} {getattr(limit, name)}"
        for limit in field.metadata
        for name, sign in signs.items()
        if getattr(limit, name, None) is not None
    ]
    return ", ".join(found)


def _words(kind: object) -> Iterator[str]:
    """The words of a closed list, or of one whose members are of a closed list."""
    if get_origin(kind) is Literal:
        yield from get_args(kind)
    elif get_origin(kind) is tuple:
        yield from _words(get_args(kind)[0])
