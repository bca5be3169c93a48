"""Linear algebra with one thread: what is computed here is small, and more threads only wait for each other."""

import os
import sys

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def rerun_with_one_thread() -> None:
    """Begin this command again with one thread, unless it has one: libraries read the number when they are loaded."""
    if all(os.environ.get(name) == "1" for name in _THREADS):
        return
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "service.cli", *sys.argv[1:]])  # noqa: S606 (this very command)
