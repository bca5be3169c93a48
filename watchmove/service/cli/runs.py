"""Commands on a run that exists: status, results, retry, export; and a run made from COCO's annotations."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from watchmove.service.cli.options import NO_METRICS, Overrides, SettingsFile, as_uri, in_context, override
from watchmove.service.runner.runner import StepContext
from watchmove.service.settings.settings import LAPTOP

on_runs = typer.Typer()


@on_runs.command()
def status(
    run: Annotated[str, typer.Argument(help="Name of the run.")],
    settings: SettingsFile = LAPTOP,
    overrides: Overrides = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say how far a run is, what became of its videos and why, how fast it goes, and when it should end."""
    from watchmove.service.cli.status_table import print_status
    from watchmove.service.watching.status import status as ask

    def body(context: StepContext) -> None:
        print_status(ask(context.store, run, context.settings.plan), Console(), as_json=as_json)

    in_context(settings, [*(overrides or ()), NO_METRICS], body)


@on_runs.command()
def retry(
    run: Annotated[str, typer.Argument(help="Name of the run.")],
    outcomes: Annotated[str, typer.Option(help="Which failed videos, as a list.")] = "missing,timed-out",
    reasons: Annotated[str, typer.Option(help="Only those that failed for these reasons, as a list.")] = "",
    as_run: Annotated[str, typer.Option("--as", help="Name of the new run; left out, RUN-retry-1 and so on.")] = "",
    settings: SettingsFile = LAPTOP,
    overrides: Overrides = None,
) -> None:
    """Plan a run's failed videos again, as a run of its own; nothing that is done is repeated."""
    from watchmove.service.cli.status_table import print_retry
    from watchmove.service.planning.retry import retry as plan_again

    words = [*(overrides or ()), NO_METRICS]
    in_context(settings, words, lambda context: print_retry(*plan_again(context, run, outcomes, reasons, as_run)))


@on_runs.command()
def results(
    run: Annotated[str, typer.Argument(help="Name of the run.")],
    settings: SettingsFile = LAPTOP,
    overrides: Overrides = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print a reported run's average precision over seeds, with its spread."""
    from watchmove.service.cli.result_table import print_result
    from watchmove.service.records import layout
    from watchmove.service.records.record import need
    from watchmove.service.report.result import RunResult

    def body(context: StepContext) -> None:
        result = need(context.store, layout.run_record(run, "result"), RunResult, "report")
        print_result(result, Console(), as_json=as_json)

    in_context(settings, [*(overrides or ()), NO_METRICS], body)


@on_runs.command("import-coco")
def import_coco(
    run: Annotated[str, typer.Option("--run", help="Name of the run.")],
    annotations: Annotated[Path, typer.Option(help="COCO's instances, a JSON file here.")],
    images: Annotated[str, typer.Option(help="Folder or URI of the pictures.")],
    settings: SettingsFile = LAPTOP,
    overrides: Overrides = None,
) -> None:
    """Write people's masks of pictures as a run's shards, in place of plan and extract; gather goes on from there."""
    from watchmove.service.extraction.coco_import import import_coco as write_shards

    words = [*(overrides or ()), override("videos", as_uri(images)), NO_METRICS]
    in_context(settings, words, lambda context: write_shards(context, run, annotations))


@on_runs.command()
def export(
    run: Annotated[str, typer.Argument(help="Name of the run.")],
    out: Annotated[Path, typer.Option(help="Folder for the weights and their model card.")],
    settings: SettingsFile = LAPTOP,
    overrides: Overrides = None,
) -> None:
    """Write a run's backbone for others: safetensors, also as torchvision names them, and a model card."""
    from watchmove.service.report.export import export as write_files

    words = [*(overrides or ()), NO_METRICS]
    in_context(settings, words, lambda context: print(write_files(context, run, out)))
