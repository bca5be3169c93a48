"""How far a detector's training is, as its checkpoint remembers it."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.settings.evaluation import EvaluationSettings


@dataclass
class History:
    """How far a training is."""

    iteration: int = 0
    """Steps done."""
    curve: list[tuple[int, float]] = field(default_factory=list)
    """Iteration and mean loss since the point before."""
    pending: list[float] = field(default_factory=list)
    """Losses since the last point."""


def restored(saved: dict[str, Any] | None) -> History:
    """The history that a checkpoint holds as plain JSON; a new one where there is none."""
    if saved is None:
        return History()
    return History(saved["iteration"], [(at, loss) for at, loss in saved["curve"]], saved["pending"])


def training_identity(settings: EvaluationSettings, classes: Sequence[str], image_ids: Sequence[str]) -> str:
    """What two trainings must share for one to continue the other."""
    what = [settings.model_dump(mode="json"), list(classes), list(image_ids)]
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]
