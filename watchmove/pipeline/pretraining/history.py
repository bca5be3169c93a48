"""How far a pretraining is and how it went: what its checkpoints remember beside weights."""

from dataclasses import asdict, dataclass, field
from typing import Any, Self

from watchmove.pipeline.pretraining.held_out import HeldOut


@dataclass(frozen=True)
class CurvePoint:
    """`loss` is the mean since the point before; the others are of held-out videos, where they were measured.

    `validation_loss` is cross-entropy in nats, over certain pixels where masks are learnt; then there is a
    `validation_iou`, where rotation is learnt a `validation_accuracy`, both in [0, 1].
    """

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


def curve_point(iteration: int, loss: float, rate: float, held_out: HeldOut | None, objective: str) -> CurvePoint:
    """A point of the curve, its score under the name that the objective gives it."""
    measured, score = (held_out.loss, held_out.score) if held_out else (None, None)
    iou, accuracy = (score, None) if objective == "masks" else (None, score)
    return CurvePoint(iteration, loss, rate, iou, measured, accuracy)


@dataclass
class PretrainingHistory:
    """How far a training is; goes into its checkpoint."""

    iteration: int = 0
    frames_read: int = 0
    frames_unusable: int = 0
    pending: list[float] = field(default_factory=list)
    curve: list[CurvePoint] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self)

    @property
    def score(self) -> float | None:
        """IoU or accuracy on held-out videos, where it was measured in just this step."""
        last = self.curve[-1] if self.curve else None
        return last.validation_score if last is not None and last.iteration == self.iteration else None

    @classmethod
    def from_json(cls, saved: dict[str, Any] | None) -> Self:
        """Make the history that a checkpoint holds as plain JSON; without a checkpoint, an empty one."""
        if saved is None:
            return cls()
        return cls(**{**saved, "curve": [CurvePoint(**point) for point in saved["curve"]]})
