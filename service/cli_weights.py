"""Commands on trained weights."""

from pathlib import Path
from typing import Annotated

import typer

from service.cli_options import NO_METRICS, Overrides, SettingsFile, in_context
from service.settings import LAPTOP

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

    words = [*(overrides or ()), NO_METRICS]
    in_context(settings, words, lambda context: print(write_files(context, run, out)))
