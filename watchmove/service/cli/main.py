"""The command line's entry point, and one command for each step of a run."""

import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from watchmove.service.cli.claims import on_claims
from watchmove.service.cli.cluster import on_cluster
from watchmove.service.cli.command_groups import GroupedCommands
from watchmove.service.cli.compare import on_compare
from watchmove.service.cli.doctor import on_doctor
from watchmove.service.cli.files import on_files
from watchmove.service.cli.forget import on_forget
from watchmove.service.cli.options import (
    NO_METRICS,
    EvaluationIndex,
    MotionNetwork,
    Overrides,
    ReportFolder,
    Run,
    SettingsFile,
    Shards,
    SingleFile,
    StorePlace,
    VideosPlace,
    VocPlace,
    as_recorded,
    as_uri,
    in_context,
    in_run,
    override,
    with_motion_network,
    with_store,
    write_outputs,
)
from watchmove.service.cli.runs import on_runs
from watchmove.service.runner.exit_codes import INVALID_INPUT
from watchmove.service.runner.logs import LogForm, configure_logs, escape_what_cannot_be_encoded
from watchmove.service.runner.runner import StepContext, report_error
from watchmove.service.settings.loading import LAPTOP

_USAGE_ERROR = 2
"""The exit code that typer uses when it cannot parse the arguments, which are invalid input."""

app = typer.Typer(
    cls=GroupedCommands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # `run_to_exit_code` reports them
    rich_markup_mode=None,
)

for commands in (on_files, on_runs, on_compare, on_forget, on_cluster, on_claims, on_doctor):
    app.add_typer(commands)


def main() -> None:
    """Run the command that the arguments name; exit with a code of `exit_codes.py`, as Argo retries by these alone."""
    escape_what_cannot_be_encoded()
    try:
        app()
    except SystemExit as end:
        sys.exit(INVALID_INPUT.exit_code if end.code == _USAGE_ERROR else end.code)
    except Exception as error:  # noqa: BLE001 (of a command's imports, before its body)
        sys.exit(report_error(error))


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"watchmove {version('watchmove')}")
        raise typer.Exit


@app.callback()
def program(
    _version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
    log: Annotated[
        LogForm,
        typer.Option(
            envvar="WATCHMOVE_LOG",
            help="Form of the log on standard error: auto is JSON lines in a pod of Kubernetes, and text elsewhere.",
        ),
    ] = "auto",
) -> None:
    """Segment moving objects in videos, pretrain a network on the masks, and measure it by object detection."""
    configure_logs(log)


@app.command()
def world(settings: SettingsFile = LAPTOP, overrides: Overrides = None) -> None:
    """Draw synthetic videos and a detection set.

    They are written to the folders that the settings videos and voc name.
    """
    from watchmove.service.steps.world import world as step

    in_context(settings, overrides, step)


@app.command()
def plan(
    run: Run,
    settings: SettingsFile = LAPTOP,
    overrides: Overrides = None,
    licences: Annotated[
        str, typer.Option(help="Required permissions (commercial,derivatives) or accepted licences (by,by-sa).")
    ] = "",
    motion_network: MotionNetwork = "",
    outputs: Annotated[
        Path | None,
        typer.Option(help="Folder to write two JSON lists to: `shards`, each for one pod, and `evaluations`."),
    ] = None,
) -> None:
    """Divide new videos into shards.

    Lists the videos and leaves out those that have an outcome under the same extraction settings.
    """
    from watchmove.service.planning.sharding import consecutive_shards
    from watchmove.service.records.training import evaluations_of
    from watchmove.service.steps.plan import plan as step

    def body(context: StepContext) -> None:
        shards = consecutive_shards(step(context, run).shards, context.settings.work.max_extract_pods)
        write_outputs(outputs, {"shards": shards, "evaluations": [*range(len(evaluations_of(context.settings)))]})

    words = [f"plan.licences=[{licences}]"] if licences else []
    in_context(settings, [*with_motion_network(overrides, motion_network), *words], body)


@app.command()
def extract(
    run: Run,
    shard: Shards,
    motion_network: MotionNetwork = "",
    settings: SettingsFile = LAPTOP,
    overrides: Overrides = None,
) -> None:
    """Segment moving objects in videos of one shard.

    Writes frames with their masks; if interrupted and run again, it resumes after the last commit.
    """
    from watchmove.service.steps.extract import extract_shards as step

    in_context(settings, with_motion_network(overrides, motion_network), lambda context: step(context, run, shard))


@app.command()
def gather(
    run: Run,
    settings: SettingsFile = LAPTOP,
    overrides: Overrides = None,
    outputs: Annotated[
        Path | None, typer.Option(help="Folder to write the file `train` to: `true` if enough frames are new.")
    ] = None,
) -> None:
    """Check extraction and write the dataset.

    Fails if too many videos failed or too few frames were kept; otherwise writes the dataset snapshot.
    """
    from watchmove.service.records.datasets import gathered_of
    from watchmove.service.steps.gather import gather as step

    def body(context: StepContext) -> None:
        step(context, run)
        if no_training := gathered_of(context.store, run).no_training:
            print(f"no training: {no_training}")
        write_outputs(outputs, {"train": not no_training})

    in_context(settings, overrides, body)


@app.command()
def pretrain(run: Run, settings: SettingsFile = LAPTOP, overrides: Overrides = None) -> None:
    """Pretrain the network on the dataset's masks.

    The network learns to predict, from a single frame, the mask that motion gave.
    """
    from watchmove.service.steps.pretrain import pretrain as step

    # Several ranks may share one machine, and only one process can hold its metrics port: the first rank serves it.
    words = [*(overrides or ()), *([NO_METRICS] if os.environ.get("LOCAL_RANK", "0") != "0" else [])]
    in_context(settings, words, lambda context: step(context, run))


@app.command()
def evaluate(
    run: Run, evaluation: EvaluationIndex, settings: SettingsFile = LAPTOP, overrides: Overrides = None
) -> None:
    """Train and score a detector on one trunk.

    The detector is Fast R-CNN; its score is the average precision on the detection set.
    """
    from watchmove.service.steps.evaluate import evaluate as step

    in_context(settings, overrides, lambda context: step(context, run, evaluation))


@app.command()
def report(
    run: Run,
    store: StorePlace = "",
    single_file: SingleFile = False,
    folder: ReportFolder = None,
    settings: SettingsFile = LAPTOP,
    overrides: Overrides = None,
) -> None:
    """Write the run's report and print its URI.

    The report is a folder with an HTML page. The settings are those that the run's records state.
    """
    from watchmove.service.steps.report import report as step

    def body(context: StepContext) -> None:
        print(step(as_recorded(context, run), run, single_file=single_file, folder=folder))

    in_run(run, settings, with_store(overrides, store), body)


@app.command("run")
def run_everything(
    settings: SettingsFile = LAPTOP,
    videos: VideosPlace = "",
    voc: VocPlace = "",
    store: Annotated[str, typer.Option(help="Folder or URI to write to; by default the setting store.")] = "",
    run: Annotated[str, typer.Option("--run", help="Name; by default an interrupted run's, or the present time.")] = "",
    overrides: Overrides = None,
) -> None:
    """Run every step, from videos to a report.

    All steps run on this machine, one after another; a run of the same name resumes where it was interrupted, as does
    the last run without --run if it was interrupted and the settings and the videos are still the same.
    """
    from watchmove.service.cli.result_table import print_summary
    from watchmove.service.steps.run import run_all

    places = {"videos": videos, "voc": voc, "store": store}
    words = [override(name, as_uri(place)) for name, place in places.items() if place]

    def body(context: StepContext) -> None:
        result = run_all(context, run, draw_videos=not videos, draw_detection_set=not voc)
        context.progress.close()  # a live line would break up the table
        print_summary(result, context.store.uri, Console())

    in_context(settings, [*words, *(overrides or ())], body)
