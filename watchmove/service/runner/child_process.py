"""What a child process owes its parent: signals are the parent's to act on, and it does not outlive it."""

import os
import signal
import threading
from collections.abc import Callable
from multiprocessing import parent_process
from multiprocessing.connection import wait


def leave_signals() -> None:
    """A signal to the process group is the parent's to act on."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def end_with_parent(end: Callable[[], None] = lambda: os._exit(1)) -> None:
    """Watch the parent and end when it has gone: a pool's idle worker would wait for its next job for ever."""
    threading.Thread(target=_watch, args=(end,), daemon=True).start()


def _watch(end: Callable[[], None]) -> None:
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        end()
