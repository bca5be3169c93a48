"""Commands that read existing runs, from `runs` to `export`, and the import of COCO annotations as a run."""

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from watchmove.pipeline.errors import InvalidInput
from watchmove.service.cli.options import (
    NO_METRICS,
    WHOLE_NUMBER,
    AsJson,
    Overrides,
    Run,
    RunArgument,
    SettingsFile,
    StorePlace,
    as_uri,
    in_context,
    in_run,
    override,
    with_store,
)
from watchmove.service.runner.runner import StepContext
from watchmove.service.settings.loading import LAPTOP

on_runs = typer.Typer()


@on_runs.command()
def status(
    run: RunArgument,
    store: StorePlace = "",
    settings: SettingsFile = LAPTOP,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Show a run's progress and outcomes.

    Prints how many videos ended with each outcome and reason, the speed, the states of the run's steps, and when its
    extraction, its pretrainings and its evaluations are expected to end.
    """
    from watchmove.service.cli.status_table import print_status
    from watchmove.service.watching.status import status as ask

    def body(context: StepContext) -> None:
        print_status(ask(context.store, run), Console(), as_json=as_json)

    in_run(run, settings, [*with_store(overrides, store), NO_METRICS], body)


@on_runs.command()
def runs(
    store: StorePlace = "",
    settings: SettingsFile = LAPTOP,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """List the runs of a store.

    Prints each run's state, the age of its last record, its videos and frames, and its average precision.
    """
    from watchmove.service.cli.status_table import print_runs
    from watchmove.service.watching.runs import runs_of

    def body(context: StepContext) -> None:
        found = list(runs_of(context.store))
        if found or as_json:
            print_runs(found, time.time(), Console(), as_json=as_json)
        else:
            # a mistyped place is a store without runs
            print(f"no runs in {context.store.uri}")

    in_context(settings, [*with_store(overrides, store), NO_METRICS], body)


@on_runs.command()
def videos(
    run: RunArgument,
    outcomes: Annotated[
        str, typer.Option("--outcome", help="Only videos with these outcomes, separated by commas.")
    ] = "",
    reasons: Annotated[str, typer.Option("--reason", help="Only videos with these reasons, separated by commas.")] = "",
    store: StorePlace = "",
    settings: SettingsFile = LAPTOP,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """List a run's videos by how they ended.

    Prints a line for each: outcome, reason, kept frames, name and detail, separated by tabs; with --json, its record.
    """
    from watchmove.service.cli.status_table import print_video
    from watchmove.service.planning.retry import words_of
    from watchmove.service.watching.videos import ended_videos

    def body(context: StepContext) -> None:
        for video in ended_videos(context.store, run, words_of(outcomes), words_of(reasons)):
            print_video(video, as_json=as_json)

    in_run(run, settings, [*with_store(overrides, store), NO_METRICS], body)


@on_runs.command()
def why(
    run: RunArgument,
    name: Annotated[
        str,
        typer.Argument(
            metavar="VIDEO_OR_FRAME",
            help="Key, URI or id of a video that `watchmove videos` lists; with -000012, its frame 12.",
        ),
    ],
    store: StorePlace = "",
    settings: SettingsFile = LAPTOP,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Say why a video or a frame was kept or rejected.

    Prints how the video ended, and for each examined frame the thresholds that it met, with the measured values, the
    margins, and the settings that would have kept it.
    """
    from watchmove.service.cli.answer_lines import print_answer
    from watchmove.service.explanation.answer import why as ask

    def body(context: StepContext) -> None:
        print_answer(ask(context.store, context.scratch, run, name), as_json=as_json)

    in_run(run, settings, [*with_store(overrides, store), NO_METRICS], body)


@on_runs.command()
def retry(
    run: RunArgument,
    outcomes: Annotated[
        str, typer.Option(help="Outcomes of the videos to retry, separated by commas.")
    ] = "missing,timed-out",
    reasons: Annotated[
        str, typer.Option(help="Retry only videos that failed for these reasons, separated by commas.")
    ] = "",
    as_run: Annotated[
        str, typer.Option("--as", help="Name of the new run; by default RUN-retry-1, RUN-retry-2 and so on.")
    ] = "",
    store: StorePlace = "",
    settings: SettingsFile = LAPTOP,
    overrides: Overrides = None,
) -> None:
    """Plan a new run of a run's failed videos.

    Videos that ended otherwise keep their outcomes and are not extracted again.
    """
    from watchmove.service.cli.status_table import print_retry
    from watchmove.service.planning.retry import retry as plan_again

    words = [*with_store(overrides, store), NO_METRICS]

    def body(context: StepContext) -> None:
        made = plan_again(context.settings, context.store, context.scratch, run, outcomes, reasons, as_run)
        print_retry(*made)

    in_context(settings, words, body)


@on_runs.command()
def results(
    run: RunArgument,
    store: StorePlace = "",
    settings: SettingsFile = LAPTOP,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Print a run's average precision over seeds.

    The run must have a report. Each row gives the mean, the standard deviation and a 95 % interval.
    """
    from watchmove.service.cli.result_table import print_result
    from watchmove.service.report.result import result_of

    def body(context: StepContext) -> None:
        print_result(result_of(context.store, run), Console(), as_json=as_json)

    in_run(run, settings, [*with_store(overrides, store), NO_METRICS], body)


@on_runs.command("import-coco")
def import_coco(
    run: Run,
    annotations: Annotated[Path, typer.Option(help="Local JSON file of COCO instance annotations.")],
    images: Annotated[str, typer.Option(help="Folder or URI of the images.")],
    settings: SettingsFile = LAPTOP,
    overrides: Overrides = None,
) -> None:
    """Import COCO masks as a run's shards.

    This replaces plan and extract for a run of human-annotated masks; continue with gather.
    """
    from watchmove.service.steps.import_coco import import_coco as write_shards

    # Later words take precedence: --images replaces `videos` of the settings file.
    words = [*(overrides or ()), override("videos", as_uri(images)), NO_METRICS]

    def body(context: StepContext) -> None:
        if "://" not in images and not Path(images).expanduser().is_dir():
            state = "is a file" if Path(images).expanduser().exists() else "no such folder"
            raise InvalidInput(f"{images}: {state}; name the folder of the images")
        write_shards(context, run, annotations)

    in_context(settings, words, body)


@on_runs.command()
def export(
    run: RunArgument,
    out: Annotated[Path, typer.Option(help="Folder for the weights and their model card.")],
    seed: Annotated[
        int | None,
        typer.Option(
            help="Seed of the backbone's pretraining, one of pretrain.seeds.",
            show_default="the first",
            parser=WHOLE_NUMBER,
        ),
    ] = None,
    store: StorePlace = "",
    settings: SettingsFile = LAPTOP,
    overrides: Overrides = None,
) -> None:
    """Export a run's backbone for other tools.

    Writes the weights as safetensors, an AlexNet's also under the names of torchvision, and a model card.
    """
    from watchmove.service.report.export import export as write_files

    words = [*with_store(overrides, store), NO_METRICS]

    def body(context: StepContext) -> None:
        def shown(done: int, total: int, what: str) -> None:
            context.progress.update("export", done, total, what)

        card = write_files(context.store, context.scratch, run, out, seed, shown)
        context.progress.close()
        print(card)

    in_run(run, settings, words, body)
