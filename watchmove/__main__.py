"""The command `watchmove`, also as `python -m watchmove`: from its first moment, a signal ends it as stopped."""

import os
import signal
from types import FrameType

_STOPPED_EXIT_CODE = 143
"""That of the table in service/runner/exit_codes.py, whose import takes part of the time that is guarded here."""

_STOPPED_LINE = b"watchmove: stopped: received a signal before any work; run it again\n"


def main() -> None:
    """Run the command line."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end_as_stopped)
    # Here, because libraries take seconds to load, in which SIGTERM would otherwise end the process as killed.
    from watchmove.service.cli.main import main as run_command_line

    run_command_line()


def _end_as_stopped(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 (the signal module's form)
    """End at once: an exception would arise within some library that is being loaded, and could be lost there."""
    os.write(2, _STOPPED_LINE)
    os._exit(_STOPPED_EXIT_CODE)


if __name__ == "__main__":
    main()
