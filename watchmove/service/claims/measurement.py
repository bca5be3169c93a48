"""The measurement of a series: every cell that is not done, then the claims from the records of all cells."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean

from watchmove.pipeline.pretraining.mask_network_file import load_mask_network
from watchmove.pipeline.statistics.forecast import fit_frames, forecast
from watchmove.service.claims.cell_processes import do_cells
from watchmove.service.claims.cell_records import CellRecord, do_cell, need_cell, series_id
from watchmove.service.claims.cells import Cell, Stage, cells_of
from watchmove.service.claims.mask_iou import HeldOutVideo, average_mask, held_out_crops, whole_frames
from watchmove.service.claims.page import held_out_pictures, page_of
from watchmove.service.claims.rows import (
    FEW_IMAGES,
    Claim,
    compared_in_pairs,
    detection_claims,
    frozen_key,
    growth_claim,
)
from watchmove.service.claims.series import MASKS, Series, SeriesRun
from watchmove.service.records import layout
from watchmove.service.records.datasets import DatasetRecord, dataset_of
from watchmove.service.records.plans import PlanRecord
from watchmove.service.records.record import Record, need, origin
from watchmove.service.records.training import BackboneRecord
from watchmove.service.runner.runner import StepContext
from watchmove.service.training.backbone_files import fetch_mask_network

STAGES: tuple[Stage, ...] = ("frames", "pretrain", "detect")
"""The stages of the cells before the page, each of which needs the one before it."""


class ClaimsRecord(Record):
    """The claims of a series with their figures.

    figures: 11-point mAPs over seeds under the keys of `detection_claims`; sizes: frames of each run; growth: frames
    and mAP of each detector behind the growth; seconds: those of each cell.
    """

    world: str
    claims: tuple[Claim, ...]
    figures: dict[str, tuple[float, ...]]
    sizes: dict[str, int]
    growth: tuple[tuple[int, float], ...]
    forecast: str
    seconds: dict[str, float]


def measure(
    context: StepContext, series: Series, on_cell: Callable[[int, int, CellRecord, float | None], None]
) -> ClaimsRecord:
    """Do all cells that are not done, stage by stage, and return the claims.

    `on_cell` gets the number of finished cells, that of all, the last record, and the seconds that were expected of it:
    the mean of the cells of its stage before it, None for the first. Raises the errors of the cells.
    """
    cells = cells_of(series)[:-1]
    done = 0
    for stage in STAGES:
        own = [cell for cell in cells if cell.stage == stage]
        seconds: list[float] = []
        # The frames use all cores themselves.
        records = (do_cell(context, series, cell) for cell in own) if len(own) == 1 else do_cells(context, series, own)
        for record in records:
            done += 1
            on_cell(done, len(cells), record, sum(seconds) / len(seconds) if seconds else None)
            seconds.append(record.seconds)
    return make_claims(context, series)


def make_claims(context: StepContext, series: Series) -> ClaimsRecord:
    """Make the claims from the records of all cells, and write them and their page; this can be repeated at any time.

    Raises:
        InvalidInput: a cell is not done.
        Unavailable: the store cannot be reached.
    """
    done = {cell: need_cell(context, series, cell) for cell in cells_of(series)[:-1]}
    figures = figures_of(done)
    sizes = {run.name: dataset_of(context.store, series.name_of(run)).kept_frames for run in series.runs}
    growth = tuple((sizes[run.name], figure) for run in _by_size(series) for figure in figures.get(run.name, ()))
    held_out = _held_out_videos(context, series, done)
    record = ClaimsRecord(
        made_by=origin(series.settings, {}),
        world=series.world,
        claims=(*_mask_claims(context, series, held_out), *detection_claims(figures), growth_claim(growth)),
        figures={name: tuple(values) for name, values in figures.items()},
        sizes=sizes,
        growth=growth,
        forecast=_forecast(growth, figures.get("labels", ())),
        seconds={record.name: record.seconds for record in done.values()},
    )
    pictures = held_out_pictures({video: rows[0] for video, rows in held_out.items()})
    facts = _facts(context, series, record) | {"pictures": pictures}
    page = page_of(record.claims, record.figures, growth, record.seconds, facts)
    context.store.write(layout.claims(series_id(series), "claims"), record.model_dump_json(indent=1).encode())
    context.store.write(layout.claims_page(series_id(series)), page.encode())
    return record


def _facts(context: StepContext, series: Series, record: ClaimsRecord) -> dict[str, object]:
    """What the page says about the series beside its figures."""
    pretraining = series.settings.pretrain
    return {
        "world": series.world,
        "videos": need(context.store, layout.run_record(series.base, "plan"), PlanRecord, "plan").videos_listed,
        "sizes": record.sizes,
        "voc": series.settings.voc,
        "trunk": pretraining.trunk,
        "iterations": pretraining.iterations,
        "seeds": series.seeds,
        "version": record.made_by.version,
        "forecast": record.forecast,
    }


def _by_size(series: Series) -> list[SeriesRun]:
    """The runs on masks from motion, from the fewest frames to all."""
    runs = [run for run in series.runs if run.name == MASKS or run.fraction < 1]
    return sorted(runs, key=lambda run: run.fraction)


def figures_of(done: Mapping[Cell, CellRecord]) -> dict[str, list[float]]:
    """The mAPs of the detectors under the keys of `detection_claims`."""
    figures: defaultdict[str, list[float]] = defaultdict(list)
    for cell, record in done.items():
        if cell.stage == "detect" and record.mean_ap_11_point is not None:
            name = cell.run.name if cell.run else "random"
            key = f"{name}{FEW_IMAGES}" if cell.images else frozen_key(name, cell.level)
            figures[key].append(record.mean_ap_11_point)
    return dict(figures)


def _snapshots(context: StepContext, series: Series) -> tuple[DatasetRecord, DatasetRecord]:
    """The frames with masks from motion, and those with true masks."""
    by_name = {run.name: series.name_of(run) for run in series.runs}
    return dataset_of(context.store, by_name[MASKS]), dataset_of(context.store, by_name["true"])


def _held_out_videos(
    context: StepContext, series: Series, done: Mapping[Cell, CellRecord]
) -> dict[str, list[HeldOutVideo]]:
    """What the network of each seed of pretraining on masks predicts of the held-out videos, by video."""
    motion, truth = _snapshots(context, series)
    average = average_mask(context.store, motion, series.settings.pretrain, context.scratch)
    found: defaultdict[str, list[HeldOutVideo]] = defaultdict(list)
    for cell, record in done.items():
        if cell.stage == "pretrain" and cell.run is not None and cell.run.name == MASKS:
            backbone = need(context.store, layout.backbone(record.backbone, "record.json"), BackboneRecord, "pretrain")
            path = fetch_mask_network(context.store, backbone, context.scratch / "mask_network.safetensors")
            settings = series.settings.pretrain.with_seed(cell.seed)
            network = load_mask_network(path)
            rows = held_out_crops(context.store, (motion, truth), network, average, settings, context.scratch)
            for video, row in rows.items():
                found[video].append(row)
    return found


def _mask_claims(context: StepContext, series: Series, held_out: Mapping[str, Sequence[HeldOutVideo]]) -> list[Claim]:
    """The claims about masks: that motion alone is enough, and that the network beats its teacher."""
    frames = whole_frames(context.store, *_snapshots(context, series), context.scratch)
    enough = compared_in_pairs(
        "motion against the better of two trivial masks", [(row.motion, row.trivial) for row in frames.values()]
    )
    # over videos, each the mean over seeds: videos are what the claim is about
    pairs = [(fmean(row.network for row in rows), fmean(row.motion for row in rows)) for rows in held_out.values()]
    beats = compared_in_pairs("the network from one still frame against motion's own mask", pairs)
    return [
        Claim(
            name="motion-is-enough", text="Motion alone is enough for masks", comparisons=(enough,) if enough else ()
        ),
        Claim(
            name="beats-its-teacher",
            text="The network learns from noisy masks, and beats them",
            comparisons=(beats,) if beats else (),
        ),
    ]


def _forecast(points: Sequence[tuple[int, float]], goals: Sequence[float]) -> str:
    """How many frames would match class supervision, in words; or why that cannot be said."""
    if not points or not goals:
        return "nothing is measured yet"
    curve = fit_frames([frames for frames, _ in points], [figure for _, figure in points])
    found = forecast(curve, sum(goals) / len(goals), max(frames for frames, _ in points))
    if found.frames is None or found.low is None or found.high is None:
        return f"no forecast: {found.refused}"
    interval = f"{found.low:,.0f} and {found.high:,.0f}"
    return f"{found.frames:,.0f} frames would match class supervision, with 95 % between {interval}"
