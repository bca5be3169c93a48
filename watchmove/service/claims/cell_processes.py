"""Cells that do not depend on each other, in several processes at once, each with its share of the cores."""

import tempfile
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.synchronize import Event
from pathlib import Path

import cv2
import torch

from watchmove.pipeline.errors import Unavailable
from watchmove.service.claims.cell_records import CellRecord, do_cell
from watchmove.service.claims.cells import Cell
from watchmove.service.claims.series import Series
from watchmove.service.runner.child_process import end_with_parent, fork_server
from watchmove.service.runner.process_metrics import ProcessMetrics
from watchmove.service.runner.runner import StepContext
from watchmove.service.settings.settings import usable_cores, worker_count
from watchmove.service.store.opening import open_store

_POLL_SECONDS = 0.5
"""Time between two looks at the signal to stop, set by hand: short beside a pod's time to end."""

_stop = threading.Event()
"""In a worker: whether its cell is asked to stop."""


class _Silence:
    """The parent reports progress, cell by cell."""

    def update(self, step: str, done: int, total: int, facts: str) -> None:
        """Say nothing."""

    def stage(self, name: str, number: int, total: int, estimate: str) -> None:
        """Say nothing: a cell is no stage of a run."""

    def close(self) -> None:
        """Nothing is open."""


def do_cells(context: StepContext, series: Series, cells: Sequence[Cell]) -> Iterator[CellRecord]:
    """Do cells in worker processes, and yield their records as they end.

    When a cell fails, or a signal asks to stop, the other cells save their progress and end first.

    Raises:
        Unavailable: a worker was killed; or what a cell raises.
        InvalidInput: what a cell raises.
        Stopped: a signal asked to stop.
    """
    workers = min(worker_count(context.settings), max(1, len(cells)))
    # not fork: this process has threads, and a lock that one of them holds would stay locked in the child
    server = fork_server()
    stopping = server.Event()
    threads = max(1, usable_cores() // workers)
    with ProcessPoolExecutor(
        workers, mp_context=server, initializer=_begin_worker, initargs=(stopping, threads)
    ) as pool:
        running: set[Future[CellRecord]] = {pool.submit(_work, series, cell, context.scratch) for cell in cells}
        try:
            while running:
                context.check_stop()
                ended, running = wait(running, _POLL_SECONDS, FIRST_COMPLETED)
                for future in ended:
                    yield future.result()
        except BrokenProcessPool as error:
            context.check_stop()
            raise Unavailable("a process of a cell was killed, maybe for its memory; run again to continue") from error
        finally:
            stopping.set()
            pool.shutdown(wait=True, cancel_futures=True)


def _begin_worker(stopping: Event, threads: int) -> None:
    end_with_parent()
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    threading.Thread(target=_forward, args=(stopping,), daemon=True).start()


def _forward(stopping: Event) -> None:
    """Pass on the parent's wish to stop to this process's cell."""
    stopping.wait()
    _stop.set()


def _work(series: Series, cell: Cell, scratch: Path) -> CellRecord:
    with tempfile.TemporaryDirectory(prefix="cell-", dir=scratch) as folder:
        store = open_store(series.settings.store)
        context = StepContext(series.settings, store, ProcessMetrics(), _Silence(), _stop, Path(folder))
        return do_cell(context, series, cell)
