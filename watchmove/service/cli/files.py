"""Commands on local files, which need no run and no store: segment, score, bench and settings."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from watchmove.pipeline.files.numbers import number_of, whole_number_of
from watchmove.service.cli.options import (
    AsJson,
    MotionNetwork,
    Overrides,
    SettingsFile,
    decimal,
    end,
    with_motion_network,
)
from watchmove.service.runner.progress import ProgressReport, progress_for
from watchmove.service.settings.loading import LAPTOP, load_settings

on_files = typer.Typer()
bench = typer.Typer(help="Measure quality on data with known answers.", no_args_is_help=True)
on_files.add_typer(bench, name="bench")


@on_files.command()
def segment(
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="A video, or a folder of frames.")],
    out: Annotated[Path, typer.Option(help="Folder for the soft mask of each frame and frames.jsonl.")],
    overlay: Annotated[
        bool, typer.Option("--overlay", help="Also write overlay.mp4, the video with its masks drawn in.")
    ] = False,
    motion_network: MotionNetwork = "",
    settings: SettingsFile = LAPTOP,
    overrides: Overrides = None,
) -> None:
    """Segment moving objects in one video.

    Writes a soft mask (8-bit PNG) for every frame, and frames.jsonl with the verdict on each.
    """
    # Commands import their work when they run, so that those without a network do not wait for torch to load.
    from threadpoolctl import threadpool_limits

    from watchmove.service.extraction.recipe import local_extraction
    from watchmove.service.masks.segment import segment as write_masks

    def body() -> None:
        loaded = load_settings(settings, with_motion_network(overrides, motion_network))
        # One thread for linear algebra, as in extraction's workers.
        with threadpool_limits(limits=1), local_extraction(loaded) as extract, shown_progress() as progress:

            def shown(done: int, read: int) -> None:
                # One more is expected until the end is known.
                progress.update("segment", done, max(read, done + 1), "masks of frames read")

            count = write_masks(source, out, extract, overlay=overlay, on_frame=shown)
            progress.update("segment", count, count, "masks of frames read")
        print(f"{count} frames: {out}")

    end(body)


@bench.command("masks")
def bench_of_masks(
    davis: Annotated[Path, typer.Option(help="Folder with JPEGImages/ and Annotations/, as in DAVIS.")],
    sequences: Annotated[str, typer.Option(help="Sequences to measure, separated by commas; by default all.")] = "",
    frames: Annotated[
        int,
        typer.Option(
            parser=decimal(whole_number_of, least=3, most=sys.maxsize),
            metavar="<int>",
            help="Most frames of each sequence, 3 or more.",
        ),
    ] = 10_000,
    videos: Annotated[
        Path | None, typer.Option(help="Folder of SEQUENCE.mp4 files to decode instead of JPEGImages/.")
    ] = None,
    as_json: AsJson = False,
    motion_network: MotionNetwork = "",
    settings: SettingsFile = LAPTOP,
    overrides: Overrides = None,
) -> None:
    """Score masks against annotated sequences.

    Prints the intersection over union with the annotated masks, and the time that one core needs per frame.
    """
    from threadpoolctl import threadpool_limits

    from watchmove.service.extraction.recipe import local_extraction
    from watchmove.service.masks.bench import bench_masks, print_mask_scores

    def body() -> None:
        # each once, as a sequence that is named twice must not count twice
        names = list(dict.fromkeys(name.strip() for name in sequences.split(",") if name.strip()))
        loaded = load_settings(settings, with_motion_network(overrides, motion_network))
        # One thread, because the figures are processor time of one core.
        with threadpool_limits(limits=1), local_extraction(loaded) as extract, shown_progress() as progress:

            def shown(done: int, total: int, name: str) -> None:
                progress.update("bench masks", done, total, name)

            *_, scores = bench_masks(davis, names, frames, videos, extract, shown)
        print_mask_scores(scores.facts(), Console(), as_json=as_json)

    end(body)


@on_files.command()
def score(
    voc: Annotated[Path, typer.Option(help="Folder in PASCAL VOC's layout, with Annotations/.")],
    detections: Annotated[Path, typer.Option(help="Folder with comp4_det_SPLIT_CLASS.txt files.")],
    iou: Annotated[
        float,
        typer.Option(
            parser=decimal(number_of, least=0.0, most=1.0),
            metavar="<float>",
            help="Least intersection over union of a correct detection with its object, from 0 to 1.",
        ),
    ] = 0.5,
    split: Annotated[
        str | None, typer.Option(help="Image set; by default the one in the files' names, or all images.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Score detections as PASCAL VOC does.

    Prints the average precision of each class, by the 11-point rule and by area, and the mean over classes.
    """
    from watchmove.pipeline.voc.average_precision import score_directory
    from watchmove.service.cli.result_table import print_scores

    end(lambda: print_scores(score_directory(voc, detections, iou, split), as_json=as_json))


@on_files.command("settings")
def show_settings(
    settings: SettingsFile = LAPTOP,
    overrides: Overrides = None,
    reference: Annotated[
        bool, typer.Option("--reference", help="Print a Markdown table of all settings and their meaning instead.")
    ] = False,
) -> None:
    """Print the settings or their reference.

    Without --reference, prints the file's settings with overrides applied and defaults filled in, as YAML.
    """
    from watchmove.service.settings.reference import as_yaml, reference_table

    def body() -> None:
        print(reference_table() if reference else as_yaml(load_settings(settings, overrides or ())))

    end(body)


@contextmanager
def shown_progress() -> Iterator[ProgressReport]:
    """Show progress on standard error until the block ends."""
    progress = progress_for(Console(stderr=True))
    try:
        yield progress
    finally:
        progress.close()
