"""What pretraining and evaluation leave behind. Light to read: whoever shows figures need not load torch."""

import itertools

from pydantic import BaseModel, ConfigDict

from watchmove.pipeline.settings.pretraining import PRETRAINING_VERSION
from watchmove.service.records.record import Record
from watchmove.service.settings.evaluate import EvaluateSettings
from watchmove.service.settings.settings import Settings, settings_hash

EVALUATION_VERSION = 3
"""Raised when the same trunk, images and settings would give other figures."""

RANDOM = "random"
PRETRAINED = "pretrained"


class CurveRow(BaseModel):
    """One point of the training curve."""

    model_config = ConfigDict(frozen=True)

    iteration: int
    loss: float
    learning_rate: float
    validation_iou: float | None
    validation_loss: float | None = None
    validation_accuracy: float | None = None

    @property
    def validation_score(self) -> float | None:
        """IoU or accuracy, whichever the objective has; None where nothing was measured."""
        return self.validation_accuracy if self.validation_iou is None else self.validation_iou


class BackboneRecord(Record):
    """A finished pretraining; `weights_key` and `mask_network_key`, the trunk with its mask layer, are whole by then.

    `frames_unusable` counts frames passed over as they were damaged or showed nothing certain, in every epoch.
    """

    backbone: str
    dataset: str
    objective: str = "masks"
    weights_key: str
    weights_sha256: str
    mask_network_key: str = ""
    mask_network_sha256: str = ""
    images_per_second: float
    frames_unusable: int = 0
    curve: tuple[CurveRow, ...]

    @property
    def score_name(self) -> str:
        """What held-out videos are measured by."""
        return "accuracy" if self.objective == "rotation" else "IoU"


def backbone_id_of(settings: Settings, dataset: str) -> str:
    """What decides a backbone: the snapshot, pretraining's settings and the version of its code."""
    return settings_hash(dataset, settings.pretrain.deciding(), PRETRAINING_VERSION)


class Evaluation(BaseModel):
    """One cell of the fan-out: which trunk, how much of it stays as loaded, which seed."""

    model_config = ConfigDict(frozen=True)

    initialisation: str
    freeze_through: int
    seed: int


class ClassRow(BaseModel):
    """Average precision of one class; None where the test set has no object of it."""

    model_config = ConfigDict(frozen=True)

    ap_11_point: float | None
    ap_area: float | None
    ground_truth: int


class MappedWeights(BaseModel):
    """Which tensors of a weights file became a trunk; `fresh` are the trunk's that the file does not have."""

    model_config = ConfigDict(frozen=True)

    layout: str
    taken: tuple[str, ...]
    fresh: tuple[str, ...]
    unused: tuple[str, ...]


class EvaluationRecord(Record):
    """A finished evaluation. `preset` names the settings it starts from and those that differ from them.

    `train_image_ids` has the images learnt from where they are not all of the split; `weights` is of a named file.
    """

    evaluation: Evaluation
    backbone: str
    mean_ap_11_point: float | None
    mean_ap_area: float | None
    per_class: dict[str, ClassRow]
    preset: str = ""
    train_image_ids: tuple[str, ...] = ()
    weights: MappedWeights | None = None
    loss: tuple[tuple[int, float], ...]
    seconds: float


class EvaluationPointer(Record):
    """Which evaluation stands for one cell of a run."""

    key: str


class ClassificationRow(BaseModel):
    """Linear classification of one class; None where `left_out` says why there is no figure."""

    model_config = ConfigDict(frozen=True)

    ap_11_point: float | None
    ap_area: float | None
    cost: float | None
    test_images: int
    left_out: str = ""


class ClassificationRecord(Record):
    """What linear SVMs make of one layer of a trunk. `initialisation` and `seed` are those of the trunk."""

    initialisation: str
    seed: int
    layer: str
    backbone: str
    mean_ap_11_point: float | None
    mean_ap_area: float | None
    per_class: dict[str, ClassificationRow]
    seconds: float


class ClassificationPointer(Record):
    """Which classifications, layer by layer, are of the trunk of one cell of a run."""

    keys: tuple[str, ...]


def evaluations_of(settings: EvaluateSettings) -> tuple[Evaluation, ...]:
    """The fan-out, in a fixed order that `--evaluation N` counts."""
    cells = itertools.product(settings.initialisations, settings.freeze_through, settings.seeds)
    return tuple(Evaluation(initialisation=i, freeze_through=f, seed=s) for i, f, s in cells)


def is_first_of_trunk(settings: EvaluateSettings, cell: Evaluation) -> bool:
    """Whether a cell is the one that classifies its trunk's images: a trunk has several, and one seed unless random."""
    seeds = settings.seeds if cell.initialisation == RANDOM else settings.seeds[:1]
    return cell.freeze_through == settings.freeze_through[0] and cell.seed in seeds
