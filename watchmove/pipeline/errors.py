"""Every exception a caller of watchmove can meet.

    WatchmoveError
    ├── InvalidInput        input or settings can never work
    ├── Unavailable         may work later: store unreachable, throttled, disk full
    ├── Stopped             told to stop, after saving what it had
    └── UnreadableVideo     one video cannot be read; an outcome of that video, never of the run

The exit code of each stands in `watchmove/service/runner/exit_codes.py`.
"""


class WatchmoveError(Exception):
    """One clear line that says what happened, where, and what would do."""


class InvalidInput(WatchmoveError):
    """Input or settings that can never work, however often they are tried."""


class Unavailable(WatchmoveError):
    """Something that may work later, such as a throttled store or a full disk."""


class Stopped(WatchmoveError):
    """The process was told to stop and has saved what it had."""


class UnreadableVideo(WatchmoveError):
    """A video that cannot be decoded; `reason` is one of a closed list."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
