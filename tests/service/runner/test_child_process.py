"""Child processes: the signals of a terminal reach the parent only, from the server's first moment."""

import os
import signal
import subprocess
import sys

import pytest

_PARENT = """
import os, signal, sys
received = []
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda number, _: received.append(number))
from watchmove.service.runner.child_process import fork_server
if __name__ == "__main__":
    server = fork_server(["watchmove.service.steps.pretrain"])
    print("started", flush=True)
    child = server.Process(target=os.getpid)
    child.start()
    child.join()
    print(child.exitcode, *received)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("seconds", [0.0, 0.3])
def test_a_signal_to_the_whole_group_ends_no_server_that_loads(number: signal.Signals, seconds: float) -> None:
    """The server takes more than a second to load PyTorch, and forks the child after the signal."""
    with subprocess.Popen(
        [sys.executable, "-c", _PARENT], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "started\n"
        with pytest.raises(subprocess.TimeoutExpired):
            parent.wait(seconds)
        os.killpg(parent.pid, number)
        said = parent.stdout.read()

    assert said == f"0 {int(number)}\n"
