"""Writing of checkpoints in the background: training continues while a copy of its state is written to disk."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from watchmove.pipeline.training.checkpoints import Snapshot, write_snapshot


class CheckpointWriter:
    """Context manager that writes one snapshot at a time in a thread; leaving the block waits for the last one."""

    def __init__(self, directory: Path, slots: int, on_written: Callable[[], None]) -> None:
        """`on_written` is called in the writing thread, each time a checkpoint is complete."""
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
        """Wait for the snapshot being written; raise its failure unless the block has raised an error itself."""
        try:
            if kind is None:
                self.wait()
        finally:
            self._pool.shutdown(wait=True)

    @property
    def newest(self) -> int:
        """Number of steps done in the newest checkpoint that this writer has begun to write; -1: none."""
        return self._newest

    def write(self, snapshot: Snapshot) -> None:
        """Begin to write a snapshot, after waiting for the previous one. Raises Unavailable if that one failed."""
        # copies of the state must not queue up in memory
        self.wait()
        self._newest = snapshot.iteration
        self._pending = self._pool.submit(self._write, snapshot)

    def wait(self) -> None:
        """Wait until the last snapshot is written. Raises Unavailable if writing failed."""
        if self._pending is not None:
            # Forgotten first, so that a failure is raised once and not again by the next call.
            pending, self._pending = self._pending, None
            pending.result()

    def _write(self, snapshot: Snapshot) -> None:
        write_snapshot(self._directory, snapshot, self._slots)
        self._on_written()
