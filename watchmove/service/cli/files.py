"""Commands on files that lie here: no run, no store."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from threadpoolctl import threadpool_limits

from watchmove.service.cli.options import Overrides, SettingsFile, Teacher, end, with_teacher
from watchmove.service.extraction.recipe import local_extraction
from watchmove.service.settings.settings import LAPTOP, load_settings

on_files = typer.Typer()
bench = typer.Typer(help="Measure on data whose answers are known.", no_args_is_help=True)
on_files.add_typer(bench, name="bench")


@on_files.command()
def segment(
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="A video, or a folder of frames.")],
    out: Annotated[Path, typer.Option(help="Folder for a soft mask of each frame and frames.jsonl.")],
    overlay: Annotated[bool, typer.Option("--overlay", help="Write overlay.mp4 too, to look at.")] = False,
    teacher: Teacher = "",
    settings: SettingsFile = LAPTOP,
    overrides: Overrides = None,
) -> None:
    """Find what moves in every frame of one video."""
    from watchmove.service.cli.segment import segment as write_masks

    def body() -> None:
        loaded = load_settings(settings, with_teacher(overrides, teacher))
        with threadpool_limits(limits=1), local_extraction(loaded) as extract:
            count = write_masks(source, out, extract, overlay=overlay)
        print(f"{count} frames: {out}")

    end(body)


@bench.command("masks")
def bench_of_masks(
    davis: Annotated[Path, typer.Option(help="Folder with JPEGImages/ and Annotations/.")],
    sequences: Annotated[str, typer.Option(help="Only these, as a list.")] = "",
    frames: Annotated[int, typer.Option(min=3, help="Only so many frames of each.")] = 10_000,
    videos: Annotated[Path | None, typer.Option(help="Folder of SEQUENCE.mp4 to decode instead of JPEGImages.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    teacher: Teacher = "",
    settings: SettingsFile = LAPTOP,
    overrides: Overrides = None,
) -> None:
    """Measure masks on sequences whose true masks are known, and what they cost on one core."""
    from watchmove.service.cli.mask_bench import bench_masks, print_mask_scores

    def body() -> None:
        names = [name.strip() for name in sequences.split(",") if name.strip()]
        loaded = load_settings(settings, with_teacher(overrides, teacher))
        with threadpool_limits(limits=1), local_extraction(loaded) as extract:
            *_, scores = bench_masks(davis, names, frames, videos, extract)
        print_mask_scores(scores.facts(), Console(), as_json=as_json)

    end(body)


@on_files.command()
def score(
    voc: Annotated[Path, typer.Option(help="Folder with Annotations/.")],
    detections: Annotated[Path, typer.Option(help="Folder with comp4_det_SPLIT_CLASS.txt files.")],
    iou: Annotated[float, typer.Option(min=0.0, max=1.0, help="Overlap at which a detection counts.")] = 0.5,
    split: Annotated[str | None, typer.Option(help="Image set; left out, the files' own, else all images.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Score anybody's detections as PASCAL VOC does."""
    from watchmove.pipeline.voc.average_precision import score_directory
    from watchmove.service.cli.result_table import print_scores

    end(lambda: print_scores(score_directory(voc, detections, iou, split), as_json=as_json))
