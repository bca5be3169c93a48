"""What every step runs in: logs, metrics, signals, scratch space and the exit code."""

import errno
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

from watchmove.pipeline.errors import InvalidInput, Stopped
from watchmove.service.runner.exit_codes import BUG, DONE, STOPPED, ending_of, is_unusable_path, package_of
from watchmove.service.runner.logs import log_failure
from watchmove.service.runner.metrics import serve
from watchmove.service.runner.process_metrics import ProcessMetrics
from watchmove.service.runner.progress import ProgressReport, progress_for
from watchmove.service.runner.scratch_folder import scratch_folder
from watchmove.service.runner.tracing import close_tracing, one_line
from watchmove.service.settings.settings import Settings
from watchmove.service.store.opening import open_store
from watchmove.service.store.store import Store

_STALLED_SECONDS = 100.0
"""How long a step may take to stop. Pods are killed 120 seconds after the signal (argo/watchmove.yaml)."""
_COMPLETE = "use the full image instead of the slim one, or install requirements.txt"
"""What would do where a package is missing."""
_OTHER_PATH = "check the path and its permissions"
"""What would do where a path cannot be used."""
_POLL_SECONDS = 0.5
"""How often a thread looks whether the step is to stop. Set by hand; not tuned."""


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
        with interrupted_by_signals():
            body()
        # here and not at exit, where Python would report a closed pipe by a trace
        sys.stdout.flush()
    except KeyboardInterrupt:
        log_failure(STOPPED, "received a signal; run again to start over")
        return STOPPED.exit_code
    except BrokenPipeError as error:
        # sockets raise BrokenPipeError too; only a reader of the output that has seen enough, like `head`, is no error
        return DONE.exit_code if _output_is_closed() else report_error(error)
    except Exception as error:  # noqa: BLE001 (the one place where every exception becomes an exit code)
        return report_error(error)
    return DONE.exit_code


@contextmanager
def interrupted_by_signals() -> Iterator[None]:
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


def report_error(error: Exception) -> int:
    """Log what went wrong, in one line (and a trace for a bug), and return its exit code."""
    ending = ending_of(error)
    message = one_line(error)
    if isinstance(error, ModuleNotFoundError) and ending is not BUG:
        message = f"the Python package {package_of(error)} is not installed, and this command needs it; {_COMPLETE}"
    if isinstance(error, OSError) and is_unusable_path(error):
        message = one_line(InvalidInput(f"{error.filename}: {error.strerror}; {_OTHER_PATH}"))
    if isinstance(error, OSError) and error.errno == errno.ENOSPC and not error.filename:
        message = f"{error.strerror}, for standard output or a temporary file; free space and run again"
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
            # within the time that a signal leaves
            close_tracing()


@contextmanager
def stop_on_signals() -> Iterator[threading.Event]:
    """Provide an event that SIGTERM and Ctrl-C set; a second Ctrl-C ends the process at once.

    If the block goes on for more than _STALLED_SECONDS after the event was set, because it waits for something that
    does not answer, the process ends with the exit code of a stop.
    """
    stop, ended = threading.Event(), threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 (the signal module's form)
        if stop.is_set() and number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            signal.raise_signal(signal.SIGINT)
        stop.set()

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
    # Made here and not by the handler, which may interrupt the main thread while that holds a lock of `threading`.
    threading.Thread(target=_end_if_stalled, args=(stop, ended), daemon=True).start()
    try:
        yield stop
    finally:
        ended.set()
        for number, handler in before.items():
            signal.signal(number, handler)


def _end_if_stalled(stop: threading.Event, ended: threading.Event) -> None:
    """End the process if its work does not end in time after `stop` was set; `ended` says that it has ended."""
    while not stop.is_set():
        if ended.wait(_POLL_SECONDS):
            return
    if not ended.wait(_STALLED_SECONDS):
        reason = f"received a signal, and did not end within {_STALLED_SECONDS:.0f} s, as where a store does not answer"
        log_failure(STOPPED, f"{reason}; committed work is kept; run again to continue")
        close_tracing()
        sys.stderr.flush()
        # not sys.exit, which would end this thread only; the next process removes the scratch folder
        os._exit(STOPPED.exit_code)
