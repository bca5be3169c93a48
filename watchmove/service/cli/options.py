"""Options that several commands take, and the frame in which each command runs and exits."""

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

import structlog
import typer

from watchmove.pipeline.errors import InvalidInput, NotYet
from watchmove.pipeline.files.atomic import make_writable_folder, write_bytes
from watchmove.pipeline.files.numbers import whole_number_of
from watchmove.service.runner.runner import StepContext, run_to_exit_code, step_context
from watchmove.service.settings.loading import LAPTOP, load_settings
from watchmove.service.settings.settings import Settings

AnyNumber = TypeVar("AnyNumber", int, float)

NO_METRICS = "work.metrics_port=0"
"""The override of commands that may run in the pod of a step, with its settings, while the step holds the port."""

_SHOWN = 3
"""Most settings that the line about contradicted ones names. Set by hand; not tuned."""

SettingsFile = Annotated[
    Path, typer.Option("--settings", help="YAML file of settings.", show_default="the packaged laptop.yaml")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override one setting, as in pretrain.seed=1; repeatable."),
]
StorePlace = Annotated[
    str,
    typer.Option("--store", metavar="PLACE", help="Folder or URI of the run's store; by default the setting store."),
]
SingleFile = Annotated[
    bool, typer.Option("--single-file", help="Write the page also as one file, with its pictures inside.")
]
VideosPlace = Annotated[
    str, typer.Option("--videos", help="Folder or URI of videos; by default synthetic ones are drawn.")
]
VocPlace = Annotated[
    str, typer.Option("--voc", help="Folder or URI in PASCAL VOC's layout; by default a synthetic set is drawn.")
]


def _made(context: typer.Context, folder: Path | None) -> Path | None:
    """The folder of a page, made unless it exists: a folder that cannot be used is refused before any work."""
    if folder is not None and not context.resilient_parsing:  # a shell completes a command that may never run
        make_writable_folder(folder)
    return folder


ReportFolder = Annotated[
    Path | None,
    typer.Option(
        "--folder", callback=_made, help="Folder of this machine to write the page and its pictures to as well."
    ),
]
Run = Annotated[str, typer.Option("--run", help="Name of the run.")]
RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="Name of the run.")]


def decimal(
    read: Callable[[str], AnyNumber], least: float = -math.inf, most: float = math.inf
) -> Callable[[str], AnyNumber]:
    """A parser of an option's number, from `least` to `most`: typer's own types also take `1_0` and `nan`."""

    def parse(text: str) -> AnyNumber:
        try:
            number = read(str(text))  # typer also parses the default
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error
        if not least <= number <= most:
            raise typer.BadParameter(f"{text} is not from {least:g} to {most:g}")
        return number

    return parse


WHOLE_NUMBER = decimal(whole_number_of)
"""Parser of a whole number."""


def _shards_of(text: str) -> range:
    """The shards that `--shard` names: `7`, or `7-9` for three of them."""
    first, _, last = text.partition("-") if re.fullmatch("[0-9]+-[0-9]+", text) else (text, "", text)
    shards = range(WHOLE_NUMBER(first), WHOLE_NUMBER(last) + 1)
    if not shards:
        raise typer.BadParameter(f"{text}: the last shard is before the first")
    return shards


Shards = Annotated[
    range,
    typer.Option(
        "--shard",
        parser=_shards_of,
        metavar="<int>",
        help="Index of the shard, counted from 0; FIRST-LAST extracts several, one after another.",
    ),
]
EvaluationIndex = Annotated[
    int,
    typer.Option("--evaluation", parser=WHOLE_NUMBER, metavar="<int>", help="Index of the evaluation, counted from 0."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
MotionNetwork = Annotated[
    str,
    typer.Option(
        "--motion-network",
        metavar="WEIGHTS",
        help="File or URI of weights that `teach` wrote; the network is asked where the masks of a shot are doubtful.",
    ),
]


def override(name: str, text: str) -> str:
    """The `--set` argument that sets `name` to exactly this text.

    The text is quoted, because a folder's name may contain what YAML reads as a comment or a key.
    """
    return f"{name}={json.dumps(text, ensure_ascii=False)}"


def as_uri(place: str) -> str:
    """The URI of a place that is given as a path of a local folder or as a URI."""
    return place if "://" in place else f"file://{Path(place).expanduser().absolute()}"


def with_motion_network(overrides: list[str] | None, motion_network: str) -> list[str]:
    """The overrides, followed by the setting that `--motion-network` abbreviates."""
    return [*(overrides or ()), *([override("extract.motion_network", motion_network)] if motion_network else [])]


def with_store(overrides: list[str] | None, store: str) -> list[str]:
    """The setting that `--store` abbreviates, followed by the overrides."""
    return [*([override("store", as_uri(store))] if store else []), *(overrides or ())]


def write_outputs(folder: Path | None, values: Mapping[str, object]) -> None:
    """Write values as JSON to files of their names, which templates in argo/ read as output parameters.

    Without a folder nothing is written.
    """
    if folder is not None:
        for name, value in values.items():
            write_bytes(folder / name, json.dumps(value).encode())


def end(body: Callable[[], None]) -> None:
    """Run a command's body and exit with the exit code of its outcome."""
    raise typer.Exit(run_to_exit_code(body))


def in_context(settings: Path, overrides: list[str] | None, body: Callable[[StepContext], object]) -> None:
    """Load the settings, run `body` in a new step context, and exit with the exit code of its outcome."""

    def load_and_run() -> None:
        # Loaded in here, so that an error in the settings becomes an exit code too.
        with step_context(load_settings(settings, overrides or ())) as context:
            body(context)

    end(load_and_run)


def in_run(run: str, settings: Path, overrides: list[str], body: Callable[[StepContext], object]) -> None:
    """Run `body` in a new step context for reading the records of `run`, which decide with what settings it was made.

    Of the settings file and the overrides, the store and the settings of the machine are used. A line of the log names
    what else they state and the run's records contradict. Ends as `in_context` does, with invalid input if the store
    has no record of the run. Where `body` lacks what a failed step would have made, the line is that of the failure.
    """

    def compare_and_run(context: StepContext) -> None:
        from watchmove.service.records.run_settings import contradictions, last_origin

        made_by = last_origin(context.store, run)
        if differing := contradictions(made_by, _given(context.settings, settings, overrides)):
            shown = [*differing[:_SHOWN], *([f"{len(differing) - _SHOWN} more"] if len(differing) > _SHOWN else [])]
            structlog.get_logger().warning("not used, as the run's record decides", run=run, settings=shown)
        try:
            body(context)
        except NotYet as error:
            from watchmove.service.watching.steps import failure_of

            if (failure := failure_of(context.store, run)) is None or not failure.message:
                raise
            raise InvalidInput(f"run {run}: its step {failure.name} failed: {failure.message}") from error

    in_context(settings, overrides, compare_and_run)


def as_recorded(context: StepContext, run: str) -> StepContext:
    """Return the context with the settings that the records of `run` state. Raises InvalidInput without records."""
    from watchmove.service.records.run_settings import settings_of_run

    return replace(context, settings=settings_of_run(context.store, run))


def _given(loaded: Settings, path: Path, overrides: list[str]) -> dict[str, Any]:
    """The settings that the user has given, as JSON values by dotted name: those of a named file and of overrides."""
    from watchmove.service.records.run_settings import flat

    named = flat(loaded.model_dump(mode="json", exclude_unset=True))
    if path != LAPTOP:
        return named
    # The user has not named the default file.
    keys = tuple(f"{word.partition('=')[0]}." for word in overrides)
    return {name: value for name, value in named.items() if f"{name}.".startswith(keys)}
