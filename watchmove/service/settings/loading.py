"""Reads settings from a YAML file, which `section.key=value` arguments override."""

import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.files.numbers import number_of, whole_number_of
from watchmove.pipeline.files.text_lines import has_credentials
from watchmove.pipeline.settings import Section
from watchmove.service.settings.settings import Settings

_DOT = re.compile(r"^([+-]?)\.(?=inf$|nan$)", re.IGNORECASE)
_OCTAL = re.compile(r"[+-]?0[0-9]")

LAPTOP = Path(str(files("watchmove.service.settings") / "presets" / "laptop.yaml"))
"""The settings file that commands read by default: the complete pipeline on synthetic videos, on two cores."""


def load_settings(path: Path, overrides: Sequence[str] = ()) -> Settings:
    """Read settings from `path`, then apply `section.key=value` overrides.

    Raises:
        InvalidInput: the file cannot be read, or a key, type or range is wrong; the message is one line.
    """
    tree = _read_yaml(path)
    for word in overrides:
        _override(tree, word)
    _refuse_credentials(tree)
    try:
        return Settings.model_validate(tree)
    except ValidationError as error:
        raise InvalidInput(_one_line(error, path, overrides)) from error


def _refuse_credentials(tree: Mapping[str, Any], above: str = "") -> None:
    """Raise InvalidInput if an address has a user or a password: settings are part of records, pages and logs."""
    for name, value in tree.items():
        if isinstance(value, dict):
            _refuse_credentials(value, f"{above}{name}.")
        elif has_credentials(str(value)):
            raise InvalidInput(
                f"{above}{name}: the address has a user or a password; remove it, and give credentials as the AWS SDK "
                "reads them, as in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            )


class _NotTaken(yaml.MarkedYAMLError):
    """A value that YAML permits and settings do not, such as a number in another notation than the decimal one."""


class _Loader(yaml.SafeLoader):
    """Reads YAML with decimal numbers alone: YAML 1.1 takes `1_0` for 10, `010` for 8 and `1:30` for 90."""

    def number(self, node: yaml.ScalarNode) -> int | float:
        """The number of a scalar that YAML takes for one. Raises _NotTaken."""
        text = str(node.value)
        whole = node.tag.endswith(":int")
        try:
            # YAML writes the numbers that are not finite as `.inf` and `.nan`
            number = whole_number_of(text) if whole else number_of(_DOT.sub(r"\1", text))
        except ValueError as error:
            raise _NotTaken(problem=f"{error}; use decimal digits", problem_mark=node.start_mark) from error
        if whole and _OCTAL.match(text):
            raise _NotTaken(problem=f"{text} begins with 0; use decimal digits", problem_mark=node.start_mark)
        return number

    def text(self, node: yaml.ScalarNode) -> str:
        """The text of a scalar. Raises _NotTaken for half of a pair of surrogates, which no record can hold."""
        text = str(self.construct_scalar(node))
        if any("\ud800" <= letter <= "\udfff" for letter in text):
            raise _NotTaken(problem=f"{text!r} is no Unicode text; correct its escape", problem_mark=node.start_mark)
        return text


for _kind in ("int", "float"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_kind}", _Loader.number)
_Loader.add_constructor("tag:yaml.org,2002:str", _Loader.text)


def _yaml(text: str) -> Any:
    """The value of a YAML document. Raises _NotTaken and YAMLError."""
    try:
        return yaml.load(text, _Loader)  # noqa: S506 (a safe loader)
    # PyYAML makes dates, of which some do not exist, and recurses into lists
    except (ValueError, RecursionError) as error:
        raise yaml.YAMLError(str(error)) from error


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        tree = _yaml(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"settings {path}: cannot be read ({error}); name a YAML file") from error
    except _NotTaken as error:
        line = f" line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise InvalidInput(f"settings {path}{line}: {error.problem}") from error
    except yaml.YAMLError as error:
        place = getattr(error, "problem_mark", None)
        line = f" line {place.line + 1}" if place else ""
        raise InvalidInput(f"settings {path}{line}: not YAML; check indentation and quotes") from error
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise InvalidInput(f"settings {path}: the top level is not a mapping; write `section:` and its keys below")
    return tree


def _override(tree: dict[str, Any], word: str) -> None:
    name, equals, value = word.partition("=")
    if not equals or not name:
        raise InvalidInput(f"--set {word}: not of the form section.key=value")
    *sections, key = name.split(".")
    for section in sections:
        branch = tree.setdefault(section, {})
        if not isinstance(branch, dict):
            raise InvalidInput(f"--set {word}: {section} is a value, not a section")
        tree = branch
    try:
        tree[key] = _yaml(value)  # the same types as in the file
    except _NotTaken as error:
        raise InvalidInput(f"--set {word}: {error.problem}") from error
    except yaml.YAMLError as error:
        raise InvalidInput(f"--set {word}: the value is not YAML") from error


def _one_line(error: ValidationError, path: Path, overrides: Sequence[str]) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    keys = [word.partition("=")[0] for word in overrides]
    given = any(f"{where}.".startswith(f"{key}.") or key.startswith(f"{where}.") for key in keys)
    source = "command line" if given else f"settings {path}"
    if first["type"] == "extra_forbidden":
        known = ", ".join(sorted(_keys_at(first["loc"][:-1])))
        return f"{source}: {where} is no setting; known here: {known}"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    wrong = "a section; give its keys" if first["type"] == "model_type" else first["msg"].removeprefix("Value error, ")
    # a whole section, or all settings, would hide the message
    value = "" if isinstance(first["input"], dict) else f" = {first['input']!r}"
    place = f" {where}{value}:" if where else ""
    return f"{source}:{place} {wrong}{more}"


def _keys_at(location: tuple[int | str, ...]) -> list[str]:
    model: type[Section] = Settings
    for part in location:
        annotation = model.model_fields[str(part)].annotation
        if not (isinstance(annotation, type) and issubclass(annotation, Section)):
            return []
        model = annotation
    return list(model.model_fields)
