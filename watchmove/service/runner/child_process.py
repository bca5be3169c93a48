"""Set-up of a child process: it leaves signals to its parent, and it ends when its parent ends."""

import os
import signal
import threading
from collections.abc import Callable
from multiprocessing import parent_process
from multiprocessing.connection import wait


def leave_signals() -> None:
    """Ignore SIGINT and SIGTERM: a terminal sends them to the whole process group, and the parent acts on them."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


# os._exit, because sys.exit would end the watching thread only.
def end_with_parent(end: Callable[[], None] = lambda: os._exit(1)) -> None:
    """Call `end` when the parent process ends: an idle worker of a pool would otherwise wait for a job for ever."""
    threading.Thread(target=_watch, args=(end,), daemon=True).start()


def _watch(end: Callable[[], None]) -> None:
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        end()
