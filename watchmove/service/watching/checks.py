"""One check of the place where watchmove is to run: its name, its state, what was found and what would fix it."""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from watchmove.pipeline.errors import InvalidInput, Unavailable, WatchmoveError
from watchmove.pipeline.files.text_lines import printable

_SECRET_NAMES = re.compile(r"(SECRET|TOKEN|PASSWORD|ACCESS_KEY)(?!.*_FILE$)")
"""Parts of the names of environment variables whose values are never printed; names of files are no secrets."""
_LEAST_SECRET_LETTERS = 4
"""Shorter values are found by chance in ordinary words. Set by hand; not tuned."""
_USER_OF_URL = re.compile(r"(?<=://)[^/@\s]+:[^/@\s]*@")
"""User and password in a URL."""
HIDDEN = "***"
"""What is printed in the place of a secret."""


class State(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    NOT_CHECKED = "not checked"


@dataclass(frozen=True)
class Check:
    """The result of one check.

    finding: what was found, or why nothing was checked; remedy: what would fix it, empty for `ok` and `not checked`;
    may_pass: whether a failure may pass without a change, as an outage does.
    """

    name: str
    state: State
    finding: str
    remedy: str = ""
    may_pass: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "finding", _line(self.finding))
        object.__setattr__(self, "remedy", _line(self.remedy))


def ok(name: str, finding: str) -> Check:
    """A check that found everything as it must be."""
    return Check(name, State.OK, finding)


def warning(name: str, finding: str, remedy: str) -> Check:
    """A check that found something that works less well than it could."""
    return Check(name, State.WARNING, finding, remedy)


def failed(name: str, finding: str, remedy: str, *, may_pass: bool = False) -> Check:
    """A check that found something without which steps fail."""
    return Check(name, State.FAILED, finding, remedy, may_pass)


def not_checked(name: str, reason: str) -> Check:
    """A check that was not made, and why."""
    return Check(name, State.NOT_CHECKED, reason)


def failed_by(name: str, error: WatchmoveError) -> Check:
    """A check that ended with an error of watchmove, whose message has the remedy after its last semicolon."""
    finding, _, remedy = str(error).rpartition("; ")
    if not finding:
        finding, remedy = remedy, "change what the finding names"
    return failed(name, finding, f"{remedy[0].upper()}{remedy[1:]}.", may_pass=isinstance(error, Unavailable))


def raise_failures(checks: Iterable[Check]) -> None:
    """Raise an error that names the checks that failed, if any did.

    Raises:
        InvalidInput: a failure lasts until something is changed.
        Unavailable: all failures may pass without a change.
    """
    failures = [check for check in checks if check.state is State.FAILED]
    if not failures:
        return
    lasting = [check.name for check in failures if not check.may_pass]
    names = ", ".join(check.name for check in failures)
    if lasting:
        raise InvalidInput(f"doctor: failed: {names}; change what the remedies say: {', '.join(lasting)}")
    raise Unavailable(f"doctor: failed: {names}; run it again later")


def _line(text: str) -> str:
    """`text` as one printable line without secrets: servers may answer with control codes, or repeat what was sent."""
    for name, value in os.environ.items():
        if _SECRET_NAMES.search(name.upper()):
            for secret in (value, *value.split()):  # also the token alone, of a value like "Bearer TOKEN"
                text = text.replace(secret, HIDDEN) if len(secret) >= _LEAST_SECRET_LETTERS else text
    text = _USER_OF_URL.sub(f"{HIDDEN}@", " ".join(text.split()))
    return printable(text)
