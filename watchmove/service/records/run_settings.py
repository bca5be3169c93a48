"""The settings that a run was made with, as its own records state them."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.settings import Section
from watchmove.service.records import layout
from watchmove.service.records.record import Origin, Record, deciding
from watchmove.service.records.stream import read_ahead
from watchmove.service.settings.settings import Settings
from watchmove.service.store.store import Store

_STEPS = ("evaluate", "pretrain", "gather", "plan")
"""Steps whose records state a run's settings, from the last to the first."""

_NAMED_RUNS = 5
"""Most runs that a message names. Set by hand; not tuned."""


def last_origin(store: Store, run: str) -> Origin:
    """Return what made the record of a run's last step; of several evaluations, that of the one written last.

    Raises:
        InvalidInput: the store has no record of the run, or the record is damaged.
        Unavailable: the store cannot be reached.
    """
    prefix = layout.run_records(run)
    names = [item.key.removeprefix(prefix) for item in store.list(prefix)]
    for step in _STEPS:
        keys = [prefix + name for name in names if name.endswith(".json") and name[:-5].partition("-")[0] == step]
        origins = [record.made_by for _, record in read_ahead(store, keys, Record)]
        if origins:
            return max(origins, key=lambda made_by: made_by.written_at_unix_seconds)
    raise InvalidInput(f"run {run}: {store.uri} has no record of it; {_remedy(store)}")


def settings_of_run(store: Store, run: str) -> Settings:
    """Return the settings of a run's last step, as `last_origin` finds it; raises the same errors."""
    return recorded_settings(last_origin(store, run), run)


def recorded_settings(made_by: Origin, run: str) -> Settings:
    """Return the settings that a record of `run` was made with.

    Settings of other versions that this one does not have are left out; those that a record lacks have their defaults.
    Raises InvalidInput if a value is not valid in this version.
    """
    try:
        return Settings.model_validate(_known(made_by.settings, Settings))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidInput(
            f"run {run}: its record has settings of version {made_by.version} that are not valid in this one "
            f"({where}: {first['msg']}); use that version"
        ) from error


def contradictions(made_by: Origin, given: Mapping[str, Any]) -> tuple[str, ...]:
    """A text for each of the `given` settings (JSON values by dotted name) that a record has another value of.

    The place of the store and the settings of the machine are a matter of each command, and never among them.
    """
    recorded = flat(deciding(made_by.settings))
    return tuple(
        f"{name} {value}, recorded {recorded[name]}"
        for name, value in given.items()
        if name in recorded and recorded[name] != value
    )


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The values of nested settings by dotted name."""
    values: dict[str, Any] = {}
    for key, value in tree.items():
        values |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return values


def _known(tree: Mapping[str, Any], section: type[Section]) -> dict[str, Any]:
    """The part of `tree` whose keys are settings of this version."""
    kept: dict[str, Any] = {}
    for name, field in section.model_fields.items():
        if name in tree:
            kind, kept[name] = field.annotation, tree[name]
            if isinstance(kind, type) and issubclass(kind, Section) and isinstance(tree[name], Mapping):
                kept[name] = _known(tree[name], kind)
    return kept


def _remedy(store: Store) -> str:
    """What to do where the store has no record of a run."""
    runs = sorted({item.key.split("/")[1] for item in store.list(layout.all_runs())})
    if not runs:
        return "it has no runs, so name the store of the run with --store"
    more = f" and {len(runs) - _NAMED_RUNS} more" if len(runs) > _NAMED_RUNS else ""
    return f"name one of its runs ({', '.join(runs[:_NAMED_RUNS])}{more}), or the store of the run with --store"
