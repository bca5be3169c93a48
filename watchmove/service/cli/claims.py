"""The command that measures the claims on a world, all cells one after another or a single one in a pod."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from watchmove.pipeline.errors import InvalidInput
from watchmove.service.cli.options import WHOLE_NUMBER, Overrides, as_uri, in_context, override, write_outputs
from watchmove.service.records import layout
from watchmove.service.runner.narrow_tables import print_table
from watchmove.service.runner.runner import StepContext
from watchmove.service.settings.loading import LAPTOP

if TYPE_CHECKING:
    from watchmove.service.claims.rows import Claim
    from watchmove.service.claims.series import Series

on_claims = typer.Typer()

_DRAWN, _REAL, _QUICK = (LAPTOP.with_name(f"{name}.yaml") for name in ("claims", "claims-real", "claims-quick"))
"""Settings of the series on the drawn world, on the real one, and of a short one on either."""

_REAL_PLACES = ("videos=file://out/claims/real/videos", "truth=file://out/claims/real/truth")
"""Where the real world of a short series is put together."""

_FILE_COLUMNS = 120
"""Width of the table in a file or a pipe, in letters."""


@on_claims.command()
def claims(
    quick: Annotated[
        bool, typer.Option("--quick", help="A tenth of the size, in minutes; figures say little.")
    ] = False,
    videos: Annotated[
        str, typer.Option("--videos", help="Folder or URI of videos: measure on the real world, not the drawn one.")
    ] = "",
    frames: Annotated[
        str,
        typer.Option(
            "--frames", help="With --videos: folder or URI with JPEGImages/ and Annotations/ of sequences, as in DAVIS."
        ),
    ] = "",
    voc: Annotated[
        str, typer.Option("--voc", help="With --videos: folder or URI with splits train, val and test, as in VOC.")
    ] = "",
    settings: Annotated[
        Path | None, typer.Option("--settings", help="YAML file of settings; by default those of the world.")
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option("--seeds", min=2, metavar="<int>", help="Number of seeds; by default three, with --quick two."),
    ] = None,
    cell: Annotated[
        int | None,
        typer.Option("--cell", parser=WHOLE_NUMBER, metavar="<int>", help="Do this cell alone, counted from 0."),
    ] = None,
    outputs: Annotated[
        Path | None, typer.Option(help="Folder to write JSON lists to: the indexes of the cells of each stage.")
    ] = None,
    overrides: Overrides = None,
) -> None:
    """Measure the claims about features from motion.

    Runs a series of pretrainings and detectors, prints a row for each comparison of a claim, and writes a page with
    figures. If interrupted and run again, it continues; finished cells are not repeated. On the real world, the
    detectors are trained on the split train and tested on test; val gives the classes of class supervision.
    """
    given = _given(videos, frames, voc)

    def body(context: StepContext) -> None:
        from watchmove.service.claims.series import series_of

        _do(context, series_of(context.settings, given, quick=quick, seeds=seeds or 0), cell, outputs)

    preset = _QUICK if quick else _DRAWN if given is None else _REAL
    places: list[str] = []
    if given is not None:
        # the short series has the places of the drawn world
        places = [*(_REAL_PLACES if quick and settings is None else ()), override("voc", as_uri(voc))]
    in_context(settings or preset, [*places, *(overrides or ())], body)


def _given(videos: str, frames: str, voc: str) -> tuple[str, str] | None:
    """The URIs of the real world's videos and of its annotated frames; None for the drawn world."""
    if not (videos or frames or voc):
        return None
    if not (videos and frames and voc):
        raise typer.BadParameter("the real world needs all of --videos, --frames and --voc; name the others too")
    return as_uri(videos), as_uri(frames)


def _do(context: StepContext, series: "Series", cell: int | None, outputs: Path | None) -> None:
    """List the cells, do one of them, or do all."""
    from watchmove.service.claims.cell_records import do_cell
    from watchmove.service.claims.cells import cells_of
    from watchmove.service.claims.measurement import STAGES, make_claims

    cells = cells_of(series)
    if outputs is not None:
        stages = (*STAGES, "page")
        write_outputs(outputs, {stage: [n for n, one in enumerate(cells) if one.stage == stage] for stage in stages})
    elif cell is None:
        _measure(context, series)
    elif cell == len(cells) - 1:
        make_claims(context, series)
    elif 0 <= cell < len(cells):
        do_cell(context, series, cells[cell])
    else:
        raise InvalidInput(f"cell {cell}: the series has {len(cells)}, counted from 0; name one of them")


def _measure(context: StepContext, series: "Series") -> None:
    """Do all cells, print the claims, and say where their page is."""
    from watchmove.service.claims.cell_records import CellRecord, series_id
    from watchmove.service.claims.measurement import measure

    def show(done: int, total: int, record: CellRecord, estimate: float | None) -> None:
        expected = "" if estimate is None else f", {estimate:.0f} s expected"
        context.progress.update("claims", done, total, f"{record.name}: {record.seconds:.0f} s{expected}")

    found = measure(context, series, show)
    context.progress.close()
    _print(found.claims, found.forecast, Console() if sys.stdout.isatty() else Console(width=_FILE_COLUMNS))
    typer.echo(f"page: {context.store.uri}/{layout.claims_page(series_id(series))}")


def _print(claims: tuple["Claim", ...], forecast: str, console: Console) -> None:
    """Print one row for each comparison of each claim."""
    table = Table(title="claims")
    for heading in ("claim", "compared", "figures", "difference, 95 % interval", "verdict", "enough"):
        table.add_column(heading)
    for claim in claims:
        for number, one in enumerate(claim.comparisons):
            interval = "–" if one.low is None else f"{one.difference:+z.3f}, {one.low:+z.3f} to {one.high:+z.3f}"
            enough = "–" if one.enough is None else str(one.enough)
            name = claim.text if number == 0 else ""
            table.add_row(name, one.what, f"{one.higher:.3f}, {one.lower:.3f}", interval, one.verdict, enough)
    print_table(console, table)
    console.print(f"more frames: {forecast}", soft_wrap=True, highlight=False, markup=False)
