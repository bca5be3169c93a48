"""How far a step is, on a terminal as a live line and elsewhere as a log line now and then."""

import time
from typing import Protocol

import structlog
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

LOG_EVERY_SECONDS = 15.0


class ProgressReport(Protocol):
    """Told by a step how far it is."""

    def update(self, step: str, done: int, total: int, facts: str) -> None:
        """`done` of `total` units of `step`; `facts` is a short text such as "12.3 frames/s, yield 0.41"."""

    def close(self) -> None:
        """Nothing more comes."""


class LoggedProgress:
    """A log line at most every fifteen seconds, and one at each step's end."""

    def __init__(self) -> None:
        self._log = structlog.get_logger()
        self._last: dict[str, float] = {}
        self._began: dict[str, float] = {}

    def update(self, step: str, done: int, total: int, facts: str) -> None:
        """Log unless this step was logged a moment ago."""
        now = time.monotonic()
        began = self._began.setdefault(step, now)
        if done < total and now - self._last.get(step, began) < LOG_EVERY_SECONDS:
            return
        self._last[step] = now
        left = round((now - began) / done * (total - done)) if done else None
        self._log.info("progress", step=step, done=done, total=total, facts=facts, seconds_left=left)

    def close(self) -> None:
        """Nothing is held open."""


class LiveProgress:
    """A bar for each step with what it says of itself and the time left."""

    def __init__(self, console: Console) -> None:
        self._bars = Progress(
            TextColumn("{task.description:<22}", style="bold", markup=False),  # a step may be named after a file
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[facts]}", markup=False),
            TimeRemainingColumn(),
            console=console,
        )
        self._tasks: dict[str, TaskID] = {}
        self._bars.start()

    def update(self, step: str, done: int, total: int, facts: str) -> None:
        """Move the step's bar."""
        if step not in self._tasks:
            self._tasks[step] = self._bars.add_task(step, total=total, facts=facts)
        self._bars.update(self._tasks[step], completed=done, total=total, facts=facts)

    def close(self) -> None:
        """Leave the bars as they stand."""
        self._bars.stop()


def progress_for(console: Console) -> ProgressReport:
    """Bars on a terminal, log lines elsewhere."""
    return LiveProgress(console) if console.is_terminal else LoggedProgress()
