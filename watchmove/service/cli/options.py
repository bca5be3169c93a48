"""What commands have in common: options, and how they end."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from watchmove.service.runner.runner import StepContext, configure_logs, run_to_exit_code, step_context
from watchmove.service.settings.settings import load_settings

NO_METRICS = "work.metrics_port=0"
"""For a question that is asked beside a step, in its pod and with its settings: the port is taken."""

SettingsFile = Annotated[Path, typer.Option("--settings", help="YAML file of settings.")]
Overrides = Annotated[list[str] | None, typer.Option("--set", help="Override one setting: section.key=value.")]

Teacher = Annotated[
    str, typer.Option("--teacher", help="A mask network's weights, file or URI: what it sees joins what moves.")
]


def override(name: str, text: str) -> str:
    """The word that sets `name` to just this text: a folder's name may hold what YAML takes for a comment or a key."""
    return f"{name}={json.dumps(text, ensure_ascii=False)}"


def as_uri(place: str) -> str:
    """The URI of a folder, which may be one already."""
    return place if "://" in place else f"file://{Path(place).expanduser().absolute()}"


def with_teacher(overrides: list[str] | None, teacher: str) -> list[str]:
    """The overrides, and the setting that `--teacher` stands for."""
    return [*(overrides or ()), *([override("extract.teacher", teacher)] if teacher else [])]


def end(body: Callable[[], None]) -> None:
    """Run a command's body and exit with its code."""
    configure_logs()
    raise typer.Exit(run_to_exit_code(body))


def in_context(settings: Path, overrides: list[str] | None, body: Callable[[StepContext], object]) -> None:
    """Run one step's function in a context of its own."""

    def load_and_run() -> None:
        with step_context(load_settings(settings, overrides or ())) as context:
            body(context)

    end(load_and_run)
