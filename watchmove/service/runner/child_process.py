"""Child processes that leave signals to their parent, and that end when their parent ends."""

import os
import signal
import threading
from collections.abc import Callable, Sequence
from multiprocessing import forkserver, get_context, parent_process, resource_tracker
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerContext


def fork_server(preloaded: Sequence[str] = ()) -> ForkServerContext:
    """Start the server that forks children, unless it runs, and return the context that starts them.

    A terminal sends SIGINT and SIGTERM to the whole process group, and the parent acts on them. The server blocks both
    from its first instruction, and so do the children that it forks and the programs that they start.

    Args:
        preloaded: Modules that the server imports once for all children; without effect if it runs already.
    """
    context = get_context("forkserver")
    context.set_forkserver_preload(list(preloaded))
    # first, because starting it would unblock the signals
    resource_tracker.ensure_running()
    # A new process inherits the mask. Signals that arrive here meanwhile are delivered at the end, so none is lost.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return context


# os._exit, because sys.exit would end the watching thread only.
def end_with_parent(end: Callable[[], None] = lambda: os._exit(1)) -> None:
    """Call `end` when the parent process ends: an idle worker of a pool would otherwise wait for a job for ever."""
    threading.Thread(target=_watch, args=(end,), daemon=True).start()


def _watch(end: Callable[[], None]) -> None:
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        end()
