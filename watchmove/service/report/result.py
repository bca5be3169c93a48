"""The result of a run: for each initialisation and freezing level, average precision over seeds."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Literal

from pydantic import BaseModel, ConfigDict

from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.statistics.seed_spread import components_of, spread_of, units_of
from watchmove.service.records import layout
from watchmove.service.records.datasets import GatherRecord
from watchmove.service.records.record import FINITE, Count, Record, find, need
from watchmove.service.records.training import (
    ClassificationRecord,
    Evaluation,
    EvaluationRecord,
)
from watchmove.service.store.store import Store


class SeedSpread(BaseModel):
    """Mean average precision over `count` seeds: those of pretraining if there are several, else the detector's.

    The standard deviation, and the 95 % interval of the mean (`low` to `high`), are None for a single seed. Of several
    seeds of pretraining, each one's value is its mean over the detector's seeds. The two other deviations are variance
    components, between trunks and between detectors of one trunk; None where they are unknown.
    """

    model_config = FINITE

    count: Count
    mean: float
    deviation: float | None
    low: float | None
    high: float | None
    over: Literal["detector seeds", "pretraining seeds"] = "detector seeds"
    pretraining_deviation: float | None = None
    detector_deviation: float | None = None


class ResultRow(BaseModel):
    """One initialisation at one freezing level, over seeds. Precisions are None if the test set has no objects.

    `seeds` are the detector's; `pretraining_seeds` are empty if the trunk has none.
    """

    model_config = FINITE

    initialisation: str
    freeze_through: int
    seeds: tuple[int, ...]
    preset: str
    train_images: Count
    ap_11_point: SeedSpread | None
    ap_area: SeedSpread | None
    seconds: float
    pretraining_seeds: tuple[int, ...] = ()

    def seeds_in_words(self) -> str:
        """The number of seeds: of pretraining times of the detector for a pretrained trunk, else of the detector."""
        return f"{len(self.pretraining_seeds)} × {len(self.seeds)}" if self.pretraining_seeds else str(len(self.seeds))

    def caution(self) -> str:
        """What the spread leaves out, in a sentence; empty if it covers all chance or if there is no spread."""
        if len(self.pretraining_seeds) != 1 or len(self.seeds) == 1:
            return ""
        return f"the spread of {self.initialisation} covers detector seeds only; set several pretrain.seeds"

    def preset_in_short(self) -> str:
        """The preset's name, followed by "changed" if settings differ from it; `preset` lists them."""
        name, changed, _ = self.preset.partition(", but ")
        return f"{name}, changed" if changed else name


class ClassificationResult(BaseModel):
    """Image classification on the features of one frozen layer, over seeds; `left_out` are classes without a figure."""

    model_config = FINITE

    initialisation: str
    layer: str
    seeds: tuple[int, ...]
    ap_11_point: SeedSpread | None
    ap_area: SeedSpread | None
    left_out: dict[str, str]


class PretrainingFacts(BaseModel):
    """The backbone of a run, its number of pretraining frames, and all else that decides the run's figures.

    Runs with equal values in `decides` differ in the number of frames alone. Results of earlier versions have none.
    """

    model_config = FINITE

    backbone: str
    frames: Count
    decides: dict[str, str] = {}


class GrowthPoint(BaseModel):
    """One backbone: its number of pretraining frames, and its average precision over seeds."""

    model_config = FINITE

    run: str
    backbone: str
    frames: Count
    ap_11_point: SeedSpread


class LeftOut(BaseModel):
    """A run that is no point of the curve over frames, and the reason."""

    model_config = FINITE

    run: str
    why: str


class Growth(BaseModel):
    """Average precision over frames: points in order of frames, the fitted line, and the forecast.

    The line and the forecast are those of `statistics.forecast`. `goal` is the mean of the supervised baseline;
    `frames` is where the line reaches it. `refused` is the reason if there is no forecast. `left_out` are the store's
    other runs, which differ in more than the number of frames.
    """

    # not FINITE: the frames of a flat line's forecast may be infinite, which JSON has as null
    model_config = ConfigDict(frozen=True)

    freeze_through: int
    points: tuple[GrowthPoint, ...]
    left_out: tuple[LeftOut, ...] = ()
    slope: float | None = None
    slope_low: float | None = None
    slope_high: float | None = None
    intercept: float | None = None
    goal: float | None = None
    goal_of: str = ""
    frames: float | None = None
    frames_low: float | None = None
    frames_high: float | None = None
    refused: str = ""


class RunResult(Record):
    """The result of a run: its rows in the order of its settings, and the keys of their records."""

    run: str
    rows: tuple[ResultRow, ...]
    evaluation_keys: tuple[str, ...]
    classification: tuple[ClassificationResult, ...] = ()
    pretraining: PretrainingFacts | None = None
    growth: Growth | None = None


def result_of(store: Store, run: str) -> RunResult:
    """Return the result of a run.

    Raises:
        InvalidInput: the run ended without training, or has no report yet.
    """
    key = layout.run_record(run, "result")
    gathered = find(store, layout.run_record(run, "gather"), GatherRecord)
    if gathered is not None and gathered.no_training and store.head(key) is None:
        raise InvalidInput(f"run {run}: has no result, as it ended without training: {gathered.no_training}")
    return need(store, key, RunResult, "report")


def classification_rows(records: Sequence[ClassificationRecord]) -> tuple[ClassificationResult, ...]:
    """Average precision over seeds for each layer of each trunk, in the order of the records."""
    groups: dict[tuple[str, str], list[ClassificationRecord]] = {}
    for record in records:
        groups.setdefault((record.initialisation, record.layer), []).append(record)
    return tuple(
        ClassificationResult(
            initialisation=initialisation,
            layer=layer,
            seeds=tuple(record.seed for record in members),
            ap_11_point=_over_seeds([record.mean_ap_11_point for record in members]),
            ap_area=_over_seeds([record.mean_ap_area for record in members]),
            # The reasons follow from the images alone, which all seeds share.
            left_out={name: row.left_out for name, row in members[0].per_class.items() if row.left_out},
        )
        for (initialisation, layer), members in groups.items()
    )


def result_rows(records: Sequence[EvaluationRecord]) -> tuple[ResultRow, ...]:
    """Average precision over seeds for each initialisation and freezing level, in the order of the records."""
    groups: dict[tuple[str, int], list[EvaluationRecord]] = {}
    for record in records:
        cell = record.evaluation
        groups.setdefault((cell.initialisation, cell.freeze_through), []).append(record)
    return tuple(_row(*group, members) for group, members in groups.items())


def _row(initialisation: str, freeze_through: int, records: Sequence[EvaluationRecord]) -> ResultRow:
    cells = [record.evaluation for record in records]
    return ResultRow(
        initialisation=initialisation,
        freeze_through=freeze_through,
        seeds=tuple(dict.fromkeys(cell.seed for cell in cells)),
        pretraining_seeds=tuple(dict.fromkeys(cell.pretraining_seed for cell in cells if cell.is_pretrained)),
        preset=records[0].preset,
        train_images=len(records[0].train_image_ids),
        ap_11_point=nested_spread([(record.evaluation, record.mean_ap_11_point) for record in records]),
        ap_area=nested_spread([(record.evaluation, record.mean_ap_area) for record in records]),
        seconds=round(sum(record.seconds for record in records), 1),
    )


def _over_seeds(values: Sequence[float | None]) -> SeedSpread | None:
    known = [value for value in values if value is not None]
    return seed_spread(known) if known else None


def seed_spread(values: Sequence[float]) -> SeedSpread:
    """The mean of at least one value, with its deviation and interval."""
    return SeedSpread(**asdict(spread_of(values)))


def nested_figures(values: Sequence[tuple[Evaluation, float | None]]) -> list[list[float]]:
    """The figures of cells, without those of test sets without objects: a list for each seed of pretraining."""
    groups: dict[int, list[float]] = {}
    for cell, value in values:
        if value is not None:
            groups.setdefault(cell.pretraining_seed, []).append(value)
    return list(groups.values())


def nested_spread(values: Sequence[tuple[Evaluation, float | None]]) -> SeedSpread | None:
    """The spread of the figures of one initialisation and freezing level; None if there are none."""
    groups = nested_figures(values)
    if not groups:
        return None
    components = components_of(groups)
    return seed_spread(units_of(groups)).model_copy(
        update={
            "over": "pretraining seeds" if len(groups) > 1 else "detector seeds",
            "pretraining_deviation": components.outer,
            "detector_deviation": components.inner,
        }
    )
