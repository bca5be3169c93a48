"""Commands that write files from runs: pages of two runs compared and of one video, and weights of a motion network."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from watchmove.pipeline.files.numbers import whole_number_of
from watchmove.pipeline.files.text_lines import printable
from watchmove.pipeline.settings import LARGEST_SEED
from watchmove.service.cli.options import (
    NO_METRICS,
    AsJson,
    Overrides,
    RunArgument,
    SettingsFile,
    StorePlace,
    decimal,
    in_context,
    in_run,
    with_store,
)
from watchmove.service.runner.narrow_tables import cell
from watchmove.service.runner.runner import StepContext
from watchmove.service.settings.loading import LAPTOP

if TYPE_CHECKING:
    from watchmove.service.report.run_comparison.differences import RunComparison

on_compare = typer.Typer()


@on_compare.command()
def compare(
    run_a: Annotated[str, typer.Argument(metavar="RUN_A", help="Name of a run.")],
    run_b: Annotated[str, typer.Argument(metavar="RUN_B", help="Name of another run of the same store.")],
    out: Annotated[
        Path | None,
        typer.Option(help="File of the page.", show_default="compare-RUN_A-RUN_B.html in the current folder"),
    ] = None,
    store: StorePlace = "",
    settings: SettingsFile = LAPTOP,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Compare two runs as a table and as a page.

    Prints what differs and what came of it: counts, the agreement of the masks, and average precision. The page has all
    settings that differ, and the frames that differ most with both masks. A run need not be complete: what one lacks is
    said.
    """
    from watchmove.service.records.run_settings import last_origin
    from watchmove.service.report.run_comparison.compare import compare_runs
    from watchmove.service.report.run_comparison.page import check_place, write_page

    def body(context: StepContext) -> None:
        last_origin(context.store, run_b)  # so that a name that is no run's is never part of a path
        page = out or Path(f"compare-{run_a}-{run_b}.html")
        check_place(page)
        found, frames = compare_runs(context.store, context.scratch, run_a, run_b)
        write_page(page, found, frames)
        print_comparison(found, page, Console(), as_json=as_json)

    in_run(run_a, settings, [*with_store(overrides, store), NO_METRICS], body)


@on_compare.command()
def show(
    name: Annotated[
        str,
        typer.Argument(metavar="VIDEO", help="Key, URI or id of a video that `watchmove videos` lists."),
    ],
    run: Annotated[
        str, typer.Option(help="Name of the run to show.", show_default="of the runs that list the video, the last")
    ] = "",
    out: Annotated[
        Path | None, typer.Option(help="Folder of the page.", show_default="show-VIDEO in the current folder")
    ] = None,
    video: Annotated[
        bool, typer.Option("--video/--no-video", help="Read the video again, and write an MP4 with its masks.")
    ] = True,
    store: StorePlace = "",
    settings: SettingsFile = LAPTOP,
    overrides: Overrides = None,
) -> None:
    """Show what became of one video.

    Writes a page with pictures, and an MP4. The page has shots, windows and sampled frames on a time line, the kept
    frames with mask and trimap, and for each sampled frame the thresholds that it met. It needs no scripts. If the
    video cannot be read again, there is no MP4, and the page says why.
    """
    from watchmove.service.explanation.video_page.show import show as write_folder

    def body(context: StepContext) -> None:
        written = write_folder(context, name, run, out, movie=video)
        lines = [f"page: {written.page}", f"video: {written.movie}" if written.movie else f"no MP4: {written.without}"]
        for line in lines:
            # Not broken into lines, so that the path can be copied.
            Console().print(printable(line), soft_wrap=True, highlight=False, markup=False)

    in_context(settings, [*with_store(overrides, store), NO_METRICS], body)


def print_comparison(found: "RunComparison", page: Path, console: Console, *, as_json: bool) -> None:
    """Print what differs as two sentences and a table, and the path of the page; or all facts as JSON."""
    if as_json:
        print(json.dumps(found.model_dump(mode="json") | {"page": str(page)}, indent=1))
        return
    for line in found.sentences:
        console.print(printable(line), highlight=False, markup=False)
    for letter, run in (("A", found.a), ("B", found.b)):
        for line in run.missing:
            console.print(printable(f"run {letter} {line}"), highlight=False, markup=False)
    console.print(_table(found))
    for letter, run in (("A", found.a), ("B", found.b)):
        if run.champion:
            console.print(printable(f"backbone of {letter}: {run.champion}"), highlight=False, markup=False)
    # Not broken into lines, so that the path can be copied.
    console.print(f"page: {printable(str(page))}", soft_wrap=True, highlight=False, markup=False)


def _table(found: "RunComparison") -> Table:
    table = Table()
    for heading in ("", "A", "B", "B − A"):
        table.add_column(heading, justify="right" if heading else "left", overflow="fold")
    for row in found.counts:
        change = "–" if row.difference is None else f"{row.difference:+,}" if row.difference else "0"
        table.add_row(cell(row.name), _count(row.a), _count(row.b), change)
    if found.masks is not None and found.masks.mean_iou is not None:
        table.add_row("mean IoU of masks", "", "", f"{found.masks.mean_iou:.3f}")
    for figure in found.figures:
        frozen = f", {figure.freeze_through} frozen" if figure.freeze_through else ""
        means = [f"{spread.mean:.3f}" if spread else "–" for spread in (figure.a, figure.b)]
        change = "–" if figure.difference is None else f"{figure.difference:+z.3f}"
        table.add_row(cell(f"mAP {figure.initialisation}{frozen}"), *means, change)
    return table


def _count(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"


@on_compare.command()
def teach(
    run: RunArgument,
    out: Annotated[Path, typer.Option(help="File of the weights, which ends in .safetensors.")],
    seed: Annotated[
        int,
        typer.Option(
            help="Seed of the training.",
            parser=decimal(whole_number_of, least=0, most=LARGEST_SEED),
            metavar="<int>",
        ),
    ] = 0,
    steps: Annotated[
        int,
        typer.Option(help="Steps of the training.", parser=decimal(whole_number_of, least=10), metavar="<int>"),
    ] = 900,
    store: StorePlace = "",
    settings: SettingsFile = LAPTOP,
    overrides: Overrides = None,
) -> None:
    """Train a motion network on a run's frames.

    Writes the weights of a small network that sees motion and picture and has learnt from the run's own masks, for
    --motion-network of later runs. It takes minutes of one core; stopped before the end, it writes nothing.
    """
    from watchmove.service.training.motion_network import teach as train

    def body(context: StepContext) -> None:
        done = train(context, run, out, seed, steps)
        context.progress.close()
        print(done)

    in_run(run, settings, [*with_store(overrides, store), NO_METRICS], body)
