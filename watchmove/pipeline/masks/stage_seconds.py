"""How long each stage of a computation took."""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager


class StageSeconds:
    """Sums of seconds by the name of the stage, measured by `with stages("flow"): ...`.

    cpu: processor seconds of the process; wall: seconds that passed.
    """

    def __init__(self) -> None:
        # a Counter starts every stage at 0; its type allows whole numbers only, hence the ignored errors below
        self.cpu: Counter[str] = Counter()
        self.wall: Counter[str] = Counter()

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Add the time of the block to `stage`, also where the block raises."""
        cpu, wall = time.process_time(), time.perf_counter()
        try:
            yield
        finally:
            self.cpu[stage] += time.process_time() - cpu  # type: ignore[assignment]
            self.wall[stage] += time.perf_counter() - wall  # type: ignore[assignment]
