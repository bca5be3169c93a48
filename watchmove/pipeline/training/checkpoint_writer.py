"""Checkpoints written in the background: training goes on from a copy in memory while the last one gets to disk."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from watchmove.pipeline.training.checkpoints import Snapshot, write_snapshot


class CheckpointWriter:
    """Writes one snapshot at a time; leaving the block waits for the last."""

    def __init__(self, directory: Path, slots: int, on_written: Callable[[], None]) -> None:
        """`on_written` is called in the background too, once a checkpoint is whole."""
        self._directory = directory
        self._slots = slots
        self._on_written = on_written
        self._pool = ThreadPoolExecutor(1)
        self._pending: Future[None] | None = None
        self._newest = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for what is under way; its own failure is raised unless the block has failed already."""
        try:
            if kind is None:
                self.wait()
        finally:
            self._pool.shutdown(wait=True)

    @property
    def newest(self) -> int:
        """Steps done at the newest checkpoint written or being written here; -1: none."""
        return self._newest

    def write(self, snapshot: Snapshot) -> None:
        """Begin to write; waits for the one before. Raises what that one raised, Unavailable on a full disk."""
        self.wait()
        self._newest = snapshot.iteration
        self._pending = self._pool.submit(self._write, snapshot)

    def wait(self) -> None:
        """Until everything is written. Raises what writing raised."""
        if self._pending is not None:
            pending, self._pending = self._pending, None
            pending.result()

    def _write(self, snapshot: Snapshot) -> None:
        write_snapshot(self._directory, snapshot, self._slots)
        self._on_written()
