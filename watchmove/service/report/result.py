"""The result of a run: for each initialisation and freezing level, average precision over seeds."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict

from pydantic import BaseModel, ConfigDict

from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.statistics.seed_spread import spread_of
from watchmove.service.records import layout
from watchmove.service.records.record import Record, find, need
from watchmove.service.records.training import (
    PRETRAINED,
    ClassificationPointer,
    ClassificationRecord,
    EvaluationPointer,
    EvaluationRecord,
    evaluations_of,
    is_first_of_trunk,
)
from watchmove.service.settings.evaluate import EvaluateSettings
from watchmove.service.store.store import Store


class SeedSpread(BaseModel):
    """Mean average precision over `count` seeds.

    The standard deviation, and the 95 % interval of the mean (`low` to `high`), are None for a single seed.
    """

    model_config = ConfigDict(frozen=True)

    count: int
    mean: float
    deviation: float | None
    low: float | None
    high: float | None


class ResultRow(BaseModel):
    """One initialisation at one freezing level, over seeds. Precisions are None if the test set has no objects."""

    model_config = ConfigDict(frozen=True)

    initialisation: str
    freeze_through: int
    seeds: tuple[int, ...]
    preset: str
    train_images: int
    ap_11_point: SeedSpread | None
    ap_area: SeedSpread | None
    seconds: float

    def preset_in_short(self) -> str:
        """The preset's name, followed by "changed" if settings differ from it; `preset` lists them."""
        name, changed, _ = self.preset.partition(", but ")
        return f"{name}, changed" if changed else name


class ClassificationResult(BaseModel):
    """Image classification on the features of one frozen layer, over seeds; `left_out` are classes without a figure."""

    model_config = ConfigDict(frozen=True)

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

    model_config = ConfigDict(frozen=True)

    backbone: str
    frames: int
    decides: dict[str, str] = {}


class GrowthPoint(BaseModel):
    """One backbone: its number of pretraining frames, and its average precision over seeds."""

    model_config = ConfigDict(frozen=True)

    run: str
    backbone: str
    frames: int
    ap_11_point: SeedSpread


class LeftOut(BaseModel):
    """A run that is no point of the curve over frames, and the reason."""

    model_config = ConfigDict(frozen=True)

    run: str
    why: str


class Growth(BaseModel):
    """Average precision over frames: points in order of frames, the fitted line, and the forecast.

    The line and the forecast are those of `statistics.forecast`. `goal` is the mean of the supervised baseline;
    `frames` is where the line reaches it. `refused` is the reason if there is no forecast. `left_out` are the store's
    other runs, which differ in more than the number of frames.
    """

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


def evaluation_records(
    store: Store, run: str, settings: EvaluateSettings, backbone: str
) -> Iterator[tuple[str, EvaluationRecord]]:
    """The key and record of each evaluation that the settings list.

    Raises InvalidInput if one is missing, or was made with other settings or another backbone than the run's.
    """
    for number, cell in enumerate(evaluations_of(settings)):
        pointer = need(store, layout.run_record(run, f"evaluate-{number}"), EvaluationPointer, "evaluate")
        record = need(store, pointer.key, EvaluationRecord, "evaluate")
        # A run's name may be used again with other settings; its pointers then name the earlier evaluations.
        if record.evaluation != cell or (cell.initialisation == PRETRAINED and record.backbone != backbone):
            raise InvalidInput(
                f"run {run}: evaluation {number} was made with other settings or weights; run evaluate again"
            )
        yield pointer.key, record


def classification_records(store: Store, run: str, settings: EvaluateSettings) -> Iterator[ClassificationRecord]:
    """The classification record of each layer of each trunk; none if `evaluate.classification` is off."""
    for number, cell in enumerate(evaluations_of(settings)):
        if not settings.classification or not is_first_of_trunk(settings, cell):
            continue
        # A run that was evaluated before classification was turned on has no pointer.
        pointer = find(store, layout.run_record(run, f"classify-{number}"), ClassificationPointer)
        for key in pointer.keys if pointer else ():
            record = need(store, key, ClassificationRecord, "evaluate")
            # With changed settings, the pointer of the same number may be that of another trunk.
            if (record.initialisation, record.seed) == (cell.initialisation, cell.seed):
                yield record


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
    return ResultRow(
        initialisation=initialisation,
        freeze_through=freeze_through,
        seeds=tuple(record.evaluation.seed for record in records),
        preset=records[0].preset,
        train_images=len(records[0].train_image_ids),
        ap_11_point=_over_seeds([record.mean_ap_11_point for record in records]),
        ap_area=_over_seeds([record.mean_ap_area for record in records]),
        seconds=round(sum(record.seconds for record in records), 1),
    )


def _over_seeds(values: Sequence[float | None]) -> SeedSpread | None:
    known = [value for value in values if value is not None]
    return seed_spread(known) if known else None


def seed_spread(values: Sequence[float]) -> SeedSpread:
    """The mean of at least one value, with its deviation and interval."""
    return SeedSpread(**asdict(spread_of(values)))
