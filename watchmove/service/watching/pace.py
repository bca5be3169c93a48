"""Pace: how fast a run's parts come in, and when the rest should be done at that speed."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from watchmove.service.records.attempts import AttemptTable, Rows

RECENT_SECONDS = 3600.0
"""What counts as recent before the newest part: several commits of every pod, so that no single one sways it."""


class Speed(BaseModel):
    """What was committed in a stretch of wall time, by all pods together; work is in seconds expected of one worker."""

    model_config = ConfigDict(frozen=True)

    seconds: float
    parts: int
    videos_per_second: float
    frames_per_second: float
    work_per_second: float


class Finish(BaseModel):
    """When a run should have ended all its videos, and what that rests on."""

    model_config = ConfigDict(frozen=True)

    seconds_left: float
    at_unix_seconds: float
    rests_on: str


class _Parts(NamedTuple):
    """Per part, (N,): when it began and ended; (3, N): its videos, decoded frames and expected work."""

    began: NDArray[np.float64]
    ended: NDArray[np.float64]
    totals: NDArray[np.float64]


def speeds(table: AttemptTable, rows: Rows, work: NDArray[np.float64]) -> tuple[Speed, Speed] | None:
    """Speed since the first of some attempts began, and over the last hour of them; None where there is none.

    `work` has the seconds that were expected of each of those attempts.
    """
    parts = _parts(table, rows, work)
    if not len(parts.ended):
        return None
    newest = parts.ended.max()
    whole = newest - parts.began.min()
    return _speed(parts, whole), _speed(parts, min(whole, RECENT_SECONDS))


def finish(waiting: NDArray[np.float64], recent: Speed | None, now: float) -> Finish | None:
    """The end to expect of videos that wait, by the work expected of each, (W,).

    None where nothing has been committed to expect anything from, or nothing is left.
    """
    if not len(waiting) or recent is None or recent.work_per_second <= 0:
        return None
    left = float(waiting.sum()) / recent.work_per_second
    rests_on = (
        f"{waiting.sum() / 3600:,.2f} hours of expected work in {len(waiting):,} waiting videos, and on "
        f"{recent.work_per_second:,.2f} such hours done in an hour over the last {recent.seconds / 60:,.0f} min "
        f"of commits ({recent.parts:,} parts)"
    )
    return Finish(seconds_left=round(left, 1), at_unix_seconds=round(now + left, 1), rests_on=rests_on)


def _parts(table: AttemptTable, rows: Rows, work: NDArray[np.float64]) -> _Parts:
    part, count = table.part[rows], len(table.parts)
    videos = np.bincount(part, minlength=count)
    weights = (table.frames_seen[rows].astype(np.float64), work)
    totals = np.stack([videos, *(np.bincount(part, weight, count) for weight in weights)]).astype(np.float64)
    ended = np.array([one.written_at_unix_seconds for one in table.parts], np.float64)
    began = ended - np.array([max(one.seconds, 0.0) for one in table.parts], np.float64)
    used = videos > 0
    return _Parts(began[used], ended[used], totals[:, used])


def _speed(parts: _Parts, stretch: float) -> Speed:
    """Speed over the last `stretch` seconds; a part that began before gives its share, as if it went evenly."""
    since = parts.ended.max() - stretch
    took = parts.ended - parts.began
    inside = parts.ended - np.maximum(parts.began, since)
    share = np.clip(np.where(took > 0, inside / np.where(took > 0, took, 1), parts.ended >= since), 0, 1)
    videos, frames, work = (parts.totals * share).sum(axis=1) / max(stretch, 1e-9)
    return Speed(
        seconds=round(float(stretch), 1),
        parts=int(np.count_nonzero(share)),
        videos_per_second=float(videos),
        frames_per_second=float(frames),
        work_per_second=float(work),
    )
