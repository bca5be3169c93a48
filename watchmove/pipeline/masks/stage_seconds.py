"""How long each stage of a computation took."""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager


class StageSeconds:
    """Adds up seconds by the name of the stage: `with stages("flow"): ...`; `cpu` and `wall` hold the sums."""

    def __init__(self) -> None:
        self.cpu: Counter[str] = Counter()
        self.wall: Counter[str] = Counter()

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Count what is inside as part of `stage`."""
        cpu, wall = time.process_time(), time.perf_counter()
        try:
            yield
        finally:
            self.cpu[stage] += time.process_time() - cpu  # type: ignore[assignment]
            self.wall[stage] += time.perf_counter() - wall  # type: ignore[assignment]
