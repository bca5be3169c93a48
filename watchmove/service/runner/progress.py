"""Reports of a step's progress: a live bar on a terminal; log lines at intervals, and Argo's file, elsewhere."""

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import structlog
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

LOG_EVERY_SECONDS = 15.0
"""Shortest time between two log lines of one step. Set by hand; not tuned."""


ARGO_EVERY_SECONDS = 3.0
"""Shortest time between two writings of Argo's file: the interval at which Argo reads it by default."""


class ProgressReport(Protocol):
    """What a step reports its progress to."""

    def update(self, step: str, done: int, total: int, facts: str) -> None:
        """Report `done` of `total` units of `step`; `facts` is a short text like "12.3 frames/s, yield 0.41"."""

    def stage(self, name: str, number: int, total: int, estimate: str) -> None:
        """Announce stage `number` of `total` of a run; `estimate` says how long the rest takes, or is empty."""

    def close(self) -> None:
        """End the report."""


class LoggedProgress:
    """Logs a line at most every LOG_EVERY_SECONDS for each step, and one at its end; tells Argo where there is one."""

    def __init__(self) -> None:
        self._log = structlog.get_logger()
        self._argo = ArgoProgress()
        self._last: dict[str, float] = {}
        self._began: dict[str, tuple[float, int]] = {}

    def update(self, step: str, done: int, total: int, facts: str) -> None:
        """Log the progress unless this step has logged less than LOG_EVERY_SECONDS ago."""
        self._argo.update(done, total)
        now = time.monotonic()
        # A step shorter than the interval logs only its end. One that resumes begins with what was done before.
        began, before = self._began.setdefault(step, (now, done))
        if done < total and now - self._last.get(step, began) < LOG_EVERY_SECONDS:
            return
        self._last[step] = now
        pace = (now - began) / (done - before) if done > before else None
        left = 0 if done >= total else None if pace is None else round(pace * (total - done))
        self._log.info("progress", step=step, done=done, total=total, facts=facts, seconds_left=left)

    def stage(self, name: str, number: int, total: int, estimate: str) -> None:
        """Log the stage."""
        facts = {"estimate": estimate} if estimate else {}
        self._log.info(f"step {number} of {total}", step=name, **facts)

    def close(self) -> None:
        """Do nothing: a log line holds nothing open."""


class ArgoProgress:
    """Writes `N/M` to the file that Argo names in a pod and shows as the progress of the step.

    See https://argo-workflows.readthedocs.io/en/latest/progress/. Without the variable, nothing is written.
    """

    def __init__(self) -> None:
        name = os.environ.get("ARGO_PROGRESS_FILE")
        self._path = Path(name) if name else None
        self._next = 0.0

    def update(self, done: int, total: int) -> None:
        """Write the progress unless it was written less than ARGO_EVERY_SECONDS ago; an end is always written."""
        now = time.monotonic()
        if self._path is None or total < 1 or (now < self._next and done < total):
            return
        self._next = now + ARGO_EVERY_SECONDS
        # progress is no reason to fail, as where the volume is full
        with suppress(OSError):
            self._path.write_text(f"{min(done, total)}/{total}")


class LiveProgress:
    """Shows a bar for each step with its facts and the time left."""

    def __init__(self, console: Console) -> None:
        self._bars = Progress(
            TextColumn(
                "{task.description:<22}", style="bold", markup=False
            ),  # a step's name may be that of a file, with brackets in it
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

    def stage(self, name: str, number: int, total: int, estimate: str) -> None:
        """Print a line above the bars."""
        line = f"step {number} of {total}: {name}" + (f" ({estimate})" if estimate else "")
        self._bars.console.print(line, highlight=False, markup=False)

    def close(self) -> None:
        """Stop updating the bars; they stay on the terminal."""
        self._bars.stop()


def progress_for(console: Console) -> ProgressReport:
    """Return bars for a terminal that can move its cursor, and log lines for anything else."""
    return LiveProgress(console) if console.is_terminal and not console.is_dumb_terminal else LoggedProgress()
