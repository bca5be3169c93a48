"""All exceptions that watchmove raises for its callers.

    WatchmoveError
    ├── InvalidInput        input or settings are wrong: no retry can help
    │   ├── NotFinite       a training's loss or a weight has become infinite or not a number
    │   └── NotYet          what an earlier step makes is not there
    ├── Unavailable         a retry can help: store unreachable or throttled, disk full
    ├── Stopped             stopped by a signal, after saving its progress
    └── UnreadableVideo     one video cannot be read; an outcome of that video, never of the run

Subclasses in `watchmove/service` tell one object of a store (`store/store.py`) or one answer of a cluster
(`cluster/api_errors.py`) apart. The exit code of each is in `watchmove/service/runner/exit_codes.py`.
"""

UNREADABLE_REASONS = (
    "missing-file",
    "empty-file",
    "not-a-video",
    "truncated",
    "no-picture-stream",
    "absurd-size",
    "too-short",
    "decoder-timeout",
    "time-limit",
    "decoder-memory",
    "decoder-failed",
)
"""Why a video cannot be read: the closed list of `UnreadableVideo.reason`. Images of COCO have others."""


class WatchmoveError(Exception):
    """Base class; its message is one line that names the place, what is wrong, and what would fix it."""


class InvalidInput(WatchmoveError):
    """Input or settings are wrong, so that no retry can help."""


class NotFinite(InvalidInput):
    """The loss or a weight of a training is infinite or not a number: with these settings it can only diverge again."""


class NotYet(InvalidInput):
    """What an earlier step makes is not there: the step that needs it was called too early, and has not failed."""


class Unavailable(WatchmoveError):
    """Something is unavailable now, for example a throttled store or a full disk; a retry can help."""


class Stopped(WatchmoveError):
    """A signal stopped the process, which has saved its progress."""


class UnreadableVideo(WatchmoveError):
    """A video that cannot be decoded; `reason` is one of a closed list, `detail` says more."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
