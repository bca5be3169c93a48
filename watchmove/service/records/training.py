"""Records of pretraining and evaluation. The module does not import torch, so that reports load quickly."""

import itertools

from pydantic import BaseModel, ConfigDict, Field

from watchmove.pipeline.errors import InvalidInput
from watchmove.pipeline.settings.pretraining import PRETRAINING_VERSION
from watchmove.service.records import layout
from watchmove.service.records.outcomes import MachineUse
from watchmove.service.records.record import FINITE, Count, Record, Seconds, need
from watchmove.service.settings.evaluate import RUN_PREFIX, EvaluateSettings
from watchmove.service.settings.settings import Settings, settings_hash
from watchmove.service.store.store import Store

EVALUATION_VERSION = 4
"""Raised when the same trunk, images and settings would give other figures."""

RANDOM = "random"
PRETRAINED = "pretrained"


class CurveRow(BaseModel):
    """One point of the training curve; what is measured on held-out videos may be infinite, which JSON has as null."""

    model_config = ConfigDict(frozen=True)

    iteration: Count
    loss: float = Field(allow_inf_nan=False)
    learning_rate: float
    validation_iou: float | None
    validation_loss: float | None = None
    validation_accuracy: float | None = None

    @property
    def validation_score(self) -> float | None:
        """The accuracy or IoU on held-out videos, by the objective; None if it was not measured at this point."""
        return self.validation_accuracy if self.validation_iou is None else self.validation_iou


class BackboneRecord(Record):
    """A finished pretraining; `weights_key` has the trunk and `mask_network_key` the trunk with its mask layer.

    `frames_unusable` counts, over all epochs, frames that were skipped because they were damaged or had no confident
    pixel. `predictions_key` has predictions for a few held-out crops; it is empty where there are none.
    """

    backbone: str
    dataset: str
    seed: int = 0
    objective: str = "masks"
    weights_key: str
    weights_sha256: str
    mask_network_key: str = ""
    mask_network_sha256: str = ""
    predictions_key: str = Field("", exclude_if=lambda key: not key)
    images_per_second: float
    frames_unusable: Count = 0
    use: MachineUse | None = None
    curve: tuple[CurveRow, ...]

    @property
    def score_name(self) -> str:
        """The name of the score on held-out videos."""
        return "IoU" if self.objective == "masks" else "accuracy"


class PretrainPointer(Record):
    """The ids of the backbones of a run, by the seed of their pretraining."""

    backbones: dict[int, str]


def backbone_id_of(settings: Settings, dataset: str, seed: int | None = None) -> str:
    """Return the id of a backbone: a hash of its snapshot, pretraining's settings and the version of its code.

    `seed` is that of its pretraining; None: the first of the settings.
    """
    chosen = settings.pretrain.all_seeds()[0] if seed is None else seed
    return settings_hash(dataset, settings.pretrain.with_seed(chosen).deciding(), PRETRAINING_VERSION)


class Evaluation(BaseModel):
    """One cell of the fan-out: the trunk's initialisation, the last layer that stays frozen, and the seeds.

    `seed` is that of the detector; `pretraining_seed` that of the backbone, 0 for other trunks.
    """

    model_config = FINITE

    initialisation: str
    freeze_through: int
    seed: int
    pretraining_seed: int = 0

    @property
    def trunk(self) -> str:
        """The initialisation, with the seed of pretraining unless it is 0."""
        return self.initialisation + (f", pretraining seed {self.pretraining_seed}" if self.pretraining_seed else "")

    @property
    def is_pretrained(self) -> bool:
        """Whether the trunk is the backbone of this or another run, which has a seed of pretraining."""
        return self.initialisation == PRETRAINED or self.initialisation.startswith(RUN_PREFIX)

    @property
    def trunk_seed(self) -> int:
        """The seed that the trunk's weights depend on: of pretraining, or of random weights."""
        return self.pretraining_seed if self.is_pretrained else self.seed

    def metric_labels(self) -> tuple[str, str, str, str]:
        """The labels of the cell's metrics: initialisation, freezing, seed of pretraining ("" if none), and seed."""
        pretraining_seed = str(self.pretraining_seed) if self.is_pretrained else ""
        return self.initialisation, str(self.freeze_through), pretraining_seed, str(self.seed)


class ClassRow(BaseModel):
    """Average precision of one class; None if the test set has no object of the class."""

    model_config = FINITE

    ap_11_point: float | None
    ap_area: float | None
    ground_truth: Count


class MappedWeights(BaseModel):
    """Which tensors of a weights file were loaded into a trunk; `fresh` are those that the file lacks."""

    model_config = FINITE

    layout: str
    taken: tuple[str, ...]
    fresh: tuple[str, ...]
    unused: tuple[str, ...]


class EvaluationRecord(Record):
    """A finished evaluation. `preset` names the settings it starts from and those that differ from them.

    `train_image_ids` has the training images if they are not the whole split; `weights` is set for a weights file.
    """

    evaluation: Evaluation
    backbone: str
    mean_ap_11_point: float | None
    mean_ap_area: float | None
    per_class: dict[str, ClassRow]
    preset: str = ""
    train_image_ids: tuple[str, ...] = ()
    weights: MappedWeights | None = None
    loss: tuple[tuple[Count, float], ...]
    seconds: Seconds
    use: MachineUse | None = None


class EvaluationPointer(Record):
    """The key of the evaluation of one cell of a run."""

    key: str


class ClassificationRow(BaseModel):
    """Linear classification of one class; figures are None if `left_out` gives a reason."""

    model_config = FINITE

    ap_11_point: float | None
    ap_area: float | None
    cost: float | None
    test_images: Count
    left_out: str = ""


class ClassificationRecord(Record):
    """Scores of linear SVMs on one layer of a trunk; `initialisation` and `seed` are those of the trunk.

    The seed of a pretrained trunk is that of its pretraining.
    """

    initialisation: str
    seed: int
    layer: str
    backbone: str
    mean_ap_11_point: float | None
    mean_ap_area: float | None
    per_class: dict[str, ClassificationRow]
    seconds: Seconds


class ClassificationPointer(Record):
    """The keys of the classifications of the trunk of one cell of a run, one for each layer."""

    keys: tuple[str, ...]


def evaluations_of(settings: Settings) -> tuple[Evaluation, ...]:
    """Return the cells of the fan-out in a fixed order, which `--evaluation N` indexes.

    A pretrained trunk has a cell for each pair of a seed of pretraining and a seed of the detector.
    """
    evaluate = settings.evaluate
    cells = itertools.product(
        evaluate.initialisations, evaluate.freeze_through, settings.pretrain.all_seeds(), evaluate.seeds
    )
    made = (
        Evaluation(initialisation=initialisation, freeze_through=level, pretraining_seed=first, seed=second)
        for initialisation, level, first, second in cells
    )
    # Other trunks have no seed of pretraining, so their cells would repeat for each.
    return tuple(
        dict.fromkeys(cell if cell.is_pretrained else cell.model_copy(update={"pretraining_seed": 0}) for cell in made)
    )


def backbone_of_cell(store: Store, settings: Settings, dataset: str, cell: Evaluation) -> str | None:
    """Return the id of the backbone that a cell evaluates; None if its trunk is random or a weights file.

    `dataset` is the snapshot of the cell's run. Raises InvalidInput if the run that it names has no such backbone.
    """
    if not cell.is_pretrained:
        return None
    if cell.initialisation == PRETRAINED:
        return backbone_id_of(settings, dataset, cell.pretraining_seed)
    run = cell.initialisation.removeprefix(RUN_PREFIX)
    pointer = need(store, layout.run_record(run, "pretrain"), PretrainPointer, f"pretrain --run {run}")
    if cell.pretraining_seed not in pointer.backbones:
        seeds = ", ".join(map(str, sorted(pointer.backbones)))
        raise InvalidInput(
            f"{cell.initialisation}: pretrained with the seeds {seeds}, not {cell.pretraining_seed}; pretrain that run "
            "with the same pretrain.seeds"
        )
    return pointer.backbones[cell.pretraining_seed]


def is_first_of_trunk(settings: EvaluateSettings, cell: Evaluation) -> bool:
    """Return whether a cell is the first of its trunk, which is the cell that classifies images.

    Cells that differ only in `freeze_through` share a trunk; one that is not random is also shared by the detector's
    seeds.
    """
    seeds = settings.seeds if cell.initialisation == RANDOM else settings.seeds[:1]
    return cell.freeze_through == settings.freeze_through[0] and cell.seed in seeds
