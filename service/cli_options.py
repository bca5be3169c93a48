"""What commands have in common: options, and how they end."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from service.runner import configure_logs, run_to_exit_code

SettingsFile = Annotated[Path, typer.Option("--settings", help="YAML file of settings.")]
Overrides = Annotated[list[str] | None, typer.Option("--set", help="Override one setting: section.key=value.")]


def end(body: Callable[[], None]) -> None:
    """Run a command's body and exit with its code."""
    configure_logs()
    raise typer.Exit(run_to_exit_code(body))
