"""Progress and curve of a pretraining, which its checkpoints keep together with the weights."""

from dataclasses import asdict, dataclass, field
from typing import Any, Self

from watchmove.pipeline.pretraining.held_out import HeldOut


@dataclass(frozen=True)
class CurvePoint:
    """One point of a training's curve; scores are None where held-out videos were not measured."""

    iteration: int
    """Number of steps done."""
    loss: float
    """Mean training loss since the previous point, in nats."""
    learning_rate: float
    """Learning rate of the last step."""
    validation_iou: float | None
    """Mean IoU on held-out videos, in [0, 1], if the objective is masks."""
    validation_loss: float | None = None
    """Cross-entropy on held-out videos in nats, for masks over certain pixels."""
    validation_accuracy: float | None = None
    """Accuracy on held-out videos, in [0, 1], if the objective is not masks."""

    @property
    def validation_score(self) -> float | None:
        """IoU or accuracy, depending on the objective; None if held-out videos were not measured."""
        return self.validation_accuracy if self.validation_iou is None else self.validation_iou


def curve_point(iteration: int, loss: float, rate: float, held_out: HeldOut | None, objective: str) -> CurvePoint:
    """Make a point of the curve, with the held-out score as IoU or accuracy, depending on the objective."""
    measured, score = (held_out.loss, held_out.score) if held_out else (None, None)
    iou, accuracy = (score, None) if objective == "masks" else (None, score)
    return CurvePoint(iteration, loss, rate, iou, measured, accuracy)


@dataclass(frozen=True)
class PretrainingProgress:
    """Progress of a training, reported after every step."""

    iteration: int
    """Number of steps done."""
    iterations: int
    """Number of steps of the complete training."""
    loss: float
    """Loss of the last step, in nats."""
    images_per_second: float
    """Mean speed of all ranks together since this process began or resumed the training."""
    waiting_fraction: float
    """Share of the time since then in which the first rank waited for its data, in [0, 1]."""
    frames_unusable: int
    """Number of frames read so far that could not be used."""


@dataclass
class PretrainingHistory:
    """Progress of a pretraining; every checkpoint contains it."""

    iteration: int = 0
    """Number of steps done."""
    frames_read: int = 0
    """Number of frames read by all ranks, held-out frames included."""
    frames_unusable: int = 0
    """Number of frames among them that could not be used."""
    pending: list[float] = field(default_factory=list)
    """Losses of the steps since the last point of the curve."""
    curve: list[CurvePoint] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Return the history as plain JSON."""
        return asdict(self)

    @property
    def score(self) -> float | None:
        """IoU or accuracy on held-out videos after the last step; None if it was not measured then."""
        last = self.curve[-1] if self.curve else None
        return last.validation_score if last is not None and last.iteration == self.iteration else None

    @classmethod
    def from_json(cls, saved: dict[str, Any]) -> Self:
        """Make the history that is `saved` as plain JSON."""
        return cls(**{**saved, "curve": [CurvePoint(**point) for point in saved["curve"]]})
