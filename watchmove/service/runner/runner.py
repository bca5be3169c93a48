"""What every step runs in: logs, metrics, signals, scratch space and the exit code."""

import os
import select
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from rich.console import Console

from watchmove.pipeline.errors import Stopped
from watchmove.service.runner.exit_codes import BUG, DONE, STOPPED, ending_of
from watchmove.service.runner.logs import log_failure
from watchmove.service.runner.metrics import ProcessMetrics, serve
from watchmove.service.runner.progress import ProgressReport, progress_for
from watchmove.service.runner.scratch_folder import scratch_folder
from watchmove.service.settings.settings import Settings
from watchmove.service.store.opening import open_store
from watchmove.service.store.store import Store


@dataclass(frozen=True)
class StepContext:
    """What a step is given in addition to its arguments; `stop` is set when a signal asks the step to stop."""

    settings: Settings
    store: Store
    metrics: ProcessMetrics
    progress: ProgressReport
    stop: threading.Event
    scratch: Path

    def check_stop(self) -> None:
        """Raise Stopped if a signal has asked the process to stop."""
        if self.stop.is_set():
            raise Stopped("received a signal; committed work is kept; run again to continue")


def run_to_exit_code(body: Callable[[], None]) -> int:
    """Run `body` and return the exit code of its ending; an error is printed as one line on standard error."""
    try:
        with _interrupted_by_signals():
            body()
        # here and not at exit, where Python would report a closed pipe by a trace
        sys.stdout.flush()
    except KeyboardInterrupt:
        log_failure(STOPPED, "received a signal; run again to start over")
        return STOPPED.exit_code
    except BrokenPipeError as error:
        # sockets raise BrokenPipeError too; only a reader of the output that has seen enough, like `head`, is no error
        return DONE.exit_code if _output_is_closed() else _report_error(error)
    except Exception as error:  # noqa: BLE001 (the one place where every exception becomes an exit code)
        return _report_error(error)
    return DONE.exit_code


@contextmanager
def _interrupted_by_signals() -> Iterator[None]:
    """Let SIGTERM raise KeyboardInterrupt, as Ctrl-C does, so that files and processes of a command are cleaned up."""
    # Python receives signals in the main thread only, which is also the only one that may set their handlers.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.default_int_handler) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _report_error(error: Exception) -> int:
    """Log what went wrong, in one line (and a trace for a bug), and return its exit code."""
    ending = ending_of(error)
    # names of files and keys can have line breaks
    message = " ".join(str(error).splitlines()) or type(error).__name__
    log_failure(ending, message, "".join(traceback.format_exception(error)) if ending is BUG else "")
    return ending.exit_code


def _output_is_closed() -> bool:
    """Return whether the reader of standard output has closed it, as `| head` does; then discard the rest."""
    poll = select.poll()
    poll.register(sys.stdout, 0)  # POLLERR is reported without being asked for
    if not any(event & select.POLLERR for _, event in poll.poll(0)):
        return False
    # Python flushes standard output at exit, which would fail again with a message.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return True


@contextmanager
def step_context(settings: Settings) -> Iterator[StepContext]:
    """Provide what a step needs, and release it at the end of the block."""
    metrics = ProcessMetrics()
    if settings.work.metrics_port:
        serve(metrics.registry, settings.work.metrics_port)
    progress = progress_for(Console(stderr=True))
    # signals first, so that none interrupts the removal of the scratch folder
    with stop_on_signals() as stop, scratch_folder(settings.work.scratch) as scratch:
        try:
            yield StepContext(settings, open_store(settings.store), metrics, progress, stop, scratch)
        finally:
            progress.close()


@contextmanager
def stop_on_signals() -> Iterator[threading.Event]:
    """Provide an event that SIGTERM and Ctrl-C set; a second Ctrl-C ends the process at once."""
    stop = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 (the signal module's form)
        if stop.is_set() and number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            signal.raise_signal(signal.SIGINT)
        stop.set()

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
