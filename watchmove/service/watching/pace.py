"""Pace: the speed at which a run's videos are committed, and the expected end of the run at that speed."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from watchmove.service.records.attempts import AttemptTable, Rows

RECENT_SECONDS = 3600.0
"""Length of the recent period before the newest commit. With the default `work.commit_every_seconds` (600) it holds
several commits of every pod, so that no single one dominates the estimate.
"""


class Speed(BaseModel):
    """Speed over `seconds` of wall time, of all pods together.

    Work is measured in the seconds that one worker is expected to take; `parts` is the number of commits.
    """

    model_config = ConfigDict(frozen=True)

    seconds: float
    parts: int
    videos_per_second: float
    frames_per_second: float
    work_per_second: float


class Finish(BaseModel):
    """The expected end of a run's extraction, and the figures that the estimate is based on, in words."""

    model_config = ConfigDict(frozen=True)

    seconds_left: float
    at_unix_seconds: float
    rests_on: str


class _Parts(NamedTuple):
    """For each commit, (N,): when its work began and ended; (3, N): its videos, decoded frames and expected work."""

    began: NDArray[np.float64]
    ended: NDArray[np.float64]
    totals: NDArray[np.float64]


def speeds(table: AttemptTable, rows: Rows, work: NDArray[np.float64]) -> tuple[Speed, Speed] | None:
    """Speed of the attempts in `rows` over their complete time and over the last hour; None if there are none.

    `work` holds the expected seconds of each of those attempts.
    """
    parts = _parts(table, rows, work)
    if not len(parts.ended):
        return None
    newest = parts.ended.max()
    total = newest - parts.began.min()
    return _speed(parts, total), _speed(parts, min(total, RECENT_SECONDS))


def finish(waiting: NDArray[np.float64], recent: Speed | None, now: float) -> Finish | None:
    """The expected end of the waiting videos, given the expected seconds of each, (W,), and the recent speed.

    None if nothing is waiting, or nothing has been committed that the speed could be measured from.
    """
    if not len(waiting) or recent is None or recent.work_per_second <= 0:
        return None
    left = float(waiting.sum()) / recent.work_per_second
    rests_on = (
        f"{waiting.sum() / 3600:,.2f} hours of expected work in {len(waiting):,} waiting videos, and "
        f"{recent.work_per_second:,.2f} hours of such work done per hour over the last {recent.seconds / 60:,.0f} min "
        f"({recent.parts:,} commits)"
    )
    return Finish(seconds_left=round(left, 1), at_unix_seconds=round(now + left, 1), rests_on=rests_on)


def _parts(table: AttemptTable, rows: Rows, work: NDArray[np.float64]) -> _Parts:
    part, count = table.part[rows], len(table.parts)
    videos = np.bincount(part, minlength=count)
    weights = (table.frames_seen[rows].astype(np.float64), work)
    totals = np.stack([videos, *(np.bincount(part, weight, count) for weight in weights)]).astype(np.float64)
    ended = np.array([commit.written_at_unix_seconds for commit in table.parts], np.float64)
    # A damaged record may state a negative time, and would begin after its end.
    began = ended - np.array([max(commit.seconds, 0.0) for commit in table.parts], np.float64)
    used = videos > 0
    return _Parts(began[used], ended[used], totals[:, used])


def _speed(parts: _Parts, stretch: float) -> Speed:
    """Speed over the last `stretch` seconds. A commit whose work began earlier counts in proportion to its overlap."""
    # From the newest commit and not from now: uncommitted work in progress would look like a pause.
    since = parts.ended.max() - stretch
    took = parts.ended - parts.began
    inside = parts.ended - np.maximum(parts.began, since)
    # The inner `where` prevents a division by zero: a commit that took no time counts in full or not at all.
    share = np.clip(np.where(took > 0, inside / np.where(took > 0, took, 1), parts.ended >= since), 0, 1)
    # A single commit may have taken no measurable time.
    videos, frames, work = (parts.totals * share).sum(axis=1) / max(stretch, 1e-9)
    return Speed(
        seconds=round(float(stretch), 1),
        parts=int(np.count_nonzero(share)),
        videos_per_second=float(videos),
        frames_per_second=float(frames),
        work_per_second=float(work),
    )
