"""Rows of the table: what was compared, by how much it differs, how fast it is, and the verdict."""

import gc
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

import torch

from watchmove.pipeline.errors import WatchmoveError

Result = TypeVar("Result")

COLUMNS = ("what", "figures ≤ tolerances", "device", "CPU", "device ÷ CPU", "memory, MiB", "verdict")


class Verdict(StrEnum):
    """How a row ended."""

    PASS = "pass"
    FAIL = "fail"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Figure:
    """A measured value and the largest that is tolerated; None: it is reported only, but must be finite."""

    name: str
    value: float
    most: float | None = None

    @property
    def holds(self) -> bool:
        """Whether the value is finite and tolerated."""
        return math.isfinite(self.value) and (self.most is None or self.value <= self.most)

    def __str__(self) -> str:
        tolerance = "" if self.most is None else f" {'≤' if self.holds else '>'} {self.most:g}"
        return f"{self.name} {self.value:.3g}{tolerance}"


@dataclass(frozen=True)
class Row:
    """One row; `speeds` are those of the device and of the CPU, in `unit` per second; None if they were not measured.

    reason: why it was skipped, or the error that ended it; mebibytes: peak of the device's memory, None on the CPU.
    """

    what: str
    figures: tuple[Figure, ...] = ()
    unit: str = ""
    speeds: tuple[float, float] | None = None
    mebibytes: int | None = None
    reason: str = ""
    is_skipped: bool = False

    @property
    def verdict(self) -> Verdict:
        """Fail if there was an error or a figure is not tolerated."""
        if self.is_skipped:
            return Verdict.SKIPPED
        return Verdict.FAIL if self.reason or not all(figure.holds for figure in self.figures) else Verdict.PASS

    def cells(self) -> tuple[str, ...]:
        """Text of each of COLUMNS."""
        speeds = ("", "", "")
        if self.speeds is not None:
            device, cpu = self.speeds
            speeds = (f"{device:.3g} {self.unit}/s", f"{cpu:.3g} {self.unit}/s", f"{device / cpu:.3g}")
        memory = "" if self.mebibytes is None else str(self.mebibytes)
        reason = " ".join(self.reason.split()).replace("|", "/")
        verdict = f"{self.verdict}: {reason}" if reason else str(self.verdict)
        return (self.what, "; ".join(map(str, self.figures)), *speeds, memory, verdict)


def skipped(what: str, reason: str) -> Row:
    """A row of what was not run, and why."""
    return Row(what, reason=reason, is_skipped=True)


def judged(what: str, work: Callable[[], Row]) -> Row:
    """The row that `work` returns; one that fails where it raises an error of watchmove, of PyTorch or of OpenCV."""
    try:
        return work()
    # so that one broken path hides none of the others; PyTorch's errors, also those of a GPU, are RuntimeErrors
    except (WatchmoveError, RuntimeError, ImportError) as error:
        return Row(what, reason=f"{type(error).__name__}: {str(error)[:200]}")


def markdown(rows: Sequence[Row]) -> str:
    """The table in Markdown."""
    lines = [COLUMNS, ("---",) * len(COLUMNS), *(row.cells() for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


class DeviceMemory:
    """The most memory that tensors have taken on a device since this was made; nothing is known of a CPU."""

    def __init__(self, device: str) -> None:
        self._device = device
        if device == "cuda":
            gc.collect()
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    @property
    def mebibytes(self) -> int | None:
        """The peak in MiB."""
        return torch.cuda.max_memory_allocated() // 2**20 if self._device == "cuda" else None


class Stopwatch:
    """Sums the seconds of calls that return their results to the CPU."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def of(self, work: Callable[[], Result]) -> Result:
        """The result of `work`, whose time is added."""
        began = time.perf_counter()
        result = work()
        self.seconds += time.perf_counter() - began
        return result
