"""Commands on trained weights."""

from pathlib import Path
from typing import Annotated

import typer

from service.cli_options import Overrides, SettingsFile, end
from service.runner import step_context
from service.settings import LAPTOP, load_settings

on_weights = typer.Typer()


@on_weights.command()
def export(
    run: Annotated[str, typer.Argument(help="Name of the run.")],
    out: Annotated[Path, typer.Option(help="Folder for the weights and their model card.")],
    settings: SettingsFile = LAPTOP,
    overrides: Overrides = None,
) -> None:
    """Write a run's backbone for others: safetensors, also as torchvision names them, and a model card."""
    from service.export import export as write_files

    def body() -> None:
        loaded = load_settings(settings, [*(overrides or ()), "work.metrics_port=0"])
        with step_context(loaded) as context:
            print(write_files(context, run, out))

    end(body)
