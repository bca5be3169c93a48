"""What a training is given beside frames and settings."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.ranks import Ranks


@dataclass(frozen=True)
class PretrainingProgress:
    """What a training tells while it runs."""

    iteration: int
    iterations: int
    loss: float
    images_per_second: float
    frames_unusable: int


@dataclass(frozen=True)
class PretrainingHooks:
    """Where a training keeps its checkpoints and its result, whom it tells, and who takes part.

    Of several ranks each asks its own `should_stop`, and where one is told to stop all do; the first alone writes and
    tells. `on_checkpoint` is called in a thread of its own, after a checkpoint is whole. `readers`: threads that read
    and decode; 0: half of the cores, at most eight.
    """

    directory: Path
    on_progress: Callable[[PretrainingProgress], None] = field(default=lambda _: None)
    should_stop: Callable[[], bool] = field(default=lambda: False)
    on_checkpoint: Callable[[], None] = field(default=lambda: None)
    ranks: Ranks | None = None
    readers: int = 0
