"""The cells of a series: the smallest pieces of work, each of which can be run alone, again and in a pod of its own."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from watchmove.pipeline.errors import InvalidInput
from watchmove.service.claims.real_world import put_together
from watchmove.service.claims.series import COMPARED_FROZEN, MASKS, Series, SeriesRun
from watchmove.service.records.datasets import dataset_of
from watchmove.service.records.training import BackboneRecord, EvaluationRecord
from watchmove.service.runner.runner import StepContext
from watchmove.service.settings.settings import Settings
from watchmove.service.steps.control import control
from watchmove.service.steps.evaluate import evaluate
from watchmove.service.steps.extract import extract
from watchmove.service.steps.gather import gather
from watchmove.service.steps.plan import plan
from watchmove.service.steps.pretrain import pretrain
from watchmove.service.steps.world import world

LEAST_LABELS = 2
"""Fewest classes that can be told apart."""

Stage = Literal["frames", "pretrain", "detect", "page"]


@dataclass(frozen=True)
class Cell:
    """One piece of work; cells of one stage do not depend on each other, and need all cells of the stage before."""

    stage: Stage
    run: SeriesRun | None = None
    """The run that is pretrained or evaluated; None for a random trunk."""
    seed: int = 0
    level: int = 0
    images: int = 0

    @property
    def name(self) -> str:
        """What the cell computes, for progress and pods."""
        who = self.run.name if self.run else "random" if self.stage == "detect" else "all"
        parts = [self.stage, who, f"s{self.seed}"]
        parts += [f"f{self.level}"] if self.level else []
        parts += [f"n{self.images}"] if self.images else []
        return "-".join(parts)


def cells_of(series: Series) -> tuple[Cell, ...]:
    """Return the cells in an order in which they can be run one after another."""
    return (Cell("frames"), *_pretrainings(series), *_detectors(series), Cell("page"))


def _pretrainings(series: Series) -> Iterator[Cell]:
    for run in series.runs:
        for seed in series.seeds:
            yield Cell("pretrain", run, seed)


def _detectors(series: Series) -> Iterator[Cell]:
    whole = [run for run in series.runs if run.fraction == 1]
    masks = next(run for run in series.runs if run.name == MASKS)
    for seed in series.seeds:
        for run in (None, *series.runs):
            yield Cell("detect", run, seed)
        for run in (None, masks) if series.few_images else ():
            yield Cell("detect", run, seed, images=series.few_images)
    for level in series.levels:
        for run in (None, *whole):
            # those that no claim compares have one seed, for the figure
            for seed in series.seeds if run is None or run.name in COMPARED_FROZEN else series.seeds[:1]:
                yield Cell("detect", run, seed, level=level)


def run_cell(context: StepContext, series: Series, cell: Cell) -> BackboneRecord | EvaluationRecord | None:
    """Do the work of a cell other than the page, or nothing if it is done; return its record if it has one.

    Raises the errors of the step that it runs.
    """
    if cell.stage == "frames":
        _make_snapshots(replace(context, settings=series.settings), series)
        return None
    if cell.stage == "pretrain" and cell.run is not None:
        settings = _pretraining(context, series, cell.run, (cell.seed,))
        return pretrain(replace(context, settings=settings), series.name_of(cell.run))[0]
    if cell.run is not None:
        # A run's pointer names the seeds of its last pretraining; those that are done are only looked up.
        settings = _pretraining(context, series, cell.run, series.seeds)
        pretrain(replace(context, settings=settings), series.name_of(cell.run))
    settings = series.evaluation(cell.run, cell.seed, level=cell.level, images=cell.images)
    return evaluate(replace(context, settings=settings), f"{series.base}-{cell.name}", 0)


def _pretraining(context: StepContext, series: Series, run: SeriesRun, seeds: tuple[int, ...]) -> Settings:
    """The settings of a run's pretraining, with the classes of its frames if it learns them."""
    settings = series.pretraining(run, seeds)
    if run.objective != "labels":
        return settings
    labels = dataset_of(context.store, series.name_of(run)).labels
    if len(labels) < LEAST_LABELS:
        raise InvalidInput(f"run {series.name_of(run)}: its frames have {len(labels)} classes; give frames of several")
    return settings.model_copy(update={"pretrain": settings.pretrain.model_copy(update={"labels": labels})})


def _make_snapshots(context: StepContext, series: Series) -> None:
    """Draw the world if it is the drawn one, extract the videos, and make the snapshot of each run."""
    if series.given is not None:
        put_together(context, series.given.videos, series.given.frames)
    else:
        world(context, truth=True)
    for shard in range(plan(context, series.base).shards):
        extract(context, series.base, shard)
    gather(context, series.base)
    masks = next(run for run in series.runs if run.name == MASKS)
    control(context, series.name_of(masks), series.base, masks.control, series.truth)
    for run in series.runs:
        if run != masks:
            # from the frames of `masks`, so that all runs on all frames have the same ones
            name = series.name_of(run)
            control(context, name, series.name_of(masks), run.control, series.truth, fraction=run.fraction)
