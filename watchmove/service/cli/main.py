"""The command line: parse, build, run, close."""

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.files.atomic import write_bytes
from watchmove.service.cli.files import on_files
from watchmove.service.cli.options import (
    NO_METRICS,
    Overrides,
    SettingsFile,
    Teacher,
    as_uri,
    end,
    in_context,
    override,
    with_teacher,
)
from watchmove.service.cli.runs import on_runs
from watchmove.service.cluster.submit import WorkflowState
from watchmove.service.runner.exit_codes import INVALID_INPUT
from watchmove.service.runner.runner import StepContext
from watchmove.service.settings.settings import LAPTOP, load_settings

_USAGE_ERROR = 2
"""What typer exits with when it cannot parse the arguments."""

app = typer.Typer(
    help="Videos to masks of what moved, a pretrained AlexNet, and its PASCAL VOC mAP.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

app.add_typer(on_files)
app.add_typer(on_runs)

Run = Annotated[str, typer.Option("--run", help="Name of the run.")]


def main() -> None:
    """Entry point: every failure ends in an exit code of the table; so do arguments that cannot be parsed."""
    try:
        app()
    except SystemExit as end:
        sys.exit(INVALID_INPUT.exit_code if end.code == _USAGE_ERROR else end.code)


@app.command()
def world(settings: SettingsFile = LAPTOP, overrides: Overrides = None) -> None:
    """Draw the embedded world's videos and detection set where the settings look for them."""
    from watchmove.service.steps.world import world as step

    in_context(settings, overrides, step)


@app.command()
def plan(
    run: Run,
    settings: SettingsFile = LAPTOP,
    overrides: Overrides = None,
    licences: Annotated[
        str, typer.Option(help="Only videos that may be used so: commercial,derivatives, or licences: by,by-sa.")
    ] = "",
    teacher: Teacher = "",
    outputs: Annotated[
        Path | None, typer.Option(help="Folder for `shards` and `evaluations`, lists of indexes.")
    ] = None,
) -> None:
    """List the videos, leave out what is done, deal the rest into shards."""
    from watchmove.service.records.training import evaluations_of
    from watchmove.service.steps.plan import plan as step

    def body(context: StepContext) -> None:
        record = step(context, run)
        if outputs is not None:
            cells = evaluations_of(context.settings.evaluate)
            write_bytes(outputs / "shards", json.dumps(list(range(record.shards))).encode())
            write_bytes(outputs / "evaluations", json.dumps(list(range(len(cells)))).encode())

    words = [f"plan.licences=[{licences}]"] if licences else []
    in_context(settings, [*with_teacher(overrides, teacher), *words], body)


@app.command()
def extract(
    run: Run,
    shard: Annotated[int, typer.Option(help="Index of the shard, from 0.")],
    teacher: Teacher = "",
    settings: SettingsFile = LAPTOP,
    overrides: Overrides = None,
) -> None:
    """Find what moves in the videos of one shard."""
    from watchmove.service.steps.extract import extract as step

    in_context(settings, with_teacher(overrides, teacher), lambda context: step(context, run, shard))


@app.command()
def gather(run: Run, settings: SettingsFile = LAPTOP, overrides: Overrides = None) -> None:
    """Check that extraction went well and write the dataset snapshot."""
    from watchmove.service.steps.gather import gather as step

    in_context(settings, overrides, lambda context: step(context, run))


@app.command()
def pretrain(run: Run, settings: SettingsFile = LAPTOP, overrides: Overrides = None) -> None:
    """Train an AlexNet to segment, in single frames, what was seen moving."""
    from watchmove.service.steps.pretrain import pretrain as step

    # Of several ranks on one machine, the first alone can have the port; each machine has one, as its pod announces.
    words = [*(overrides or ()), *([NO_METRICS] if os.environ.get("LOCAL_RANK", "0") != "0" else [])]
    in_context(settings, words, lambda context: step(context, run))


@app.command()
def evaluate(
    run: Run,
    evaluation: Annotated[int, typer.Option(help="Index of the evaluation, from 0.")],
    settings: SettingsFile = LAPTOP,
    overrides: Overrides = None,
) -> None:
    """Train a Fast R-CNN on one trunk and measure its average precision."""
    from watchmove.service.steps.evaluate import evaluate as step

    in_context(settings, overrides, lambda context: step(context, run, evaluation))


@app.command()
def report(run: Run, settings: SettingsFile = LAPTOP, overrides: Overrides = None) -> None:
    """Write the run's report and print where it is."""
    from watchmove.service.steps.report import report as step

    in_context(settings, overrides, lambda context: print(step(context, run)))


@app.command("run")
def run_everything(
    settings: SettingsFile = LAPTOP,
    videos: Annotated[str, typer.Option(help="Folder or URI of videos; left out, the drawn world's.")] = "",
    voc: Annotated[str, typer.Option(help="Folder or URI in VOC's layout; left out, the drawn world's.")] = "",
    store: Annotated[str, typer.Option(help="Folder or URI to write to.")] = "",
    run: Annotated[str, typer.Option("--run", help="Name of the run; left out, the time of day.")] = "",
    overrides: Overrides = None,
) -> None:
    """Run every step in one process tree: from videos to a report."""
    from watchmove.service.cli.result_table import print_summary
    from watchmove.service.steps.run import new_run_name, run_all

    places = {"videos": videos, "voc": voc, "store": store}
    words = [override(name, as_uri(place)) for name, place in places.items() if place]

    def body(context: StepContext) -> None:
        result = run_all(context, run or new_run_name(), draw_videos=not videos, draw_detection_set=not voc)
        context.progress.close()
        print_summary(result, Console())

    in_context(settings, [*words, *(overrides or ())], body)


@app.command()
def exporter(settings: SettingsFile = LAPTOP, overrides: Overrides = None) -> None:
    """Serve Prometheus metrics read from the store's records, until told to stop."""
    from watchmove.service.watching.exporter import serve_records

    def body() -> None:
        loaded = load_settings(settings, overrides or ())
        if not loaded.work.metrics_port:
            raise InvalidInput("work.metrics_port = 0 serves nothing; set it, for example --set work.metrics_port=9090")
        serve_records(loaded)

    end(body)


@app.command()
def submit(
    template: Annotated[str, typer.Option(help="WorkflowTemplate to run.")] = "watchmove",
    namespace: Annotated[str, typer.Option("--namespace", "-n", help="Where it is installed.")] = "watchmove",
    parameters: Annotated[list[str] | None, typer.Option("--parameter", "-p", help="NAME=VALUE, repeatable.")] = None,
    wait: Annotated[bool, typer.Option(help="Stay until the workflow has ended.")] = False,
) -> None:
    """Start a workflow on the cluster, as `argo submit --from workflowtemplate/NAME` does."""
    from watchmove.service.cluster.submit import submit as start

    def body() -> None:
        given = dict(_parameter(word) for word in parameters or ())
        state = start(template, namespace, given, wait, _print_state)
        if state.ended and not state.succeeded:
            why = "; ".join(state.failures) or "no pod said why"
            raise InvalidInput(f"workflow {state.name} ended as {state.phase}: {why}")

    end(body)


@app.command("settings")
def show_settings(settings: SettingsFile = LAPTOP, overrides: Overrides = None, reference: bool = False) -> None:
    """Print the settings as they are understood, or with --reference what every one of them means."""
    from watchmove.service.settings.reference import as_yaml, reference_table

    def body() -> None:
        print(reference_table() if reference else as_yaml(load_settings(settings, overrides or ())))

    end(body)


def _print_state(state: WorkflowState) -> None:
    print(f"{state.name}: {state.phase}, {state.done_pods} of {state.known_pods} pods", flush=True)


def _parameter(word: str) -> tuple[str, str]:
    name, equals, value = word.partition("=")
    if not equals or not name:
        raise InvalidInput(f"--parameter {word}: not of the form NAME=VALUE")
    return name, value
